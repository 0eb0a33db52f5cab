"""Rendered scenes: pictures are the same bytes for the same seed, and all truth maps agree with each other."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from underdraw.data.scenes import KINDS, LABELS, Views, condition_map, palette, render, sample
from underdraw.data.scenes.parts import BLOCK, ROUND, Scene
from underdraw.data.scenes.shadow import key_targets, visible
from underdraw.data.scenes.shapes import first_hit
from underdraw.data.scenes.surface import surfaces
from underdraw.data.scenes.tiles import tiled
from underdraw.data.scenes.trace import trace
from underdraw.data.scenes.world import World, pack
from underdraw.errors import ConfigError, InputError

SCENES = [sample(seed) for seed in range(20_000, 20_024)]
VIEWS = render(SCENES, (64, 64))
TO_VIEWER = torch.tensor([1.0, 1.0, -1.0])[:, None, None]
"""Forward is away from the viewer; normals count towards the viewer."""
MAPS = ("image", "depth", "condition", "normal", "semantic", "instance", "lines")


def _rays(scene: Scene, width: int, height: int) -> Tensor:
    """Camera rays right, up, forward = 1 at pixel centres, 3×H×W."""
    focal = min(width, height) / 2 / torch.tensor(scene.camera.angle / 2).deg2rad().tan()
    x = (torch.arange(width) + 0.5 - width / 2) / focal
    y = (height / 2 - torch.arange(height) - 0.5) / focal
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)])


def _decoded(views: Views) -> Tensor:
    return views.normal * 2 - 1


@pytest.mark.parametrize("size", [(64, 64), (96, 40), (33, 57)])
def test_shapes_types_and_ranges(size: tuple[int, int]) -> None:
    views = render(SCENES[:2], size)
    plane = (size[1], size[0])
    assert views.image.shape == views.normal.shape == (2, 3, *plane)
    assert views.depth.shape == views.condition.shape == views.lines.shape == (2, 1, *plane)
    assert views.semantic.shape == views.instance.shape == (2, *plane)
    assert views.semantic.dtype == views.instance.dtype == torch.int64
    for name in ("image", "condition", "normal", "lines"):
        value = getattr(views, name)
        assert value.dtype == torch.float32 and value.min() >= 0 and value.max() <= 1
    assert views.depth.min() > 0 and views.depth.max() < 12


def test_the_same_bytes_again() -> None:
    again = render(SCENES[:4])
    for name in MAPS:
        assert torch.equal(getattr(again, name), getattr(VIEWS, name)[:4]), name


def test_one_is_many() -> None:
    """A scene's maps do not depend on what else is drawn with it."""
    for index in (3, 7):
        alone = render([SCENES[index]])
        for name in MAPS:
            assert torch.equal(getattr(alone, name)[0], getattr(VIEWS, name)[index]), name
        assert torch.equal(alone.keypoints[0], VIEWS.keypoints[index])


def test_wide_pictures_only_see_more() -> None:
    """The angle of view spans the shorter side: the middle of a wide picture is the square one."""
    wide = render(SCENES[:3], (96, 64))
    assert torch.allclose(wide.depth[..., 16:80], VIEWS.depth[:3], atol=1e-4)
    assert torch.equal(wide.semantic[..., 16:80], VIEWS.semantic[:3])


def test_pictures_are_neither_dark_nor_pale_nor_alike() -> None:
    mean = VIEWS.image.mean((1, 2, 3))
    assert mean.min() > 0.15 and mean.max() < 0.85
    assert VIEWS.image.std((1, 2, 3)).min() > 0.08
    apart = torch.cdist(VIEWS.image.flatten(1), VIEWS.image.flatten(1)) + 1e9 * torch.eye(len(SCENES))
    assert apart.min() > 10


def _brute_depth(world: World, scene: Scene, size: int) -> Tensor:
    """Depth of the nearest part at every pixel centre, asking every part (infinity where there is none)."""
    ray = _rays(scene, size, size).flatten(1)
    frame = torch.tensor(scene.camera.rotation)
    way = frame[:, :1] * ray[0] + frame[:, 1:2] * ray[1] - frame[:, 2:] * ray[2]
    return _nearest(world, 0, torch.tensor(scene.camera.position)[:, None], way).view(size, size)


