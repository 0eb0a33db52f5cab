"""What a drawing does with a picture that is there already: one value, in any combination.

A `Task` says how a drawing starts, what of it is kept, and what the network sees beside the latents. Drawing anew is
the empty task; picture to picture is a start and a strength; in- and outpainting add a mask; bases with more input
channels see the mask and the masked picture (inpainting, 9) or the picture (InstructPix2Pix, 8) beside.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.errors import ConfigError, InputError
from underdraw.generation import tiles as windows
from underdraw.generation.blend import filled
from underdraw.generation.schedulers import noised
from underdraw.generation.tiles import Tiles
from underdraw.model import Backbone

__all__ = ["Content", "Task", "latent_channels", "latent_mask", "make_task", "sees_pictures"]

Content = Literal["original", "fill", "latent noise", "latent nothing"]
"""What stands in a mask before it is drawn, in A1111's words: what was there, the colours around it, noise, zeros."""


@dataclass(frozen=True, eq=False)
class Task:
    """How a drawing starts, what of it is kept, what the network sees beside the latents; by default only noise.

    clean: B×C×h×w, the samples that it starts from; None is noise alone. strength: which share of the way into noise
    they are taken (and so which share of the steps is drawn), in (0, 1].
    mask: B×1×h×w in [0, 1], where it is drawn (1); elsewhere `kept` stays (B×C×h×w; None is `clean`).
    beside: B×C'×h×w, seen beside the latents by bases that have channels for it.
    content: what the mask holds of `clean` at the start ("fill" is as "original": colours are filled in as pixels).
    """

    clean: Tensor | None = None
    strength: float = 1.0
    mask: Tensor | None = None
    kept: Tensor | None = None
    beside: Tensor | None = None
    content: Content = "original"

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise InputError(f"strength {self.strength:g} makes no sense; give a number above 0, up to 1")

    def first(self, path: Any) -> int:
        """The step of a scheduler at which it starts: diffusers' rule. Raises InputError where none would be left."""
        if self.clean is None:
            return 0
        count = int(path.num_inference_steps)
        drawn = min(int(count * self.strength), count)
        if not drawn:
            raise InputError(f"strength {self.strength:g} of {count} steps leaves none to draw; give more of either")
        return (count - drawn) * int(getattr(path, "order", 1))

    def start(self, path: Any, noise: Tensor, first: int) -> Tensor:
        """The sample that step `first` starts from; noise is B×C×h×w standard normal."""
        if self.clean is None or (self.mask is not None and self.strength == 1):
            return noise * float(path.init_noise_sigma)
        clean = self.clean.to(noise)
        if self.mask is not None and self.content.startswith("latent"):
            other = noise if self.content == "latent noise" else torch.zeros_like(noise)
            clean = torch.lerp(clean, other, self.mask.to(noise))
        return noised(path, clean, noise, first)

    def keep(self, path: Any, sample: Tensor, noise: Tensor, step: int) -> Tensor:
        """The sample with what is kept laid over it, as noisy as step `step` wants it; `step` is about to be taken."""
        kept = self.clean if self.kept is None else self.kept
        if self.mask is None or kept is None:
            return sample
        mask = self.mask.to(sample)
        return (1 - mask) * noised(path, kept.to(sample), noise, step) + mask * sample


def latent_channels(backbone: Backbone) -> int:
    """Channels of the latents; the network may see more beside them."""
    config = backbone.unet.config if backbone.vae is None else backbone.vae.config
    return int(config["in_channels"] if backbone.vae is None else config["latent_channels"])


def latent_mask(mask: Tensor, factor: int) -> Tensor:
    """A mask B×1×H×W for latents: whatever holds a pixel that is to be drawn is drawn."""
    return (functional.max_pool2d(mask.float(), factor) > 0).float()


@torch.no_grad()
def make_task(
    backbone: Backbone,
    size: tuple[int, int],
    pictures: Tensor | None = None,
    mask: Tensor | None = None,
    strength: float = 1.0,
    tiles: Tiles | None = None,
    content: Content = "original",
) -> Task:
    """The task of a base for pictures of size = (width, height), whatever channels its network has.

    pictures: B×3×H×W in [0, 1] of that size, what is there already; mask: B×1×H×W in [0, 1], where it is drawn anew
    (1). A base that sees the picture beside the latents starts from noise at strength 1. content: as in `Task`.
    Raises InputError for a mask without a picture, ConfigError for a base of an unknown kind.
    """
    if mask is not None and pictures is None:
        raise InputError("a mask says what of a picture is drawn anew, and there is no picture; give one")
    beside = _beside(backbone, size, pictures, mask, tiles)
    if pictures is None:
        return Task(beside=beside)
    from_noise = strength == 1 and mask is None and beside is not None
    shown = filled(pictures, mask) if content == "fill" and mask is not None else pictures
    clean = None if from_noise else windows.encode(backbone, shown, tiles)
    small = None if mask is None else latent_mask(mask, backbone.factor)
    return Task(clean, strength, small, beside=beside, content=content)


def sees_pictures(backbone: Backbone) -> bool:
    """Whether the network of a base sees a whole picture beside its latents (InstructPix2Pix)."""
    return int(backbone.unet.config["in_channels"]) == 2 * latent_channels(backbone)


def _beside(
    backbone: Backbone, size: tuple[int, int], pictures: Tensor | None, mask: Tensor | None, tiles: Tiles | None
) -> Tensor | None:
    """What the network of a base sees beside its latents."""
    own, seen = latent_channels(backbone), int(backbone.unet.config["in_channels"])
    if seen == own:
        return None
    if pictures is None:
        pictures = torch.full((1, 3, size[1], size[0]), 0.5)
    if sees_pictures(backbone):  # InstructPix2Pix was trained on latents without the scaling factor
        return windows.encode(backbone, pictures, tiles) / float(backbone.vae.config.scaling_factor)
    if seen == 2 * own + 1:
        mask = torch.ones_like(pictures[:, :1]) if mask is None else (mask >= 0.5).to(pictures)
        small = latent_mask(mask, backbone.factor).to(backbone.device)
        hidden = windows.encode(backbone, torch.where(mask > 0, 0.5, pictures), tiles)
        return torch.cat([small.expand(len(hidden), -1, -1, -1), hidden], dim=1)
    raise ConfigError(
        f"the base's U-Net has {seen} input channels; known are {own} (plain), {2 * own} (InstructPix2Pix) and"
        f" {2 * own + 1} (inpainting)"
    )
