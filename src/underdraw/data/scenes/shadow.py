"""Soft shadows at pixel centres, by tiles of 4×4 pixels: a part is only asked where it can matter.

Each of the 16 pixels of a tile looks at other points of the light (interleaved sampling, Keller and Heidrich 2001); an
edge-keeping blur over as many pixels then gathers all of them.
"""

import torch
from torch import Tensor

from underdraw.data.scenes.parts import BLOCK, ROUND
from underdraw.data.scenes.shapes import Triple, first_hit
from underdraw.data.scenes.tiles import balls, into_parts, sizes, tiled, untiled
from underdraw.data.scenes.world import World

LIFT = 0.004
"""Shadow rays start this far off the surface, in metres."""
KEY_GRID = (2, 2)
"""Columns and rows of the key light that every pixel looks at once."""
SUN_SAMPLES = 2
SUN_BLUR = 0.035
"""Radius of the sun as seen from the room, in radians (larger than life, for soft edges)."""


def key_targets(world: World) -> Tensor:
    """Points on the key light for the 16 pixels of a tile: 3×B×16×K."""
    columns, rows = KEY_GRID
    order = _scramble(world.device)
    shares = []
    for k in range(columns * rows):
        a = (k % columns + (order % 4 + 0.5) / 4) / columns * 2 - 1
        b = (k // columns + (order // 4 + 0.5) / 4) / rows * 2 - 1
        shares.append(torch.stack([a, b]))
    share = torch.stack(shares, -1)
    key, across, along = (world.light[name][:, :, None, None] for name in ("key", "across", "along"))
    return key + across * share[0] + along * share[1]


def sun_targets(world: World, point: Tensor) -> Tensor:
    """Points far towards the sun, 3×B×T×16×K, for points 3×B×T×16."""
    sun = world.light["sun"]
    side = torch.stack([-sun[2], torch.zeros_like(sun[1]), sun[0]])
    side = side * torch.rsqrt(side[0] ** 2 + side[2] ** 2 + 1e-12)
    rise = torch.stack(
        [side[1] * sun[2] - side[2] * sun[1], side[2] * sun[0] - side[0] * sun[2], side[0] * sun[1] - side[1] * sun[0]]
    )
    order = _scramble(world.device)
    turn = (order[:, None] / 16 + torch.arange(SUN_SAMPLES, device=world.device)) * (2 * torch.pi / SUN_SAMPLES)
    reach = SUN_BLUR * ((order[:, None] * 7 % 16 + 0.5) / 16).sqrt()
    a, b = (turn.cos() * reach), (turn.sin() * reach)
    way = sun[:, :, None, None] + side[:, :, None, None] * a + rise[:, :, None, None] * b
    return point[..., None] + 12.0 * way[:, :, None]


def _scramble(device: torch.device) -> Tensor:
    """A fixed order of the 16 pixels of a tile in which neighbours differ much."""
    return torch.tensor([0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5], device=device)


def visible(world: World, point: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the key light and of the sun seen from points 3×B×H×W with their normals: two B×H×W in [0, 1]."""
    height, width = point.shape[-2:]
    p, n = tiled(point), tiled(normal)
    start = p + n * LIFT
    targets = key_targets(world)[:, :, None]
    key = _unblocked(world, start, targets, _faces(n, targets - start[..., None]))
    far = sun_targets(world, p)
    sun = _unblocked(world, start, far, _through_window(world, p, far) & _faces(n, far - p[..., None]))
    return untiled(key.float().mean(-1), height, width), untiled(sun.float().mean(-1), height, width)


def _faces(n: Tensor, way: Tensor) -> Tensor:
    return torch.gt((n[..., None] * way).sum(0), 0)


def _through_window(world: World, p: Tensor, target: Tensor) -> Tensor:
    """Whether the way to a target leaves the room through the window's opening."""
    wall, along, level, half_width, half_height = (value[:, None, None, None] for value in world.window)
    sideways = wall > 3.5
    low, high = (corner[:, :, None, None, None] for corner in world.room)
    limit = torch.where(wall < 2.5, low[2], torch.where(wall < 3.5, high[2], torch.where(wall < 4.5, low[0], high[0])))
    start, way = p[..., None], target - p[..., None]
    slope = torch.where(sideways, way[0], way[2])
    t = (limit - torch.where(sideways, start[0], start[2])) / torch.where(slope.abs() < 1e-6, 1e-6, slope)
    across = torch.where(sideways, start[2] + t * way[2], start[0] + t * way[0])
    up = start[1] + t * way[1]
    inside: Tensor = ((across - along).abs() < half_width) & ((up - level).abs() < half_height)
    return inside & (t > 0)


def _unblocked(world: World, start: Tensor, target: Tensor, lit: Tensor) -> Tensor:
    """Which rays from start 3×B×T×16 to target 3×B×(T or 1)×16×K meet no part; `lit` B×T×16×K: which rays matter."""
    open_ways = lit.clone()
    centre, radius = balls(start)
    aims = [balls(target[..., k]) for k in range(target.shape[-1])]
    wanted = lit.any(2)
    casts = world.finish[14] > 0.5
    for shape in range(BLOCK, ROUND + 1):
        scene, part = ((world.shape == shape) & casts).nonzero(as_tuple=True)
        if scene.numel() == 0:
            continue
        from_part = centre[:, scene] - world.centre[:, scene, part][..., None]
        origin = into_parts(world, scene, part, from_part)
        for k, (aim, spread) in enumerate(aims):
            way = into_parts(world, scene, part, aim[:, scene] - world.centre[:, scene, part][..., None])
            margin = torch.maximum(radius, spread)[scene]
            extent = world.extent[:, scene, part][..., None]
            which, tile = (_passes(origin, way, extent, margin) & wanted[scene, :, k]).nonzero(as_tuple=True)
            if which.numel() > 0:
                _block(world, shape, (scene[which], tile, part[which]), start, target, k, open_ways)
    return open_ways


def _passes(origin: Triple, aim: Triple, extent: Tensor, margin: Tensor) -> Tensor:
    """Whether the way from origin to aim passes a box of half sizes `extent` grown by the margin."""
    enter = torch.zeros_like(origin[0])
    leave = torch.ones_like(origin[0])
    for axis in range(3):
        way = aim[axis] - origin[axis]
        inverse = torch.where(way.abs() < 1e-9, 1e-9, way).reciprocal()
        middle, reach = origin[axis] * inverse, (extent[axis] + margin) * inverse.abs()
        enter = torch.maximum(enter, -middle - reach)
        leave = torch.minimum(leave, reach - middle)
    return enter <= leave


def _block(
    world: World,
    shape: int,
    pairs: tuple[Tensor, Tensor, Tensor],
    start: Tensor,
    target: Tensor,
    k: int,
    open_ways: Tensor,
) -> None:
    """Close the ways of light sample k that the parts of these (scene, tile, part) pairs stand in."""
    scene, tile, part = pairs
    middle = world.centre[:, scene, part][..., None]
    origin = start[:, scene, tile]
    aim = target[:, scene, tile if target.shape[2] > 1 else torch.zeros_like(tile), :, k]
    local, way = into_parts(world, scene, part, origin - middle), into_parts(world, scene, part, aim - origin)
    which, pixel = (first_hit(shape, local, way, sizes(world, scene, part)) < 1).nonzero(as_tuple=True)
    open_ways[scene[which], tile[which], pixel, k] = False
