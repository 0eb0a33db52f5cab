"""Pixel centres in tiles of 4×4, which parts a tile has to do with, and averages that stay on one surface.

Legend: B scenes, T tiles of 16 pixels each, N pairs of a tile and a part.
"""

import torch
from torch import Tensor

from underdraw.data.scenes.shapes import Size, Triple
from underdraw.data.scenes.world import World

TILE = 4


def tiled(grid: Tensor) -> Tensor:
    """…×H×W to …×T×16 (edge pixels repeated where the size is not a multiple of 4)."""
    height, width = grid.shape[-2:]
    rows, columns = -(-height // TILE), -(-width // TILE)
    y = torch.arange(rows * TILE, device=grid.device).clamp_max(height - 1)
    x = torch.arange(columns * TILE, device=grid.device).clamp_max(width - 1)
    blocks = grid[..., y[:, None], x].reshape(*grid.shape[:-2], rows, TILE, columns, TILE)
    return blocks.transpose(-3, -2).flatten(-4, -3).flatten(-2)


def untiled(tiles: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `tiled`: …×T×16 to …×H×W."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    blocks = tiles.reshape(*tiles.shape[:-2], rows, columns, TILE, TILE).transpose(-3, -2)
    return blocks.reshape(*tiles.shape[:-2], rows * TILE, columns * TILE)[..., :height, :width]


def balls(p: Tensor) -> tuple[Tensor, Tensor]:
    """Centre 3×B×T and radius B×T of the points of every tile."""
    low, high = p.amin(-1), p.amax(-1)
    span = (high - low) / 2
    return (low + high) / 2, (span[0] ** 2 + span[1] ** 2 + span[2] ** 2).sqrt()


def into_parts(world: World, scene: Tensor, part: Tensor, rel: Tensor) -> Triple:
    """Rotate vectors 3×…×N×(16 or T) into the frames of N parts."""
    r = world.rotation[:, scene, part][..., None]
    return (
        r[0] * rel[0] + r[3] * rel[1] + r[6] * rel[2],
        r[1] * rel[0] + r[4] * rel[1] + r[7] * rel[2],
        r[2] * rel[0] + r[5] * rel[1] + r[8] * rel[2],
    )


def sizes(world: World, scene: Tensor, part: Tensor) -> Size:
    """The four sizes of N parts, N×1 each."""
    a, b, c, d = world.size[:, scene, part][..., None]
    return a, b, c, d


def near_parts(world: World, shape: int, centre: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices (scene, tile, part), N each, where balls 3×B×T of radii B×T come near the bounding boxes of one shape."""
    scene, part = (world.shape == shape).nonzero(as_tuple=True)
    rel = centre[:, scene] - world.centre[:, scene, part][..., None]
    local = into_parts(world, scene, part, rel)
    extent = world.extent[:, scene, part][..., None]
    out = [(local[i].abs() - extent[i]).clamp_min(0) for i in range(3)]
    close = out[0] ** 2 + out[1] ** 2 + out[2] ** 2 < radius[scene] ** 2
    which, tile = close.nonzero(as_tuple=True)
    return scene[which], tile, part[which]


def smoothed(values: Tensor, depth: Tensor, normal: Tensor) -> Tensor:
    """Average C×B×H×W over 4×4 neighbours (all interleaved samples) that lie on the same surface."""
    total = torch.zeros_like(values)
    weight = torch.zeros_like(depth)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            share = (0.5 if abs(dy) == 2 else 1.0) * (0.5 if abs(dx) == 2 else 1.0)
            near = same_surface(depth, normal, dy, dx) * share
            total = total + shifted(values, dy, dx) * near
            weight = weight + near
    return total / weight


def shifted(grid: Tensor, dy: int, dx: int) -> Tensor:
    """The grid's neighbour at (dy, dx), edges repeated."""
    height, width = grid.shape[-2:]
    y = (torch.arange(height, device=grid.device) + dy).clamp(0, height - 1)
    x = (torch.arange(width, device=grid.device) + dx).clamp(0, width - 1)
    return grid.index_select(-2, y).index_select(-1, x)


def same_surface(depth: Tensor, normal: Tensor, dy: int, dx: int) -> Tensor:
    """1 where the neighbour at (dy, dx) has a like normal and depth, else 0."""
    turn = (normal * shifted(normal, dy, dx)).sum(0)
    return ((turn > 0.7) & ((depth - shifted(depth, dy, dx)).abs() < 0.06 * depth)).float()
