"""Previews: small pictures are decoded, as that is quick; of larger ones a linear map of the latents is shown.

Each place's pixels are then a linear map of what the latents have there and around it. It is fitted once for an
autoencoder, by least squares over pictures that are made for it: so every base has one, nothing is fetched, and a
preview costs next to nothing. It is soft and a little noisy; what is drawn is decoded as ever.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.generation.sampler import decode_frame
from underdraw.model import Backbone

__all__ = ["glance"]

SMALL = 128 * 128
"""Pictures of no more pixels than this are decoded."""
PICTURES, SIDE = 24, 16
"""What the map is fitted on: so many pictures, of so many latent values a side."""


@torch.no_grad()
def glance(backbone: Backbone, latents: Tensor) -> Tensor:
    """About the pictures B×3×H×W in [0, 1] on the CPU that `decode_frame` makes of samples B×C×h×w."""
    if backbone.vae is None or latents[0, 0].numel() * backbone.factor**2 <= SMALL:
        return decode_frame(backbone, latents)
    if backbone.vae not in _KNOWN:
        _KNOWN[backbone.vae] = _fitted(backbone)
    return _KNOWN[backbone.vae](latents.float().cpu())


@dataclass(frozen=True, eq=False)
class _Map:
    """weight: 3·f²×C×3×3 and bias: 3·f², for an autoencoder of factor f with C channels."""

    weight: Tensor
    bias: Tensor
    factor: int

    def __call__(self, latents: Tensor) -> Tensor:
        pixels = functional.conv2d(_padded(latents), self.weight, self.bias)
        return functional.pixel_shuffle(pixels, self.factor).clamp(0, 1)


_KNOWN: WeakKeyDictionary[Any, _Map] = WeakKeyDictionary()


def _fitted(backbone: Backbone) -> _Map:
    """Least squares from what the encoder gives to what it was given."""
    pictures = torch.cat(list(_pictures(SIDE * backbone.factor)))
    parts = (part.to(backbone.device, backbone.dtype) for part in pictures.split(4))
    latents = torch.cat([backbone.encode_picture(part).mean.float().cpu() for part in parts])
    around = _rows(functional.unfold(_padded(latents), 3))
    wanted = _rows(functional.pixel_unshuffle(pictures, backbone.factor).flatten(2))
    found = torch.linalg.lstsq(torch.cat([around, torch.ones(len(around), 1)], dim=1).double(), wanted.double())
    weight, bias = found.solution.T.float().tensor_split([-1], dim=1)
    return _Map(weight.reshape(len(weight), -1, 3, 3), bias[:, 0], backbone.factor)


def _padded(latents: Tensor) -> Tensor:
    return functional.pad(latents, (1, 1, 1, 1), mode="replicate")


def _rows(columns: Tensor) -> Tensor:
    """One row a place from N×C×places."""
    return columns.transpose(1, 2).flatten(0, 1)


def _pictures(side: int) -> Iterator[Tensor]:
    """Coloured surfaces with sharp borders, under shades and grain of several sizes: 1×3×side×side in [0, 1]."""
    generator = torch.Generator().manual_seed(0)

    def smooth(channels: int, cells: int) -> Tensor:
        noise = torch.randn(1, channels, cells, cells, generator=generator)
        return functional.interpolate(noise, (side, side), mode="bicubic")

    for number in range(PICTURES):
        colours = torch.rand(6, 3, generator=generator)
        surfaces = colours[smooth(6, 3 + number % 6).argmax(1)].permute(0, 3, 1, 2)
        shades = 0.15 * smooth(3, 3) + 0.05 * smooth(3, side // 4) + 0.03 * smooth(3, side // 2)
        yield (surfaces + shades).clamp(0, 1)
