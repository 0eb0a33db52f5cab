"""WebDataset tars: the members of one sample stand together and share the name before the first dot."""

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from underdraw import images
from underdraw.data.sources.entries import Entry, Piece, Problem, Source, Span
from underdraw.data.sources.folders import Wishes
from underdraw.data.sources.kinds import kind_of
from underdraw.data.sources.texts import CAPTIONS, captions_in, words_of
from underdraw.errors import InputError

__all__ = ["archives"]

TEXTS = ("txt", *CAPTIONS)
SMALL = (*TEXTS, "json")
"""Members that are read at once."""


class _Member(NamedTuple):
    key: str
    ending: str
    span: Span
    data: bytes


def archives(paths: list[Path], wishes: Wishes) -> Source:
    """The samples of tars, in the order in which they lie. Raises InputError for compressed ones."""
    listed = [each for path in paths for each in _samples(path, wishes)]
    entries = [each for each in listed if isinstance(each, Entry)]
    return Source("WebDataset tars", entries, tuple(each for each in listed if isinstance(each, Problem)))


def _samples(path: Path, wishes: Wishes) -> Iterator[Entry | Problem]:
    broken: list[Problem] = []
    for key, members in groupby(_members(path, broken), key=lambda member: member.key):
        yield from _sample(path, key, {member.ending: member for member in members}, wishes)
    yield from broken


def _members(path: Path, broken: list[Problem]) -> Iterator[_Member]:
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if not info.isfile():
                    continue
                place = PurePosixPath(info.name)
                stem, _, ending = place.name.partition(".")
                ending = ending.lower()
                file = tar.extractfile(info) if ending in SMALL else None
                span = Span(path, info.offset_data, info.size, info.name)
                yield _Member((place.parent / stem).as_posix(), ending, span, file.read() if file else b"")
    except tarfile.ReadError as error:
        if path.suffix != ".tar":
            raise InputError(f"{path} is compressed; unpack it to .tar first") from error
        broken.append(Problem(path.name, "tar is cut off or broken", str(error)))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _sample(path: Path, key: str, members: dict[str, _Member], wishes: Wishes) -> Iterator[Entry | Problem]:
    """What is wrong with a sample, then its entry. `jpg` is the picture, `depth.png` a map, `txt` the caption."""
    name = f"{path.name}/{key}"
    attributes, problems = _attributes(members.get("json"), name)
    texts = captions_in(attributes, wishes.caption)
    said = next((members[ending] for ending in TEXTS if ending in members), None)
    if said is not None:
        own, more = words_of(said.data, name, said.span.name)
        texts, problems = (*own, *(text for text in texts if text not in own)), problems + more
    pictures = {
        ending: member.span for ending, member in members.items() if f".{ending.split('.')[-1]}" in images.SUFFIXES
    }
    chosen = wishes.picture if wishes.picture in pictures else next((each for each in pictures if "." not in each), "")
    yield from problems
    if not chosen:
        yield Problem(name, "sample has no picture", ", ".join(members))
        return
    maps = _maps({ending: span for ending, span in pictures.items() if ending != chosen}, wishes)
    told = {key: value for key, value in attributes.items() if key not in CAPTIONS}
    yield Entry(name, pictures[chosen], maps, texts, told)


def _maps(pictures: dict[str, Span], wishes: Wishes) -> dict[str, Piece]:
    """`depth.png` is a map of depth; `canny.1.png`, which another knob draw made, is made again if it is wanted."""
    found: dict[str, Piece] = {
        kind_of(end.split(".")[0]): span for end, span in pictures.items() if end.count(".") == 1
    }
    return found | {kind: pictures[end] for kind, end in wishes.maps.items() if end in pictures}


def _attributes(member: _Member | None, name: str) -> tuple[dict[str, Any], list[Problem]]:
    if member is None:
        return {}, []
    try:
        found = json.loads(member.data)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found, []
    return {}, [Problem(name, "JSON is not an object", member.span.name, loses=False)]
