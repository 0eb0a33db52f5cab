"""Sampled scenes: the same for the same seed, varied, and physically possible."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from underdraw.data.scenes import KINDS, SPLITS, sample, split_of
from underdraw.data.scenes.parts import BLOCK, ELLIPSOID, ROUND, Part, Scene, Vector
from underdraw.data.scenes.shapes import distance
from underdraw.data.scenes.vocabulary import POSES, TIMES
from underdraw.data.scenes.world import SHELL, World, pack
from underdraw.errors import InputError

SCENES = [sample(seed) for seed in range(20_000, 20_300)]
HANGING = ("window", "curtain", "picture")
TOUCH = 0.01
"""Things may touch, and rugs and seats give way, by a centimetre."""


@dataclass(frozen=True)
class Solid:
    """A scene as parts without its shell: the thing of every part, and points inside the parts with their thing."""

    world: World
    thing: Tensor
    points: Tensor
    owner: Tensor

    @staticmethod
    def of(scene: Scene) -> "Solid":
        world = pack([scene], torch.device("cpu"))
        thing = world.instance[0, SHELL:] - 1
        local = (torch.rand(3, len(thing), 40, generator=torch.Generator().manual_seed(scene.seed)) * 2 - 1) * (
            world.extent[:, 0, SHELL:, None]
        )
        inside = _distances(world, local) < 0
        rotation, centre = world.rotation[:, 0, SHELL:, None].view(3, 3, -1, 1), world.centre[:, 0, SHELL:, None]
        points = (rotation * local).sum(1) + centre
        return Solid(world, thing, points[:, inside], thing[:, None].expand_as(inside)[inside])

    def depths(self, points: Tensor) -> Tensor:
        """How deep points 3×N lie in every part, P×N (negative outside)."""
        rotation = self.world.rotation[:, 0, SHELL:, None].view(3, 3, -1, 1)
        offset = points[:, None] - self.world.centre[:, 0, SHELL:, None]
        return -_distances(self.world, (rotation * offset[:, None]).sum(0))


def _distances(world: World, local: Tensor) -> Tensor:
    """Signed distances P×N of points 3×P×N in the parts' own frames."""
    out = torch.empty(local.shape[1:])
    for shape in range(BLOCK, ROUND + 1):
        some = world.shape[0, SHELL:] == shape
        a, b, c, d = world.size[:, 0, SHELL:][:, some, None]
        x, y, z = local[:, some]
        out[some] = distance(shape, (x, y, z), (a, b, c, d))
    return out


def test_things_do_not_intersect() -> None:
    """Only curtains may: they fall around the window's sill."""
    for scene in SCENES[:60]:
        solid = Solid.of(scene)
        deep = solid.depths(solid.points)
        kinds = [thing.kind for thing in scene.things]
        for part, point in ((deep > TOUCH) & (solid.thing[:, None] != solid.owner)).nonzero().tolist():
            pair = {kinds[solid.thing[part]], kinds[solid.owner[point]]}
            assert pair == {"window", "curtain"}, f"seed {scene.seed}: {pair} by {deep[part, point]:.3f} m"


def test_things_stay_in_the_room() -> None:
    for scene in SCENES[:60]:
        points = Solid.of(scene).points
        low, high = torch.tensor(scene.room.low)[:, None], torch.tensor(scene.room.high)[:, None]
        assert (points > low - TOUCH).all() and (points < high + TOUCH).all(), f"seed {scene.seed}"


def _lowest(part: Part) -> float:
    """Height of the lowest point of an upright block or frustum, a ball, or a limb."""
    up, (a, b, half, _) = part.rotation[1], part.size
    if part.shape == ELLIPSOID:
        return part.centre[1] - math.hypot(*(r * e for r, e in zip(up, part.extent, strict=True)))
    if part.shape == ROUND:
        return part.centre[1] + min(-up[1] * half - a, up[1] * half - b)
    return part.centre[1] - part.extent[1]


