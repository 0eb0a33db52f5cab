"""Keypoints in files: OpenPose's JSON in the forms that are exchanged, and COCO's person keypoints."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from underdraw.annotators.keypoints import ABSENT, BODY, FACE, HAND, Person, Point, Points, Poses
from underdraw.errors import InputError
from underdraw.files import atomic

__all__ = [
    "from_coco",
    "from_openpose",
    "read_coco",
    "read_openpose",
    "read_poses",
    "to_coco",
    "to_openpose",
    "write_coco",
    "write_openpose",
]

COCO = (
    "nose",
    "left eye",
    "right eye",
    "left ear",
    "right ear",
    "left shoulder",
    "right shoulder",
    "left elbow",
    "right elbow",
    "left wrist",
    "right wrist",
    "left hip",
    "right hip",
    "left knee",
    "right knee",
    "left ankle",
    "right ankle",
)
"""COCO's 17 points: OpenPose's without the neck, in another order."""
BODY_25 = (*range(8), *range(9, 19))
"""Where OpenPose's later body of 25 has the points of the one of 18; the others are the middle of the hips and feet."""
PARTS = {"pose": "body", "hand_left": "left_hand", "hand_right": "right_hand", "face": "face"}
"""OpenPose's names for the parts of a person, and ours."""
NORMALISED = 2.0
"""Coordinates of which none is larger are shares of the canvas: no person is two pixels large."""
FARTHEST = 1e6
"""Largest coordinate that is believed."""
OCCLUDED, SEEN = 0.5, 1.0
"""The confidence of a point that COCO calls hidden (visibility 1) and of one that it calls seen (2)."""


def read_poses(path: str | Path) -> Poses:
    """The people of one picture from OpenPose's or COCO's JSON.

    Raises InputError for a file that is neither, or that holds several pictures.
    """
    found = _load(path)
    if isinstance(found, dict) and "annotations" in found:
        several = list(from_coco(found, str(path)).values())
        remedy = "take one of them with read_coco"
    else:
        several, remedy = list(from_openpose(found, str(path))), "take one of them with read_openpose"
    if len(several) != 1:
        raise InputError(f"{path} holds {len(several)} pictures; {remedy}")
    return several[0]


def read_openpose(path: str | Path) -> tuple[Poses, ...]:
    """The people of each picture in a file of OpenPose's JSON: see `from_openpose`. Raises InputError."""
    return from_openpose(_load(path), str(path))


def write_openpose(poses: Poses | Sequence[Poses], path: str | Path) -> None:
    """Write one picture's people as OpenPose does, or several as the list that pose editors exchange."""
    found = to_openpose(poses) if isinstance(poses, Poses) else [to_openpose(each) for each in poses]
    _save(found, path)


def from_openpose(found: Any, name: str) -> tuple[Poses, ...]:
    """The people in what OpenPose's JSON holds: {"people": […]}, or a list of such, a picture each.

    Coordinates are pixels, or shares where none exceeds 2. Points of a canvas (canvas_width, canvas_height) come in its
    pixels. A body has 18 points or 25. Raises InputError that names `name`.
    """
    try:
        return tuple(_picture(each) for each in (found if isinstance(found, list) else [found]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name} is not OpenPose's JSON: {_reason(error, 'people')}") from error


def to_openpose(poses: Poses) -> dict[str, Any]:
    """What OpenPose's JSON holds of one picture, with the canvas where it is known. Nothing is rounded."""
    canvas = {} if poses.canvas is None or poses.relative else _sides(poses.extent)
    return {"version": 1.3, "people": [_written(person) for person in poses.people]} | canvas


def read_coco(path: str | Path) -> dict[str, Poses]:
    """The people of each picture in a file of COCO's person keypoints, by file name. Raises InputError."""
    return from_coco(_load(path), str(path))


def write_coco(pictures: Mapping[str, Poses], path: str | Path) -> None:
    """Write the people of pictures (by file name) as COCO's person keypoints; necks, hands and faces have no place."""
    _save(to_coco(pictures), path)


def from_coco(found: Any, name: str) -> dict[str, Poses]:
    """The people in what COCO's JSON holds (images, annotations), by file name; the neck is between the shoulders.

    People without a point, and crowds, are left out. Raises InputError that names `name`.
    """
    try:
        people: dict[Any, list[Person]] = {picture["id"]: [] for picture in found["images"]}
        for each in found["annotations"]:
            body = _from_17(each.get("keypoints") or [])
            if body and not each.get("iscrowd") and each["image_id"] in people:
                people[each["image_id"]].append(Person(body))
        return {
            str(picture["file_name"]): Poses(
                tuple(people[picture["id"]]), (int(picture["width"]), int(picture["height"]))
            )
            for picture in found["images"]
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name} is not COCO's JSON: {_reason(error, 'images and annotations')}") from error


def to_coco(pictures: Mapping[str, Poses]) -> dict[str, Any]:
    """What COCO's JSON holds of pictures by file name."""
    category = {"id": 1, "name": "person", "keypoints": [point.replace(" ", "_") for point in COCO]}
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, poses) in enumerate(pictures.items(), 1):
        width, height = poses.extent
        listed.append({"id": number, "file_name": name, "width": width, "height": height})
        for person in poses.on((width, height)).people:
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append(entry | _to_17(person.body))
    return {"images": listed, "annotations": annotations, "categories": [category]}


