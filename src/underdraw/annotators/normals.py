"""Surface normals: which way things face, from a given depth field."""

import math
from dataclasses import replace
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from underdraw import images
from underdraw.annotators.depth import Field, stretch
from underdraw.annotators.protocol import Meaning, annotator, knob
from underdraw.errors import ConfigError

__all__ = ["Normal", "normals"]

SIGNS = {"bae": (-1.0, 1.0, 1.0), "opengl": (1.0, 1.0, 1.0), "directx": (1.0, -1.0, 1.0)}
"""By what x (right), y (up) and z (towards the viewer) are multiplied before they become red, green and blue."""
MIDAS = "midas"
JUMP = 0.01
"""The change of the distance from pixel to pixel, as a share of it, from where on a surface is taken to end."""
FACING = 2 * math.pi
"""The part towards the viewer in the MiDaS convention, against slopes a pixel."""


@annotator("normal")
class Normal(Field):
    """Surface normals, (n + 1) / 2, from a given depth field, in the convention of the ControlNet that is meant.

    Keeps the shape of every surface, down to folds and faces, without saying how far away it is.

    bae: NormalBae's, of ControlNet 1.1: red faces LEFT, green up, blue the viewer (ControlNet 1.1's README: "blue is
    front, red is left, green is top"; the authors' later DSINE: outward normals, x right, y down, z front). opengl: red
    faces right, green up; directx: red right, green down. midas: what ControlNet 1.0, A1111's normal_midas and
    controlnet_aux make of MiDaS' inverse depth, in steps of a byte: 3×3 Sobel slopes beside a constant 2π, the
    background flat; red is towards the viewer, green and blue the slopes downwards and to the right. (A diffusers
    ControlNet whose configuration says "bgr" swaps red and blue itself and wants the swapped picture.)
    """

    meaning: ClassVar[Meaning] = Meaning(
        channels=3, polarity="red faces left, green up, blue the viewer", reduction="area", differentiable=True
    )

    convention: str = knob("bae", help="what red, green and blue say", choices=(*SIGNS, MIDAS))
    view: float = knob(60.0, 1, 170, "angle of view over the shorter side, in degrees", usual=(45, 75))
    near: float = knob(1.0, 0.001, 1e6, "nearness given: the distance of white; in the same unit as far")
    far: float = knob(3.0, 0.001, 1e9, "nearness given: the distance of black")
    smooth: float = knob(
        -1.0, -1, 32, "blur of the field in its pixels, for noisy depth; -1: 2 for 8-bit depth, else 0"
    )
    bg_threshold: float = knob(0.4, 0, 1, "midas: what is less near than this share is background, and flat")
    relief: float = knob(2500.0, 0, 1e6, "midas: by how much nearness is made to span; 0: values as given, from MiDaS")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.near >= self.far:
            raise ConfigError(f"normal: knob 'near' ({self.near:g}) must be less than 'far' ({self.far:g}); swap them")
        told = {
            "opengl": "red faces right, green up, blue the viewer",
            "directx": "red faces right, green down, blue the viewer",
            MIDAS: "red is towards the viewer, green and blue the slopes downwards and to the right",
        }
        if self.convention in told:
            differentiable = self.convention != MIDAS
            changed = replace(type(self).meaning, polarity=told[self.convention], differentiable=differentiable)
            object.__setattr__(self, "meaning", changed)

    def map(self, source: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """As every annotator's; what is cut off the field narrows the view."""
        size = size or self.extent(source)
        share = min(images.crop(source, size).shape[-2:]) / min(source.shape[-2:])
        narrowed = 2 * math.degrees(math.atan(share * math.tan(math.radians(self.view) / 2)))
        return super(Normal, replace(self, view=max(narrowed, 1.0))).map(source, size)

    def seen(self, near: Tensor) -> Tensor:
        """Nearness B×1×H×W → B×3×H×W in [0, 1]."""
        if self.convention == MIDAS:
            raised = near if self.relief == 0 else stretch(near) * self.relief
            return torch.stack([_slopes(field, self.bg_threshold) for field in raised])
        if not self.distance:
            near = 1 / self.far + stretch(near) * (1 / self.near - 1 / self.far)
        signs = torch.tensor(SIGNS[self.convention], device=near.device).view(3, 1, 1)
        return (normals(near, self.view) * signs + 1) / 2

    def inverse(self, pictures: Tensor) -> Tensor:
        """As every field's, blurred; each picture for itself."""
        near = super().inverse(pictures)
        if self.smooth > 0:
            return _blurred(near, self.smooth)
        away = ((pictures * 255).round() / 255 - pictures).abs()
        stepped = torch.maximum(away * 1e6, pictures).amax((1, 2, 3), keepdim=True) <= 1
        if self.smooth == 0 or not bool(stepped.any()):
            return near
        return torch.where(stepped, _blurred(near, 2.0), near)


def normals(inverse: Tensor, view: float) -> Tensor:
    """Unit normals B×3×H×W (x right, y up, z towards the viewer) of surfaces at inverse distances B×1×H×W.

    view: angle in degrees that the shorter side spans; distances are along the optical axis, in any unit. On a plane
    n·p = d with p = z (u, v, 1) the inverse distance w = 1 / z = (n·(u, v, 1)) / d is linear in the picture, so
    n ~ (∂w/∂u, ∂w/∂v, w - u ∂w/∂u - v ∂w/∂v) is exact there.
    """
    height, width = inverse.shape[-2:]
    step = 2 * math.tan(math.radians(view) / 2) / min(height, width)
    u = (torch.arange(width, device=inverse.device) + 0.5 - width / 2) * step
    v = (torch.arange(height, device=inverse.device) + 0.5 - height / 2)[:, None] * step
    across, down = _slope(inverse, -1) / step, _slope(inverse, -2) / step
    raw = torch.cat([-across, down, inverse - u * across - v * down], 1)
    return functional.normalize(raw, dim=1, eps=1e-20)


def _slope(field: Tensor, axis: int) -> Tensor:
    """The difference from pixel to pixel: the mean of both sides, but the lesser one alone beside a jump."""
    steps = field.diff(dim=axis)
    count = steps.shape[axis]
    back = torch.cat([steps.narrow(axis, 0, 1), steps], axis)
    on = torch.cat([steps, steps.narrow(axis, count - 1, 1)], axis)
    usual = (JUMP * field) ** 2 + torch.finfo(field.dtype).tiny
    return (on + back) * (on * back + usual) / (on**2 + back**2 + 2 * usual)


def _blurred(field: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of B×1×H×W, the border repeated; the kernel ends after three sigmas."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-(torch.arange(-reach, reach + 1, device=field.device) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    across = functional.conv2d(functional.pad(field, (reach, reach, 0, 0), mode="replicate"), weights)
    return functional.conv2d(functional.pad(across, (0, 0, reach, reach), mode="replicate"), weights.mT)


def _slopes(field: Tensor, threshold: float) -> Tensor:
    """1×H×W → 3×H×W: the normal map of ControlNet 1.0, with the channels in the order that its network sees."""
    values = field[0].detach().float().cpu().numpy()
    flat = stretch(field[None].detach().float())[0, 0].cpu().numpy() < threshold
    slopes = [cv2.Sobel(values, cv2.CV_32F, *axis, ksize=3) for axis in ((1, 0), (0, 1))]
    x, y = (np.where(flat, np.float32(0), slope) for slope in slopes)
    normal = np.stack([x, y, np.full_like(x, FACING)], -1)
    normal /= np.sqrt((normal**2).sum(-1, keepdims=True))
    return images.from_uint8((normal * 127.5 + 127.5).clip(0, 255).astype(np.uint8)[..., ::-1]).to(field.device)
