"""Judges: what a drawn picture is annotated with again, and how its map is compared with the one it was drawn from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS, build, extract, given
from underdraw.annotators.readers import load_reader
from underdraw.data.folder import Record
from underdraw.errors import ConfigError, InputError
from underdraw.evaluation.measures import Score, measures

__all__ = ["Judge", "call_judge", "sees_pictures", "true_map"]


@dataclass(frozen=True)
class Judge:
    """kind: of map. read: pictures B×3×H×W → maps B×1×H×W. scores: by name. told: what it is, for the report."""

    kind: str
    read: Callable[[Tensor], Tensor]
    scores: Mapping[str, Score]
    told: Mapping[str, object]


def call_judge(kind: str, readers: Mapping[str, Path], split: str) -> Judge:
    """The judge of a kind of map: a trained reader where one is given, else the annotator itself.

    Raises ConfigError for a kind that cannot be seen in a picture and has no reader, for a reader of another kind, and
    for one that was trained on the split that it is to judge.
    """
    condition = ANNOTATORS[kind].condition if kind in ANNOTATORS else kind
    if kind not in readers:
        if not sees_pictures(kind):
            raise ConfigError(f"{kind} is judged by a reader; give its file: {kind}=FILE.safetensors")
        look = build(kind)
        return Judge(kind, look, measures(condition), {"annotator": kind, **look.settings})
    reader = load_reader(readers[kind])
    if reader.shape.kind != kind:
        raise ConfigError(f"{readers[kind]} reads {reader.shape.kind}, not {kind}; give the reader of {kind}")
    if reader.shape.learned_from == split:
        raise ConfigError(f"{readers[kind]} was trained on the {split} split and must not judge it; train another")
    told = {"reader": readers[kind].name, "learned_from": reader.shape.learned_from}
    read = lambda pictures: torch.cat([reader(part) for part in torch.split(pictures, 64)])  # noqa: E731
    return Judge(kind, read, measures(condition), told)


@cache
def sees_pictures(kind: str) -> bool:
    """Whether there is an annotator that finds this kind of map in a picture, without weights to fetch."""
    if kind not in ANNOTATORS or ANNOTATORS[kind].needs.weights or ANNOTATORS[kind].needs.packages:
        return False
    try:
        build(kind)(torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    except InputError:
        return False
    return True


def true_map(kind: str, record: Record) -> Tensor:
    """1×C×H×W: the record's own map of a kind, or what the annotator finds in its picture."""
    if kind in record.maps:
        return given(kind, record.maps[kind][None]) if kind in ANNOTATORS else record.maps[kind][None]
    return extract(kind, record.image[None])