def _nearest(world: World, index: int, origin: Tensor, way: Tensor, casting: bool = False) -> Tensor:
    nearest = torch.full(way.shape[1:], torch.inf)
    for part in range(world.shape.shape[1]):
        shape = int(world.shape[index, part])
        if not BLOCK <= shape <= ROUND or (casting and world.finish[14, index, part] < 0.5):
            continue
        rotation = world.rotation[:, index, part].view(3, 3).t()
        o, d = rotation @ (origin - world.centre[:, index, part][:, None]), rotation @ way
        a, b, c, e = world.size[:, index, part]
        nearest = torch.minimum(nearest, first_hit(shape, (o[0], o[1], o[2]), (d[0], d[1], d[2]), (a, b, c, e)))
    return nearest


def test_culling_loses_no_part() -> None:
    """The depth map equals the one by asking every part at every pixel."""
    for index in range(6):
        world = pack([SCENES[index]], torch.device("cpu"))
        brute, drawn = _brute_depth(world, SCENES[index], 64), VIEWS.depth[index, 0]
        shell = VIEWS.instance[index] == 0
        glass = VIEWS.semantic[index] == LABELS["window"]
        differs = (brute - drawn).abs() > 1e-3
        assert (differs & ~shell & ~glass).sum() <= 2  # single pixels at silhouettes, by rounding
        assert ((brute < drawn - 1e-3) & (shell | glass)).sum() <= 2


def test_shadows_lose_no_part() -> None:
    """The share of the key light seen equals the one by asking every part on every way."""
    scene = next(scene for scene in SCENES if scene.light.time_of_day == "noon")
    world = pack([scene], torch.device("cpu"))
    hits = trace(world, 32, 32)
    found = surfaces(world, hits)
    grid = (3, *hits.depth.shape)
    point, normal = found.point.view(grid)[:, :, 0], found.normal.view(grid)[:, :, 0]
    share, _ = visible(world, point, normal)
    start = tiled(point + normal * 0.004)[:, 0]
    seen = torch.zeros(start.shape[1:])
    targets = key_targets(world)[:, 0]
    for k in range(targets.shape[-1]):
        way = targets[:, None, :, k] - start
        lit = (tiled(normal)[:, 0] * way).sum(0) > 0
        clear = _nearest(world, 0, start.flatten(1), way.flatten(1), casting=True).view(seen.shape) >= 1
        seen += (lit & clear) / targets.shape[-1]
    assert ((tiled(share)[0] - seen).abs() > 0.01).float().mean() < 0.002
    assert 0.1 < share.mean() < 0.95


def test_normals_are_the_slope_of_the_depth() -> None:
    """Finite differences of unprojected depth give the normals wherever a plane is three pixels wide."""
    checked = 0
    for index, scene in enumerate(SCENES[:8]):
        points = _rays(scene, 64, 64) * VIEWS.depth[index] * TO_VIEWER
        across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
        rise = points[:, :-2, 1:-1] - points[:, 2:, 1:-1]
        slope = F.normalize(torch.cross(across, rise, dim=0), dim=0)
        normal = _decoded(VIEWS)[index]
        agreement = (slope * normal[:, 1:-1, 1:-1]).sum(0)[_flat(normal, VIEWS.depth[index, 0])]
        checked += agreement.numel()
        assert (agreement > 0.999).float().mean() > 0.995
    assert checked > 12_000


def _flat(normal: Tensor, depth: Tensor) -> Tensor:
    """Inner pixels on one plane with their four neighbours: inverse depth is linear there, and the normal the same."""
    near, middle = depth.reciprocal(), normal[:, 1:-1, 1:-1]
    bend = torch.maximum(
        (near[1:-1, 2:] + near[1:-1, :-2] - 2 * near[1:-1, 1:-1]).abs(),
        (near[2:, 1:-1] + near[:-2, 1:-1] - 2 * near[1:-1, 1:-1]).abs(),
    )
    flat = bend < 1e-5
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        flat &= (normal[:, rows : rows + 62, columns : columns + 62] * middle).sum(0) > 0.9999
    return flat


def test_normals_are_unit_and_face_the_camera() -> None:
    normal = _decoded(VIEWS)
    assert (normal.norm(dim=1) - 1).abs().max() < 1e-4
    for index, scene in enumerate(SCENES):
        ray = _rays(scene, 64, 64) * TO_VIEWER
        assert ((normal[index] * ray).sum(0) < 1e-3).float().mean() > 0.999


