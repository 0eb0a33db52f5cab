"""Judges: what a drawn picture is annotated with again, and how its map is compared with the one it was drawn from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS, DepthLayers, build
from underdraw.annotators.measures import Score, measures
from underdraw.annotators.readers import Reader, load_reader, shipped_reader
from underdraw.data.folder import Record
from underdraw.data.known import bodies, condition_map, origin
from underdraw.errors import ConfigError, InputError

__all__ = ["Judge", "call_judge", "reads", "sees_pictures"]

PEOPLE = 4
"""Most people that a picture is judged by."""
WHOLE = ("inpaint", "shuffle")
"""Conditions whose maps are compared with the drawn picture itself."""
SEEN_AS = {"sketch": "scribble"}
"""Kinds that are read from drawings, and what finds the like in a picture."""
READ = {"depth": "depth", "depth_layers": "depth", "normal": "normal", "segmentation": "segmentation", "pose": "pose"}
"""Conditions that no annotator sees in a picture without learned weights, and what a reader reads for them."""


@dataclass(frozen=True)
class Judge:
    """Who judges maps of one kind.

    read: pictures B×3×H×W → what `scores` compare, as a rule maps B×C×H×W; scores: by name; told: what it is, for the
    report. alone: whether maps are made of the picture alone, whatever else the data set knows.
    """

    kind: str
    read: Callable[[Tensor], Tensor]
    scores: Mapping[str, Score]
    told: Mapping[str, object] = field(default_factory=dict)
    alone: bool = False

    def usable(self, record: Record) -> bool:
        """Whether a picture has a map of this kind that is known to be true."""
        source = origin(self.kind, record.maps, record.attributes)
        return self.alone or bool(source) or (source is not None and self._of_people)

    @property
    def _of_people(self) -> bool:
        return ANNOTATORS[self.kind].condition == "pose"

    def shown(self, record: Record) -> Tensor:
        """The map 1×C×H×W that a net is shown for a true picture."""
        return condition_map(replace(record, maps={}) if self.alone else record, self.kind)

    def wanted(self, record: Record, shown: Tensor) -> Tensor:
        """What `read` gives of a picture that shows this map perfectly."""
        if not self._of_people:
            return shown
        people = bodies(record.attributes)[:PEOPLE]
        return torch.cat([people, people.new_zeros(PEOPLE - len(people), *people.shape[1:])])[None]


def call_judge(kind: str, readers: Sequence[Path], split: str) -> Judge:
    """The judge of a kind of map: the annotator itself, or for what it does not see in a picture a trained reader.

    readers: their files; where there are none, the one that ships judges.
    Raises ConfigError for a kind that nobody can judge, and for a reader that was trained on the split.
    """
    condition = ANNOTATORS[kind].condition
    scores = measures(condition)
    if condition in WHOLE:
        return Judge(kind, lambda pictures: pictures, scores, {"picture": "itself"}, alone=True)
    if condition in READ:
        return _reading(kind, READ[condition], readers, split)
    if not sees_pictures(kind):
        raise ConfigError(f"{kind} can't be judged: it is not seen in a picture, and no reader learns it")
    look = build(SEEN_AS.get(kind, kind))
    return Judge(kind, look.map, scores, {"annotator": look.kind, **look.settings}, alone=True)


def _reading(kind: str, read: str, readers: Sequence[Path], split: str) -> Judge:
    name, reader = _reader_of(read, readers, kind)
    if reader.shape.learned_from == split:
        raise ConfigError(f"{name} was trained on the {split} split and must not judge it; train another")

    def seen(pictures: Tensor) -> Tensor:
        maps = torch.cat([reader.read(part, read) for part in torch.split(pictures, 64)])
        return build(kind)(maps) if ANNOTATORS[kind] is DepthLayers else maps

    told = {"reader": name, "learned_from": reader.shape.learned_from, "own error": reader.shape.errors.get(read)}
    return Judge(kind, seen, measures(ANNOTATORS[kind].condition), told)


def _reader_of(read: str, readers: Sequence[Path], kind: str) -> tuple[str, Reader]:
    """The first of the files, or else the judge that ships, with its name, if it reads that."""
    if not readers and (own := shipped_reader("judge")):
        readers = [own]
    for path in readers:
        reader = load_reader(path)
        if read in reader.shape.reads:
            return path.name, reader
    there = f"none of {', '.join(map(str, readers))} reads {read}" if readers else "there is none"
    raise ConfigError(f"{kind} is judged by a reader, and {there}; give the file of one: --reader judge.safetensors")


def reads(path: Path, kind: str) -> bool:
    """Whether the reader in a file can judge maps of a kind. Raises CheckpointError for a file that is no reader."""
    return kind in ANNOTATORS and READ.get(ANNOTATORS[kind].condition) in load_reader(path).shape.reads


@cache
def sees_pictures(kind: str) -> bool:
    """Whether there is an annotator that finds this kind of map in a picture, without weights to fetch."""
    if kind not in ANNOTATORS or ANNOTATORS[kind].needs.weights or ANNOTATORS[kind].needs.packages:
        return False
    if ANNOTATORS[kind].condition in READ:
        return False
    try:
        build(kind)(torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    except InputError:
        return False
    return True
