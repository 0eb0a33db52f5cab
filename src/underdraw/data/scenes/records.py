"""Scenes as records of a data set: picture, maps, captions and attributes; and which seeds belong to which split."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from underdraw.data.folder import Record
from underdraw.data.scenes.captions import describe, sights
from underdraw.data.scenes.layout import LAST_SEED, checked_seed, sample
from underdraw.data.scenes.parts import Scene
from underdraw.data.scenes.render import Views, render
from underdraw.data.scenes.truth import palette
from underdraw.data.scenes.words import PATTERNED, Sight
from underdraw.errors import ConfigError

SPLITS: dict[str, range] = {
    "report": range(10_000),
    "watch": range(10_000, 20_000),
    "train": range(20_000, LAST_SEED + 1),
}
"""Seeds of every split."""


def split_of(seed: int) -> str:
    """train, watch or report: by the seed alone. InputError for anything but a whole number from 0 upwards."""
    return next(name for name, seeds in SPLITS.items() if checked_seed(seed) in seeds)


def name_of(seed: int) -> str:
    """What the record of a seed's room is called."""
    return f"room-{seed:07d}"


def records(
    seeds: Iterable[int],
    size: tuple[int, int] = (64, 64),
    device: str | torch.device = "cpu",
    language: str = "en",
    batch: int = 8,
) -> Iterator[Record]:
    """Draw scenes and tell what they are. Maps: depth (near = white), normal, segmentation (palette colours), lines.

    language: en or zh chooses the text; both are among the attributes. batch: scenes drawn at once (memory, not
    result). ConfigError for a language, batch, size or device that cannot be, InputError for an impossible seed.
    """
    if language not in ("en", "zh"):
        raise ConfigError(f"language {language!r}: choose en or zh")
    if batch < 1:
        raise ConfigError(f"batch {batch}: draw at least 1 scene at once")
    waiting = iter(seeds)
    while chunk := list(islice(waiting, batch)):
        scenes = [sample(seed) for seed in chunk]
        views = render(scenes, size, device)
        for index, scene in enumerate(scenes):
            yield _record(scene, views, index, language)


def _red_left(normal: Tensor) -> Tensor:
    """Normals 3×H×W, encoded with x to the right, as ControlNet 1.1's are (NormalBae: red is left, green is up)."""
    return torch.cat([1 - normal[:1], normal[1:]])


def _record(scene: Scene, views: Views, index: int, language: str) -> Record:
    attributes = attributes_of(scene, views, index)
    maps = {
        "depth": views.condition[index],
        "normal": _red_left(views.normal[index]),
        "segmentation": palette(views.semantic[index]),
        "lines": views.lines[index],
    }
    text = attributes["text_zh"] if language == "zh" else attributes["text_en"]
    cpu = {name: value.cpu() for name, value in maps.items()}
    return Record(name_of(scene.seed), views.image[index].cpu(), text, cpu, attributes)


def attributes_of(scene: Scene, views: Views, index: int) -> dict[str, Any]:
    """What is known of a drawn scene as JSON values; things are listed only if they are seen, largest first."""
    points = views.keypoints[index].cpu()
    instance = views.instance[index]
    counts = torch.bincount(instance.flatten(), minlength=len(scene.things) + 1).tolist()
    shares = {i: counts[i + 1] / instance.numel() for i in range(len(scene.things))}
    seen = sights(scene, shares, points)
    english, chinese = describe(scene, seen)
    floor = scene.room.floor
    poses = [sight.figure.pose for sight in seen if sight.figure is not None]
    return {
        "text_en": english,
        "text_zh": chinese,
        "seed": scene.seed,
        "split": split_of(scene.seed),
        "theme": scene.theme,
        "time_of_day": scene.light.time_of_day,
        "wall_colour": scene.room.wall.colour,
        "floor": {"colour": floor.colour, "material": floor.substance, "pattern": floor.pattern},
        "objects": [_object(sight, instance) for sight in seen],
        "pose": poses[0] if poses else None,
        "keypoints": [[round(value, 2) for value in point] for body in points.tolist() for point in body],
    }


def _object(sight: Sight, instance: Tensor) -> dict[str, Any]:
    """kind, colour, material, pattern (or null), share of the picture, and the box x0, y0, x1, y1 in pixels."""
    rows, columns = (instance == sight.index + 1).nonzero(as_tuple=True)
    finish = sight.thing.finish
    pattern = PATTERNED.get(finish.pattern)
    return {
        "kind": sight.thing.name or sight.thing.kind,
        "colour": finish.colour,
        "material": finish.substance,
        "pattern": pattern[0] if pattern else None,
        "share": round(sight.share, 4),
        "box": [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1],
    }
