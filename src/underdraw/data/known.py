"""The condition map of a picture of which more is known than it shows: what its data set says, or what is found in it.

Training and evaluation make their maps here, so that a net is judged by the kind of map that it was taught.
"""

from collections.abc import Container, Mapping
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS, Inpaint, Pose, Sketch, build, draw_knobs, given, masked
from underdraw.annotators.depth import Field
from underdraw.annotators.keypoints import BODY, Person, Poses
from underdraw.annotators.labels import LabelMap
from underdraw.data.folder import Record
from underdraw.errors import InputError

__all__ = ["bodies", "condition_map", "hole", "origin", "strokes"]

DEPTH, LABELS = "depth", "segmentation"
"""The maps of a data set from which others are made."""
SCRIBBLE = "scribble"
SEEN = 6
"""Points of a body that must be seen so that it counts."""
HOLE = (0.35, 0.75)
"""Least and largest side of a hole, in sides of the picture."""


def origin(kind: str, maps: Container[str], attributes: Mapping[str, Any]) -> str | None:
    """What a map of this kind is made from, where these maps and attributes are known of a picture.

    The name of a map; "" is the picture, with its body points; None: this picture can't have one.
    """
    if kind in maps:
        return kind
    if kind not in ANNOTATORS:
        return None
    part = ANNOTATORS[kind]
    if issubclass(part, Field | LabelMap):
        source = DEPTH if issubclass(part, Field) else LABELS
        return source if source in maps else None
    return None if part is Pose and not len(bodies(attributes)) else ""


def condition_map(record: Record, kind: str, draw: torch.Generator | None = None) -> Tensor:
    """The map 1×C×H×W of a kind: that of the data set, made from another one of it, or found in the picture.

    draw: random knobs, as training wants them; otherwise the usual ones. The hole of an inpaint map is random in either
    case: by `draw`, or by the record's name.
    Raises InputError for a picture that can't have one.
    """
    source = origin(kind, record.maps, record.attributes)
    if source is None:
        raise InputError(f"{record.name or 'the picture'} has no {kind} map, and none can be made of what is known")
    if source == kind:
        own = record.maps[kind][None]
        return given(kind, own) if kind in ANNOTATORS else own
    look = build(kind) if draw is None else draw_knobs(kind, draw)
    if source:
        known = record.maps[source][None]
        return look.map(known.mean(1, keepdim=True) if isinstance(look, Field) else known)
    picture = record.image[None]
    size = (picture.shape[-1], picture.shape[-2])
    if isinstance(look, Pose):
        return look.map(_poses(bodies(record.attributes), size))
    if isinstance(look, Sketch):  # it reads drawings, not photographs: what a hand would draw of one, in ink on paper
        return look.map(1 - strokes(picture, draw).expand(-1, 3, -1, -1))
    if isinstance(look, Inpaint):
        return look.map(masked(picture, hole(size, draw or torch.Generator().manual_seed(crc32(record.name.encode())))))
    return look.map(picture)


def strokes(picture: Tensor, draw: torch.Generator | None) -> Tensor:
    """The strokes 1×1×H×W of a hand, white on black."""
    hand = build(SCRIBBLE) if draw is None else draw_knobs(SCRIBBLE, draw)
    return hand.map(picture)


def bodies(attributes: Mapping[str, Any]) -> Tensor:
    """The people P×18×3 that attributes tell of (`keypoints`, as rooms have them), those that are hardly seen left out.

    x and y in pixels, and 0: not there, 1: hidden, 2: seen.
    """
    told = attributes.get("keypoints") or ()
    try:
        found = torch.tensor(told, dtype=torch.float32).reshape(-1, len(BODY), 3)
    except (TypeError, ValueError, RuntimeError):
        return torch.zeros(0, len(BODY), 3)
    return found[(found[..., 2] > 1).sum(1) >= SEEN]


def _poses(people: Tensor, size: tuple[int, int]) -> Poses:
    """What is hidden is drawn as well: a pose is asked for whole."""
    drawn = [[(x, y, float(seen > 0)) for x, y, seen in body] for body in people.tolist()]
    return Poses(tuple(Person(tuple(body)) for body in drawn), size)


def hole(size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """A mask 1×1×H×W of 0 and 1 with one hole, a box or an ellipse."""
    round_off, *shares = torch.rand(5, generator=draw).tolist()
    sides = [HOLE[0] + (HOLE[1] - HOLE[0]) * share for share in shares[:2]]
    centres = [side / 2 + (1 - side) * share for side, share in zip(sides, shares[2:], strict=True)]
    across, down = (
        ((torch.arange(length) + 0.5) / length - centre) / (side / 2)
        for length, centre, side in zip(size, centres, sides, strict=True)
    )
    away = (across**2 + down[:, None] ** 2) if round_off < 0.5 else torch.maximum(across.abs(), down[:, None].abs())
    return (away <= 1).float()[None, None]
