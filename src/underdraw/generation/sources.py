"""Pictures and masks as people hand them over: a file's name, or a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from underdraw import images
from underdraw.errors import InputError
from underdraw.generation.cutout import Cutout

__all__ = ["PictureRequest", "Source", "as_mask", "as_picture", "each", "fitted", "name_of", "stacked"]

Source = str | Path | Tensor
"""The name of a file, or a picture C×H×W or 1×C×H×W in [0, 1]."""
FARTHEST = 4096
"""Pixels at most that are drawn beyond an edge."""


@dataclass(frozen=True, eq=False)
class PictureRequest:
    """A picture that is there already, and what is to be done with it.

    picture, mask: files or tensors; the mask is white where it is drawn anew. strength: how far it is taken into noise
    (None: 0.75, and 1 with a mask; a base that sees pictures beside the latents starts from noise). expand: pixels to
    draw beyond its (left, top, right, bottom) edge. softness: pixels inside the mask's border that lead over.
    guidance: how strongly InstructPix2Pix keeps it. padding: pixels beside the mask that are drawn with it where only
    what is masked is drawn, at the full size (None: all of the picture is). content: what stands in the mask before, as
    in `Task`. For a batch: picture and mask may be lists, with one a picture.
    Raises InputError for edges or a padding that make no sense.
    """

    picture: Source | Sequence[Source]
    strength: float | None = None
    mask: Source | Sequence[Source] | None = None
    expand: tuple[int, int, int, int] = (0, 0, 0, 0)
    softness: int = 4
    guidance: float = 1.5
    padding: int | None = None
    content: str = "original"

    def __post_init__(self) -> None:
        if self.padding is not None and not 0 <= self.padding <= FARTHEST:
            raise InputError(f"only masked: a padding of {self.padding} pixels makes no sense; usual is 32")
        about_mask = self.padding is not None or self.content != "original"
        if about_mask and self.mask is None and not any(self.expand):
            raise InputError("only masked and masked content say how a mask is drawn, and there is none; give one")
        if len(self.expand) != 4 or min(self.expand) < 0 or max(self.expand) > FARTHEST:
            raise InputError(
                f"outpaint {self.expand} makes no sense; give four numbers of pixels: left, top, right, bottom"
            )

    def items(self, count: int) -> list["PictureRequest"]:
        """The request of each of `count` pictures. Raises InputError for lists of another length."""
        pictures, masks = each(self.picture, count, "pictures"), each(self.mask, count, "masks")
        return [replace(self, picture=one, mask=mask) for one, mask in zip(pictures, masks, strict=True)]

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """The picture 1×3×H×W and its mask 1×1×H×W, grown by what is asked for beyond the edges.

        Raises InputError for what cannot be read.
        """
        assert isinstance(self.picture, Source), "a request for several pictures is read item by item"
        picture, mask = as_picture(self.picture), None
        if self.mask is not None:
            assert isinstance(self.mask, Source), "a request for several pictures is read item by item"
            mask = as_mask(self.mask, (picture.shape[-1], picture.shape[-2]))
        if not any(self.expand):
            return picture, mask
        left, top, right, bottom = self.expand
        room = (left, right, top, bottom)
        mask = torch.zeros_like(picture[:, :1]) if mask is None else mask
        return functional.pad(picture, room, mode="replicate"), functional.pad(mask, room, value=1.0)

    def cutout(self, mask: Tensor | None, size: tuple[int, int]) -> Cutout | None:
        """The part that a drawing of `size` = (width, height) shows of a picture with this mask; None is all of it.

        Raises InputError for a mask that holds nothing.
        """
        return None if self.padding is None or mask is None else Cutout.around(mask, self.padding, size)


def as_picture(source: Source) -> Tensor:
    """The picture 1×3×H×W. Raises InputError for a file or a tensor that is none."""
    if not isinstance(source, Tensor):
        return images.read(source)
    picture = source if source.ndim == 4 else source[None]
    if picture.ndim != 4 or len(picture) != 1 or picture.shape[1] not in (1, 3):
        raise InputError(f"a picture is 3×H×W in [0, 1], not {'×'.join(map(str, source.shape))}")
    return picture.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1)


def as_mask(source: Source, size: tuple[int, int] | None = None) -> Tensor:
    """The mask 1×1×H×W in [0, 1] (white is 1), at `size` = (width, height) if that is given. Raises as `as_picture`."""
    mask = as_picture(source).mean(1, keepdim=True)
    return mask if size is None else fitted(mask, size)


def fitted(
    pictures: Tensor, size: tuple[int, int], how: images.Reduction = "area", part: Cutout | None = None
) -> Tensor:
    """The centre of pictures B×C×H×W in the proportions of `size` = (width, height), or a part, at that size."""
    return images.resize(images.crop(pictures, size) if part is None else part.of(pictures), size, how)


def name_of(source: Any) -> str:
    """What a recipe calls a source: its file's name, or nothing."""
    return Path(source).name if isinstance(source, str | Path) else ""


def each(value: Any, count: int, what: str) -> list[Any]:
    """A value for each of `count` pictures: one for all, or a list (or a batch of tensors) with one a picture.

    Raises InputError for a list of another length.
    """
    if isinstance(value, Tensor):
        value = value if value.ndim == 1 or (value.ndim == 4 and len(value) > 1) else [value]
    elif isinstance(value, str | Path) or not isinstance(value, Sequence | range):
        value = [value]
    if len(value) not in (1, count):
        raise InputError(f"{len(value)} of {what} were given for {count} pictures; give one, or one for each")
    values = [part if not isinstance(part, Tensor) or part.ndim else part.item() for part in value]
    return values * count if len(values) == 1 else values


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Several B×… as one; a single one where all are the same."""
    first, *others = parts
    return first if all(torch.equal(first, other) for other in others) else torch.cat(list(parts))
