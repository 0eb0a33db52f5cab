"""From a picture, or from a map that somebody brings, to the condition map of a drawing."""

from typing import Any

import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators.protocol import ANNOTATORS, build
from underdraw.errors import InputError

__all__ = ["as_hint", "extract", "given"]


def extract(kind: str, picture: Tensor, size: tuple[int, int] | None = None, **knobs: Any) -> Tensor:
    """The condition map 1×C×h×w of a picture 1×3×H×W for a drawing of `size` = (w, h) (the picture's, if not given).

    The picture's centre is cut to the drawing's proportions and reduced by area to the annotator's native size; the map
    is then brought to `size` as its meaning says (lines by maximum, fields by area).
    Raises ConfigError for an unknown kind or knob, InputError for a picture that this kind cannot be read from.
    """
    return build(kind, knobs).map(picture, size)


def given(kind: str, picture: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """The condition map 1×C×h×w in a picture 1×(1|3)×H×W that already is one, brought to `size` as `extract` does.

    Where a map of this kind knows only two values, what a soft pen or JPEG left between them is rounded.
    Raises ConfigError for an unknown kind, InputError for a picture whose channels do not fit.
    """
    meaning = ANNOTATORS[kind].meaning
    if meaning.channels == 1:
        picture = picture.mean(1, keepdim=True)
    elif picture.shape[1] != meaning.channels:
        raise InputError(f"a {kind} map has {meaning.channels} channels; this one has {picture.shape[1]}")
    size = size or (picture.shape[-1], picture.shape[-2])
    found = images.resize(images.crop(picture, size), size, meaning.reduction)
    middle = (meaning.low + meaning.high) / 2
    return torch.where(found > middle, meaning.high, meaning.low) if meaning.binary else found


def as_hint(maps: Tensor) -> Tensor:
    """What a ControlNet is shown: B×3×H×W. One channel is repeated, three stay.

    An annotator's map has as many channels as its meaning says; ControlNets of the original and diffusers layouts see
    RGB pictures of maps. Raises InputError for any other number of channels.
    """
    if maps.shape[1] not in (1, 3):
        raise InputError(
            f"a map of {maps.shape[1]} channels cannot be shown to a ControlNet as a picture; it takes 1 or 3"
        )
    return maps.expand(-1, 3, -1, -1)
