"""Body points beside pictures: OpenPose's JSON files, or one file of COCO's for all."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from underdraw.annotators.keypoint_files import read_coco, to_openpose
from underdraw.annotators.keypoints import Person, Poses
from underdraw.data.known import bodies
from underdraw.data.sources.entries import Bytes, Entry, File, Piece, Problem, Source
from underdraw.errors import InputError

__all__ = ["POSE", "beside", "in_row", "with_people"]

POSE = "pose"
"""The kind of map that body points are."""


def beside(picture: Path) -> dict[str, Piece]:
    """The body points of a picture: `NAME_keypoints.json`, or `NAME.json` that speaks of people."""
    named = picture.with_name(f"{picture.stem}_keypoints.json")
    if named.is_file():
        return {POSE: File(named)}
    plain = picture.with_suffix(".json")
    return {POSE: File(plain)} if plain.is_file() and b'"people"' in plain.read_bytes() else {}


def in_row(row: Mapping[str, Any]) -> dict[str, Piece]:
    """The body points of a picture of which a table tells (`keypoints`, as rooms have them); nothing without people."""
    people = [Person(tuple((x, y, float(seen > 0)) for x, y, seen in body)) for body in bodies(row).tolist()]
    return {POSE: _piece(Poses(tuple(people)))} if people else {}


def with_people(source: Source, path: Path) -> Source:
    """A source whose pictures have the body points that a file of COCO's keypoints gives them, by their file names.

    Raises InputError where it speaks of none of them.
    """
    known = read_coco(path)
    entries = [_with(entry, known.get(entry.name) or known.get(Path(entry.name).name)) for entry in source]
    missing = [entry.name for entry in entries if POSE not in entry.maps]
    if len(missing) == len(entries):
        raise InputError(f"{path} speaks of none of the pictures; their names differ from its file_name")
    problems = [Problem(name, f"not in {path.name}", loses=False) for name in missing]
    return replace(source, entries=entries, problems=(*source.problems, *problems))


def _with(entry: Entry, poses: Poses | None) -> Entry:
    if poses is None:
        return entry
    return replace(entry, maps=dict(entry.maps) | {POSE: _piece(poses)})


def _piece(poses: Poses) -> Bytes:
    return Bytes(json.dumps(to_openpose(poses)).encode(), "people.json")
