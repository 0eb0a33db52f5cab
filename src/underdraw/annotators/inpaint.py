"""Inpainting: a picture with a hole in it."""

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from underdraw import images
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.errors import InputError

__all__ = ["Inpaint", "masked", "read_masked"]

MASK = ".mask.png"
"""How the file of a picture's mask ends."""


@annotator("inpaint", known_as={"inpaint_only": {}, "inpaint_global_harmonious": {}})
class Inpaint(Annotator):
    """A picture whose masked pixels are -1 in all channels: the original ControlNet 1.1's inpaint condition.

    Everything around the hole stays; what is in it is made from the prompt. The hole is where a file is transparent, or
    where a grey file beside it (`photo.mask.png` for `photo.jpg`) is white.
    """

    meaning: ClassVar[Meaning] = Meaning(
        channels=3, polarity="the picture; -1 where masked", reduction="nearest", low=-1, differentiable=True
    )

    blur: float = knob(0.0, 0, 64, "sigma by which the mask's outline is smoothed, in pixels (the original's demo: 5)")

    def read(self, path: str | Path) -> Tensor:
        """A picture and its mask 1×4×H×W, as `read_masked`."""
        return read_masked(path)

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×4×H×W (RGB and mask in [0, 1]; above a half is masked) → B×3×H×W. Raises InputError without a mask."""
        if pictures.shape[1] != 4:
            raise InputError(
                f"inpaint needs a mask: make what shall be replaced transparent, or white in NAME{MASK} beside it"
            )
        masks = pictures[:, 3:]
        if self.blur:
            soft = [cv2.GaussianBlur(mask[0].cpu().float().numpy(), (0, 0), self.blur) for mask in masks.detach()]
            masks = torch.from_numpy(np.stack(soft))[:, None].to(pictures.device)
        return torch.where(masks > 0.5, -1.0, pictures[:, :3])

    def show(self, maps: Tensor) -> Tensor:
        """B×3×H×W as B×4×H×W: transparent where masked."""
        seen = (maps.amin(1, keepdim=True) >= 0).to(maps.dtype)
        return torch.cat([maps.clamp(min=0), seen], 1)


def masked(picture: Tensor, mask: Tensor) -> Tensor:
    """A picture B×3×H×W and a mask B×1×H×W in [0, 1] (white is replaced) as `Inpaint` takes them: B×4×H×W.

    A mask of another size is brought to the picture's. Raises InputError for one with other proportions.
    """
    size = (picture.shape[-1], picture.shape[-2])
    wide, high = mask.shape[-1] / size[0], mask.shape[-2] / size[1]
    if abs(wide / high - 1) > 0.02:
        raise InputError(
            f"the mask is {mask.shape[-1]}×{mask.shape[-2]}, the picture {size[0]}×{size[1]}; "
            "give a mask of the picture's proportions"
        )
    return torch.cat([picture, images.resize(mask.mean(1, keepdim=True), size, "area")], 1)


def read_masked(path: str | Path, mask: str | Path | None = None) -> Tensor:
    """A picture and its mask 1×4×H×W from a file: where it is transparent, and where its mask file is white.

    mask: a grey file; by default the one beside it that is called as the picture, but ends in `.mask.png`. Without
    either 1×3×H×W. Raises InputError for files that cannot be read.
    """
    beside, cut = Path(path).with_suffix(MASK), _cut_out(path)
    picture = images.read(path) if cut is None else cut
    if not (mask or beside.exists()):
        return picture
    found = masked(picture[:, :3], images.read(mask or beside))
    return found if cut is None else torch.cat([found[:, :3], torch.maximum(found[:, 3:], cut[:, 3:])], 1)


def _cut_out(path: str | Path) -> Tensor | None:
    """The colours of a file and where it is transparent (1), 1×4×H×W; None for one that is nowhere so."""
    images.read(path)  # refuses what cannot be read
    with Image.open(path) as file:
        if not file.has_transparency_data:
            return None
        rgba = images.from_uint8(np.asarray(ImageOps.exif_transpose(file).convert("RGBA")))[None]
    return torch.cat([rgba[:, :3], 1 - rgba[:, 3:]], 1) if rgba[:, 3].min() < 1 else None