def test_things_stand_on_something() -> None:
    """On the floor, on a surface of what they are said to stand on, on a wall, or (pendants) at the ceiling."""
    for scene in SCENES:
        for thing in scene.things:
            if thing.kind in HANGING or thing.kind == "person":
                continue
            bottom = min(_lowest(part) for part in thing.parts)
            if thing.on is None:
                pendant = thing.kind == "lamp" and thing.position[1] == scene.room.high[1]
                assert pendant or abs(bottom) < 0.012, f"seed {scene.seed}: {thing.kind} at {bottom:.3f}"
            else:
                tops = [surface.centre[1] for surface in scene.things[thing.on].surfaces]
                assert min(abs(bottom - top) for top in tops) < 0.012, f"seed {scene.seed}: {thing.kind}"


def test_mannequins_stand_or_sit() -> None:
    for scene in SCENES:
        for figure in scene.figures:
            body = scene.things[figure.thing]
            lowest = min(_lowest(part) for part in body.parts)
            if figure.pose.startswith("sitting"):
                assert body.on is not None and scene.things[body.on].seats and lowest > -0.02
            else:
                assert body.on is None and abs(lowest) < 1e-6


def test_nothing_stands_before_the_lens() -> None:
    for scene in SCENES[:100]:
        assert all(a < e < b for a, e, b in zip(scene.room.low, scene.camera.position, scene.room.high, strict=True))
        eye = torch.tensor(scene.camera.position)[:, None]
        assert Solid.of(scene).depths(eye).max() < -0.12, f"seed {scene.seed}"


def _angle(a: Vector, b: Vector, c: Vector) -> float:
    """Degrees by which the limb a-b-c is bent at b."""
    first, second = [q - p for p, q in zip(a, b, strict=True)], [q - p for p, q in zip(b, c, strict=True)]
    cosine = sum(p * q for p, q in zip(first, second, strict=True)) / math.hypot(*first) / math.hypot(*second)
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def test_bodies_keep_their_proportions_and_joints() -> None:
    """Left and right bones are of one length, elbows and knees bend within their range."""
    bones: Sequence[tuple[int, int, int, int]] = ((2, 3, 5, 6), (3, 4, 6, 7), (8, 9, 11, 12), (9, 10, 12, 13))
    for scene in SCENES:
        for figure in scene.figures:
            p = figure.points
            for a, b, c, d in bones:
                assert math.isclose(math.dist(p[a], p[b]), math.dist(p[c], p[d]), rel_tol=1e-3)
            assert all(_angle(p[a], p[a + 1], p[a + 2]) <= 145.1 for a in (2, 5, 8, 11))
            assert p[0][1] > p[8][1]  # the head is above the hips


def test_the_same_seed_gives_the_same_scene() -> None:
    assert [sample(scene.seed) for scene in SCENES[:20]] == SCENES[:20]
    assert SCENES[0] != SCENES[1]


def test_the_world_is_varied() -> None:
    kinds = Counter(kind for scene in SCENES for kind in {thing.kind for thing in scene.things})
    assert set(kinds) == set(KINDS) - {"wall", "floor", "ceiling"}
    assert {scene.light.time_of_day for scene in SCENES} == set(TIMES)
    assert {figure.pose for scene in SCENES for figure in scene.figures} == set(POSES)
    assert 0.3 < sum(bool(scene.figures) for scene in SCENES) / len(SCENES) < 0.55
    assert len({scene.room.wall.colour for scene in SCENES}) >= 10
    assert all(sum(thing.kind not in HANGING for thing in scene.things) >= 2 for scene in SCENES)


def test_splits_are_disjoint_and_total() -> None:
    report, watch, train = SPLITS["report"], SPLITS["watch"], SPLITS["train"]
    assert (report.start, report.stop, watch.stop) == (0, watch.start, train.start)
    assert [split_of(seed) for seed in (0, 9_999, 10_000, 19_999, 20_000, 10**9)] == [
        "report", "report", "watch", "watch", "train", "train",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [-1, True, 1.5, "3", None])
def test_impossible_seeds_are_named(seed: Any) -> None:
    for call in (sample, split_of):
        with pytest.raises(InputError, match="whole number"):
            call(seed)
