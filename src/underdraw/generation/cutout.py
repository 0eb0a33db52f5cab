"""Only what is masked: a part of a picture that is drawn at the full size of a drawing, and laid back where it was.

What is small in a large picture gets few of the network's values, and is drawn badly. So what lies around the mask is
cut out, enlarged to a size that the base draws well, and put back; A1111 calls it "inpaint area: only masked".
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from underdraw import images
from underdraw.errors import InputError

__all__ = ["LONGEST", "Box", "Cutout", "shaped"]

Box = tuple[int, int, int, int]
"""The (left, top, right, bottom) edge of a part of a picture, in its pixels."""
LONGEST = 16384
"""Pixels of a side of a part at most."""


@dataclass(frozen=True)
class Cutout:
    """A part of a picture of size `whole` = (width, height). It may reach beyond the edges: they go on there."""

    whole: tuple[int, int]
    box: Box

    @classmethod
    def around(cls, mask: Tensor, padding: int, size: tuple[int, int]) -> Self:
        """What a mask 1×1×H×W holds and `padding` pixels beside it, in the proportions of `size` = (width, height).

        Raises InputError for a mask that holds nothing, or whose proportions are too far from those of `size`.
        """
        held, (height, width) = mask[0, 0] > 0, mask.shape[-2:]
        if not bool(held.any()):
            raise InputError("the mask is black everywhere, so nothing is drawn; paint white what is to be made anew")
        left, right = _padded(held.any(0), padding)
        top, bottom = _padded(held.any(1), padding)
        scale = max((right - left) / size[0], (bottom - top) / size[1], images.MIN_SIDE / min(size))
        across, down = (round(side * scale) for side in size)
        if max(across, down) > LONGEST:
            raise InputError(f"the mask is too long for a drawing of {size[0]}x{size[1]}; give it another --size")
        left, right = _grown(left, right, across, width)
        top, bottom = _grown(top, bottom, down, height)
        return cls((width, height), (left, top, right, bottom))

    def of(self, pictures: Tensor) -> Tensor:
        """The same part of pictures B×C×H×W of any resolution, whose centre is seen where their proportions differ."""
        pictures = images.crop(pictures, self.whole)
        height, width = pictures.shape[-2:]
        across, down = width / self.whole[0], height / self.whole[1]
        left, right = (round(edge * across) for edge in self.box[::2])
        top, bottom = (round(edge * down) for edge in self.box[1::2])
        rows, columns = torch.arange(top, max(bottom, top + 1)), torch.arange(left, max(right, left + 1))
        return pictures[..., rows.clamp(0, height - 1)[:, None], columns.clamp(0, width - 1)]

    def laid(self, part: Tensor, picture: Tensor) -> Tensor:
        """A picture 1×C×H×W of the whole size with `part` 1×C×h×w, of any resolution, where it was cut out."""
        left, top, right, bottom = self.box
        part = images.resize(part, (right - left, bottom - top), "bicubic")
        rows, columns = torch.arange(top, bottom), torch.arange(left, right)
        down, across = ((line >= 0) & (line < side) for line, side in ((rows, self.whole[1]), (columns, self.whole[0])))
        made = picture.clone()
        made[..., rows[down][:, None], columns[across]] = part[..., down, :][..., across]
        return made


def shaped(box: Box, size: tuple[int, int]) -> Box:
    """The centre of a part in the proportions of `size` = (width, height)."""
    left, top, right, bottom = box
    scale = min((right - left) / size[0], (bottom - top) / size[1])
    across, down = (max(1, round(side * scale)) for side in size)
    left, top = left + (right - left - across) // 2, top + (bottom - top - down) // 2
    return left, top, left + across, top + down


def _padded(held: Tensor, padding: int) -> tuple[int, int]:
    """From the first to behind the last place of a line that is held, and some more on either side if there is."""
    places = held.nonzero()
    return max(0, int(places[0]) - padding), min(len(held), int(places[-1]) + 1 + padding)


def _grown(start: int, stop: int, length: int, limit: int) -> tuple[int, int]:
    """A stretch of `length` around another one, within [0, limit] if it fits; else all of that in its middle."""
    first = start - (length - (stop - start)) // 2
    first = (limit - length) // 2 if length > limit else max(0, min(first, limit - length))
    return first, first + length
