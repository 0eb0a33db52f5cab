"""Drawing, encoding and decoding in overlapping windows, so that a picture may be larger than memory, or than the
pictures that the base was trained on.

Each window is predicted by itself, with its own piece of every condition map, and what several windows say of a place
is averaged, the nearer its middle the heavier (MultiDiffusion, Bar-Tal et al. 2023). As that happens at every step,
neighbours agree on one picture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.errors import InputError
from underdraw.generation.guidance import Predict
from underdraw.model import Backbone, Control, Text

__all__ = ["Tiles", "decode", "encode", "tiled"]

Window = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Tiles:
    """Windows of width × height pixels; `overlap` is the share of its side that a window has in common with the next.

    Raises InputError for an overlap outside [0, 0.9].
    """

    width: int
    height: int
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 0.9:
            raise InputError(f"tiles with an overlap of {self.overlap:g} make no sense; give one from 0 to 0.9")

    def windows(self, size: tuple[int, int], factor: int) -> list[Window]:
        """The windows over a sample of size = (h, w), where one value stands for `factor` pixels each way."""
        rows, columns = (
            list(_spans(whole, max(1, side // factor), self.overlap))
            for whole, side in zip(size, (self.height, self.width), strict=True)
        )
        return [(row, column) for row in rows for column in columns]


def _spans(whole: int, side: int, overlap: float) -> Iterator[slice]:
    """Equally long stretches, evenly spaced from end to end."""
    if side >= whole:
        yield slice(0, whole)
        return
    steps = -(-(whole - side) // max(1, round(side * (1 - overlap))))
    for place in range(steps + 1):
        start = round(place * (whole - side) / steps)
        yield slice(start, start + side)


def blended(change: Callable[[Tensor, Window], Tensor], sample: Tensor, windows: Sequence[Window]) -> Tensor:
    """`change` of each window of a sample B×C×h×w, laid together; it may enlarge or shrink by a whole factor."""
    if len(windows) == 1:
        return change(sample, windows[0])
    total = weights = torch.zeros(())
    for window in windows:
        part = change(sample[..., window[0], window[1]], window)
        scale = part.shape[-1] / (window[1].stop - window[1].start)
        here = tuple(slice(round(each.start * scale), round(each.stop * scale)) for each in window)
        if not total.ndim:
            size = [round(side * scale) for side in sample.shape[2:]]
            total = part.new_zeros(*part.shape[:2], *size, dtype=torch.float32)
            weights = total.new_zeros(size)
        weight = _bell(part.shape[-2], total)[:, None] * _bell(part.shape[-1], total)
        total[..., here[0], here[1]] += part.float() * weight
        weights[here] += weight
    return total / weights


def _bell(side: int, like: Tensor) -> Tensor:
    """sin²: from nearly 0 at both ends to 1 in the middle, and without a corner, so that no border is seen."""
    place = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side
    return torch.sin(torch.pi * place) ** 2


def tiled(predict: Predict, tiles: Tiles | None, factor: int) -> Predict:
    """The network that looks at a sample window by window; itself where there are no tiles."""
    if tiles is None:
        return predict

    def whole(sample: Tensor, timestep: Tensor, text: Text | None, controls: Sequence[Control]) -> Tensor:
        size = (sample.shape[-2], sample.shape[-1])

        def one(part: Tensor, window: Window) -> Tensor:
            return predict(part, timestep, text, [control.cut(window, size) for control in controls])

        return blended(one, sample, tiles.windows(size, factor))

    return whole


def decode(backbone: Backbone, latents: Tensor, tiles: Tiles | None = None) -> Tensor:
    """The pictures B×3×H×W in [0, 1] of samples; window by window where there are tiles."""
    if tiles is None:
        return backbone.decode_latents(latents)
    windows = tiles.windows((latents.shape[-2], latents.shape[-1]), backbone.factor)
    return blended(lambda part, _: backbone.decode_latents(part), latents, windows)


def encode(backbone: Backbone, pictures: Tensor, tiles: Tiles | None = None) -> Tensor:
    """The most likely samples of pictures B×3×H×W in [0, 1]; window by window where there are tiles."""
    pictures = pictures.to(backbone.device, backbone.dtype)
    if tiles is None:
        return backbone.encode_picture(pictures).mean.float()
    factor = backbone.factor
    rows, columns = (side // factor for side in pictures.shape[2:])
    windows = [
        (slice(row.start * factor, row.stop * factor), slice(column.start * factor, column.stop * factor))
        for row, column in tiles.windows((rows, columns), factor)
    ]
    return blended(lambda part, _: backbone.encode_picture(part).mean.float(), pictures, windows)
