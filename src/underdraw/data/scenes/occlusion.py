"""Ambient occlusion at pixel centres: how near other things are in front of a surface, by signed distances."""

import torch
from torch import Tensor

from underdraw.data.scenes.parts import BLOCK, ROUND
from underdraw.data.scenes.shapes import distance
from underdraw.data.scenes.tiles import balls, into_parts, near_parts, sizes, tiled, untiled
from underdraw.data.scenes.world import World

TAPS = (0.05, 0.14, 0.36)
"""Heights above the surface, in metres, at which it is asked how far the next thing is."""
WEIGHTS = (0.26, 0.30, 0.34)
"""How much darkness a thing at each of the heights gives."""


def occlusion(world: World, point: Tensor, normal: Tensor) -> Tensor:
    """Openness in [0, 1] (1 = nothing near), B×H×W, for points and normals 3×B×H×W.

    The distance-field occlusion of Evans (2006): a tap at height h that finds the next surface at d < h is dark by
    1 - d/h.
    """
    height, width = point.shape[-2:]
    p, n = tiled(point), tiled(normal)
    taps = torch.tensor(TAPS, device=world.device)[:, None, None, None]
    ahead = p[:, None] + n[:, None] * taps
    low, high = (corner[:, None, :, None, None] for corner in world.room)
    nearest = torch.minimum(ahead - low, high - ahead).amin(0).contiguous()
    centre, radius = balls(p)
    for shape in range(BLOCK, ROUND + 1):
        _approach(world, shape, ahead, near_parts(world, shape, centre, radius + TAPS[-1] * 1.6), nearest)
    gone = ((taps - nearest) / taps).clamp(0, 1) * torch.tensor(WEIGHTS, device=world.device)[:, None, None, None]
    return untiled(1 - (gone[0] + gone[1] + gone[2]), height, width)


def _approach(world: World, shape: int, ahead: Tensor, pairs: tuple[Tensor, Tensor, Tensor], nearest: Tensor) -> None:
    """Lower the distances `nearest` (taps×B×T×16) at the points `ahead` (3×taps×B×T×16) by the parts of the pairs."""
    scene, tile, part = pairs
    offset = ahead[:, :, scene, tile] - world.centre[:, scene, part][:, None, :, None]
    found = distance(shape, into_parts(world, scene, part, offset), sizes(world, scene, part))
    cells = torch.arange(16, device=world.device) + 16 * (tile + nearest.shape[2] * scene)[:, None]
    stride = nearest[0].numel()
    for tap in range(len(TAPS)):
        nearest.view(-1).scatter_reduce_(0, (cells + tap * stride).flatten(), found[tap].flatten(), "amin")
