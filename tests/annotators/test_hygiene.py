"""Faults of maps that people bring: planted twenty times each, and looked for where there are none."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from underdraw import images
from underdraw.annotators import build
from underdraw.annotators.hygiene import examine, repair
from underdraw.annotators.keypoints import Person, Poses
from underdraw.annotators.skeleton import draw_poses
from underdraw.data.scenes import palette, render, sample
from underdraw.errors import ConfigError, InputError

SIDE = 128
CLEAN = range(50)
"""Seeds of rooms whose maps have no fault."""
PLANTED = range(100, 120)
"""Seeds of rooms whose maps each fault is planted in."""


@cache
def maps(seed: int) -> dict[str, Tensor]:
    """The true maps of a room, C×H×W in [0, 1], by kind."""
    views = render([sample(seed)], (SIDE, SIDE))
    normal = views.normal[0].clone()
    normal[0] = 1 - normal[0]  # rooms' red faces right; ControlNets' left
    found = {"depth": views.condition[0], "normal": normal, "labels": palette(views.semantic[0])}
    found["canny"] = build("canny")(views.image)[0]
    return found


@cache
def pose(seed: int) -> Tensor:
    """A drawn figure, 3×H×W."""
    draw = np.random.default_rng(seed)
    points = draw.uniform(0.15, 0.85, (18, 2)) * 256
    return torch.from_numpy(draw_poses(figure(points), (256, 256)).copy()).permute(2, 0, 1).float() / 255


def figure(points: np.ndarray) -> Poses:
    body = tuple((float(x), float(y), 1.0) for x, y in points)
    return Poses((Person(body=body),), (256, 256))


def blended(found: Tensor) -> Tensor:
    small = torch.nn.functional.interpolate(found[None], scale_factor=0.5, mode="bilinear", antialias=True)
    return torch.nn.functional.interpolate(small, scale_factor=2.0, mode="bilinear")[0]


def turned(channel: int) -> Callable[[Tensor], Tensor]:
    def turn(found: Tensor) -> Tensor:
        changed = found.clone()
        changed[channel] = 1 - changed[channel]
        return changed

    return turn


def recoloured(found: Tensor) -> Tensor:
    """As drawn by somebody who shows every limb in pastel."""
    return torch.where(found.amax(0) > 0, found * 0.3 + 0.55, 0.0)


FAULTS: list[tuple[str, str, Callable[[Tensor], Tensor]]] = [
    ("canny", "inverted", lambda found: 1 - found),
    ("canny", "soft", lambda found: torch.nn.functional.avg_pool2d(found[None], 3, 1, 1)[0]),
    ("depth", "inverted", lambda found: 1 - found),
    ("depth", "posterised", lambda found: (found * 9).round() / 9),
    ("normal", "bgr", lambda found: found.flip(0)),
    ("normal", "green flipped", turned(1)),
    ("normal", "red flipped", turned(0)),
    ("labels", "blended", blended),
    ("pose", "colours", recoloured),
]


def examined(found: Tensor, kind: str, folder: Path) -> set[str]:
    images.write(found, folder / "map.png")
    return {fault.name for fault in examine(folder / "map.png", kind)}


def clean(kind: str, seeds: range) -> Iterator[Tensor]:
    for seed in seeds:
        yield pose(seed) if kind == "pose" else maps(seed)[kind]


@pytest.mark.parametrize(("kind", "name", "plant"), FAULTS, ids=[f"{kind}-{name}" for kind, name, _ in FAULTS])
def test_planted_faults_are_named(kind: str, name: str, plant: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    named = [name in examined(plant(found), kind, tmp_path) for found in clean(kind, PLANTED)]
    assert sum(named) >= 19, f"{sum(named)} of {len(named)}"


@pytest.mark.parametrize("kind", ["canny", "depth", "normal", "labels", "pose"])
def test_clean_maps_pass(kind: str, tmp_path: Path) -> None:
    alarms = [examined(found, kind, tmp_path) for found in clean(kind, CLEAN)]
    assert sum(bool(found) for found in alarms) <= 1, [found for found in alarms if found]


def test_repairs_give_the_clean_map_back(tmp_path: Path) -> None:
    for kind, name, plant in FAULTS:
        if (kind, name) in {("depth", "posterised"), ("pose", "colours"), ("canny", "soft")}:
            continue
        close = []
        for found in clean(kind, PLANTED):
            images.write(plant(found), tmp_path / "map.png")
            mended, _, left = repair(tmp_path / "map.png", kind)
            wanted = found.expand(3, -1, -1)
            same = ((mended - wanted).abs() < 0.03).all(0).float().mean()
            close.append(bool(same > (0.92 if name == "blended" else 0.999)) and not left)
        assert sum(close) >= 18, (kind, name, sum(close))


def test_soft_lines_become_black_and_white(tmp_path: Path) -> None:
    lines = maps(100)["canny"]
    images.write(lines * 0.9 + 0.05, tmp_path / "map.png")
    mended, faults, left = repair(tmp_path / "map.png", "canny")
    assert [fault.name for fault in faults] in ([], ["soft"]) and left == []
    assert set(mended.unique().tolist()) <= {0.0, 1.0} or not faults


def test_storage_and_size(tmp_path: Path) -> None:
    depth = (maps(101)["depth"][0] * 255).byte().numpy()
    rgba = np.stack([depth, depth, depth, np.full_like(depth, 255)], -1)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(depth).convert("P").save(tmp_path / "indexed.png")
    Image.fromarray(depth).save(tmp_path / "grey.png")
    assert [fault.name for fault in examine(tmp_path / "rgba.png", "depth")] == ["transparent"]
    assert "palette" in {fault.name for fault in examine(tmp_path / "indexed.png", "depth")}
    assert examine(tmp_path / "grey.png", "depth", (SIDE, SIDE)) == []
    sized = examine(tmp_path / "grey.png", "depth", (2 * SIDE, 2 * SIDE))
    assert [fault.name for fault in sized] == ["size"] and sized[0].repaired is not None
    assert sized[0].repaired.shape == (3, 2 * SIDE, 2 * SIDE)
    other = examine(tmp_path / "grey.png", "depth", (2 * SIDE, SIDE))
    assert other[0].repaired is None and "another shape" in other[0].told
    Image.new("RGB", (40, 40)).save(tmp_path / "black.png")
    assert [fault.name for fault in examine(tmp_path / "black.png", "canny")] == ["empty"]


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no")
    with pytest.raises(InputError, match="is not a picture"):
        examine(tmp_path / "x.png", "canny")
    with pytest.raises(InputError, match="cannot read"):
        examine(tmp_path / "missing.png", "canny")
    with pytest.raises(ConfigError, match="did you mean 'canny'"):
        examine(tmp_path / "x.png", "cany")
