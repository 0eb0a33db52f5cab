"""Body points beside pictures: OpenPose's JSON files, or one file of COCO's for all."""

import json
from dataclasses import replace
from pathlib import Path

from underdraw.annotators.keypoint_files import read_coco, to_openpose
from underdraw.annotators.keypoints import Poses
from underdraw.data.sources.entries import Bytes, Entry, File, Piece, Problem, Source
from underdraw.errors import InputError

__all__ = ["POSE", "beside", "with_people"]

POSE = "pose"
"""The kind of map that body points are."""


def beside(picture: Path) -> dict[str, Piece]:
    """The body points of a picture: `NAME_keypoints.json`, or `NAME.json` that speaks of people."""
    named = picture.with_name(f"{picture.stem}_keypoints.json")
    if named.is_file():
        return {POSE: File(named)}
    plain = picture.with_suffix(".json")
    return {POSE: File(plain)} if plain.is_file() and b'"people"' in plain.read_bytes() else {}


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
    data = json.dumps(to_openpose(poses)).encode()
    return replace(entry, maps=dict(entry.maps) | {POSE: Bytes(data, "people.json")})