def _picture(found: Any) -> Poses:
    people = tuple(_person(person) for person in found["people"])
    canvas = None
    if found.get("canvas_width") and found.get("canvas_height"):
        canvas = (int(found["canvas_width"]), int(found["canvas_height"]))
    spots = [value for person in people for point in person.points for value in point[:2]]
    if not spots or max(spots) > NORMALISED:
        return Poses(people, canvas)
    shares = Poses(people, (1, 1))
    return shares.on(canvas) if canvas else shares


def _person(found: Mapping[str, Any]) -> Person:
    parts = {ours: _points(found.get(f"{theirs}_keypoints_2d") or []) for theirs, ours in PARTS.items()}
    if len(parts["body"]) == 25:
        parts["body"] = tuple(parts["body"][place] for place in BODY_25)
    counts = {"body": len(BODY), "left_hand": HAND, "right_hand": HAND, "face": FACE}
    for part, points in parts.items():
        if len(points) not in (0, counts[part]):
            raise ValueError(f"a {part.replace('_', ' ')} of {len(points)} points; there must be {counts[part]}")
    return Person(**parts)


def _points(values: Sequence[Any]) -> Points:
    """x, y, confidence, x, y, confidence … → points."""
    if len(values) % 3:
        raise ValueError(f"{len(values)} numbers are no points of x, y and confidence")
    numbers = [float(value or 0) for value in values]
    if not all(isfinite(number) and abs(number) <= FARTHEST for number in numbers):
        raise ValueError("a coordinate is not finite, or far outside any picture")
    return tuple(
        (x, y, seen) if seen > 0 else ABSENT
        for x, y, seen in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    )


def _written(person: Person) -> dict[str, Any]:
    return {
        f"{theirs}_keypoints_2d": list(chain.from_iterable(getattr(person, ours))) for theirs, ours in PARTS.items()
    }


def _sides(extent: tuple[int, int]) -> dict[str, int]:
    return {"canvas_width": extent[0], "canvas_height": extent[1]}


def _from_17(values: Sequence[Any]) -> Points:
    points = _points(values)
    if not any(seen for *_, seen in points):
        return ()
    if len(points) != len(COCO):
        raise ValueError(f"a body of {len(points)} points; there must be {len(COCO)}")
    certain = {name: (x, y, SEEN if seen >= 2 else OCCLUDED if seen else 0.0) for name, (x, y, seen) in _named(points)}
    certain["neck"] = _between(certain["right shoulder"], certain["left shoulder"])
    return tuple(certain[name] for name in BODY)


def _named(points: Points) -> Iterator[tuple[str, Point]]:
    return zip(COCO, points, strict=True)


def _between(first: Point, second: Point) -> Point:
    """The point half-way, as certain as the less certain of both."""
    certain = min(first[2], second[2])
    return ((first[0] + second[0]) / 2, (first[1] + second[1]) / 2, certain) if certain else ABSENT


def _to_17(body: Points) -> dict[str, Any]:
    by_name = dict(zip(BODY, body or [ABSENT] * len(BODY), strict=True))
    points = [by_name[name] for name in COCO]
    there = [(x, y) for x, y, seen in points if seen > 0]
    left, top = (min(values) for values in zip(*there, strict=True)) if there else (0.0, 0.0)
    right, bottom = (max(values) for values in zip(*there, strict=True)) if there else (0.0, 0.0)
    return {
        "keypoints": [value for x, y, seen in points for value in (x, y, _visibility(seen))],
        "num_keypoints": len(there),
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
    }


def _visibility(confidence: float) -> int:
    return 0 if confidence <= 0 else 1 if confidence <= OCCLUDED else 2


def _load(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def _save(found: Any, path: str | Path) -> None:
    with atomic(path) as draft:
        draft.write_text(json.dumps(found), encoding="utf-8")


def _reason(error: Exception, needed: str) -> str:
    return f"it needs {needed}" if isinstance(error, KeyError | TypeError | AttributeError) else str(error)