def test_instances_and_semantics_agree() -> None:
    names = list(KINDS)
    for index, scene in enumerate(SCENES):
        for number in VIEWS.instance[index].unique().tolist():
            kinds = {names[label] for label in VIEWS.semantic[index][VIEWS.instance[index] == number].unique().tolist()}
            expected = {"wall", "floor", "ceiling"} if number == 0 else {scene.things[number - 1].kind}
            assert kinds <= expected


def test_near_is_white() -> None:
    for depth, condition in zip(VIEWS.depth, VIEWS.condition, strict=True):
        assert condition.flatten()[depth.argmin()] == 1 and condition.flatten()[depth.argmax()] == 0
        order = depth.flatten().argsort()
        assert (condition.flatten()[order].diff() <= 1e-6).all()
    assert torch.equal(condition_map(VIEWS.depth), VIEWS.condition)


def _near_change(changes: Tensor) -> Tensor:
    """Spread marks B×H×W to the pixels around."""
    return F.max_pool2d(changes.float()[:, None], 3, 1, 1)[:, 0] > 0


def _seams(scenes: Sequence[Scene], normal: Tensor) -> Tensor:
    """Pixels B×H×W where a neighbour belongs to another part, or has another normal."""
    size = normal.shape[-1]
    part = trace(pack(scenes, torch.device("cpu")), size, size).part[:, 0]
    across = (part.diff() != 0) | ((normal[..., 1:] * normal[..., :-1]).sum(1) < 0.99)
    down = (part.diff(dim=1) != 0) | ((normal[:, :, 1:] * normal[:, :, :-1]).sum(1) < 0.99)
    return F.pad(across, (0, 1)) | F.pad(down, (0, 0, 0, 1))


def test_lines_lie_on_seams() -> None:
    """Drawn lines run where one part or face ends."""
    views = render(SCENES[:8], (128, 128))
    drawn = views.lines[:, 0] > 0.6
    assert drawn.flatten(1).sum(1).min() > 30
    assert _near_change(_seams(SCENES[:8], _decoded(views)))[drawn].float().mean() > 0.97


def test_corners_of_the_room_are_lines() -> None:
    views = render(SCENES[:8], (128, 128))
    wall, floor = views.semantic == LABELS["wall"], views.semantic == LABELS["floor"]
    corner = wall[:, :-1] & floor[:, 1:]
    inked = _near_change(views.lines[:, 0] > 0.25)[:, :-1]
    assert corner.sum() > 200
    assert inked[corner].float().mean() > 0.97


def test_body_points_lie_on_their_body() -> None:
    people = [sample(seed) for seed in range(21_000, 21_050)]
    people = [scene for scene in people if scene.figures]
    views = render(people)
    counts = [0, 0, 0]
    for index, scene in enumerate(people):
        assert views.keypoints[index].shape == (len(scene.figures), 18, 3)
        own = _near_change(views.instance[index : index + 1] == scene.figures[0].thing + 1)[0]
        for x, y, visibility in views.keypoints[index][0].tolist():
            counts[int(visibility)] += 1
            assert visibility == 0 or (0 <= x < 64 and 0 <= y < 64)
            assert visibility != 0 or (x == 0 and y == 0)
            assert visibility != 2 or own[int(y), int(x)], f"seed {scene.seed}: ({x:.1f}, {y:.1f})"
    assert min(counts) > 20


def test_a_hidden_mannequin_has_no_visible_points() -> None:
    scenes = [sample(seed) for seed in range(20_000, 20_060)]
    scenes = [scene for scene in scenes if scene.figures]
    views = render(scenes)
    gone = [i for i, s in enumerate(scenes) if not (views.instance[i] == s.figures[0].thing + 1).any()]
    assert gone
    assert all((views.keypoints[i][..., 2] < 2).all() for i in gone)


def test_the_palette_tells_all_kinds_apart() -> None:
    colours = palette(torch.arange(len(KINDS))[:, None, None])
    assert colours.shape == (len(KINDS), 3, 1, 1)
    apart = torch.cdist(colours.flatten(1), colours.flatten(1)) + torch.eye(len(KINDS)) * 9
    assert apart.min() > 0.1


@pytest.mark.parametrize("size", [(0, 64), (64, 5000), (64.0, 64), (64,), 64, "64x64"])
def test_impossible_sizes_are_named(size: Any) -> None:
    with pytest.raises(ConfigError, match="width and height"):
        render(SCENES[:1], size)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="no scenes"):
        render([])
    with pytest.raises(ConfigError, match="abacus"):
        render(SCENES[:1], device="abacus")
