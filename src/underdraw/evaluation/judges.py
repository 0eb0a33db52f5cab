"""Judges: what a drawn picture is annotated with again, and how its map is compared with the one it was drawn from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from underdraw.annotators import build, extract
from underdraw.annotators.readers import load_reader
from underdraw.data.folder import Record
from underdraw.errors import ConfigError
from underdraw.evaluation.fidelity import depth_error, edge_scores

__all__ = ["EDGES", "FIELDS", "Judge", "call_judge", "true_map"]

Score = Callable[[Tensor, Tensor], Tensor]
"""From drawn and true maps, B×1×H×W each, to one number an item (B)."""

EDGES: Mapping[str, Score] = {
    "F1 at 1 px": lambda drawn, truth: edge_scores(drawn, truth, 1).f1,
    "F1 at 0 px": lambda drawn, truth: edge_scores(drawn, truth, 0).f1,
}
"""How maps of lines are compared (more is better); the first is the one that counts."""

FIELDS: Mapping[str, Score] = {
    "RMSE": depth_error,
    "RMSE, scaled": lambda drawn, truth: depth_error(drawn, truth, "scale"),
    "RMSE, scaled and shifted": lambda drawn, truth: depth_error(drawn, truth, "scale and shift"),
}
"""How fields are compared (less is better); the first is the one that counts."""


@dataclass(frozen=True)
class Judge:
    """kind: of map. read: pictures B×3×H×W → maps B×1×H×W. scores: by name. told: what it is, for the report."""

    kind: str
    read: Callable[[Tensor], Tensor]
    scores: Mapping[str, Score]
    told: Mapping[str, object]


def call_judge(kind: str, readers: Mapping[str, Path], split: str) -> Judge:
    """The judge of a kind of map: the annotator itself for edges, a trained reader for all others.

    Raises ConfigError for a kind that has no reader, for a reader of another kind, and for one that was trained on the
    split that it is to judge.
    """
    if kind == "canny":
        canny = build("canny")
        return Judge(kind, canny, EDGES, {"annotator": kind, **canny.settings})
    if kind not in readers:
        raise ConfigError(f"{kind} is judged by a reader; give its file: {kind}=FILE.safetensors")
    reader = load_reader(readers[kind])
    if reader.shape.kind != kind:
        raise ConfigError(f"{readers[kind]} reads {reader.shape.kind}, not {kind}; give the reader of {kind}")
    if reader.shape.learned_from == split:
        raise ConfigError(f"{readers[kind]} was trained on the {split} split and must not judge it; train another")
    told = {"reader": readers[kind].name, "learned_from": reader.shape.learned_from}
    return Judge(kind, lambda pictures: torch.cat([reader(part) for part in torch.split(pictures, 64)]), FIELDS, told)


def true_map(kind: str, record: Record) -> Tensor:
    """1×1×H×W: the record's own map of a kind, or what the annotator finds in its picture."""
    if kind in record.maps:
        return record.maps[kind][None, :1]
    return extract(kind, record.image[None])
