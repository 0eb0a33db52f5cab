"""What lies at the hits: local coordinates, normals, labels. Samples are flat lists: each shape only where it is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.data.scenes.parts import BLOCK, ROUND
from underdraw.data.scenes.shapes import normal
from underdraw.data.scenes.trace import Hits, places
from underdraw.data.scenes.vocabulary import LABELS
from underdraw.data.scenes.world import SHELL, World

INWARD = ((0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0))
"""Normals of the shell rows."""


@dataclass(frozen=True)
class Surfaces:
    """Per sample, flattened to N = B·S·H·W in that order.

    row: index of the part in the flattened B·P tables; point, normal 3×N in the room; local, local_normal 3×N in the
    part's frame; pane N: whether the sample lies on window glass.
    """

    row: Tensor
    point: Tensor
    normal: Tensor
    local: Tensor
    local_normal: Tensor
    pane: Tensor


def surfaces(world: World, hits: Hits) -> Surfaces:
    """Look at every hit."""
    parts = world.shape.shape[1]
    base = torch.arange(world.count, device=world.device)[:, None, None, None] * parts
    row = (hits.part + base).flatten()
    point = places(world, hits).flatten(1)
    rotation = world.rotation.flatten(1)[:, row]
    rel = point - world.centre.flatten(1)[:, row]
    local = torch.stack([rotation[i] * rel[0] + rotation[i + 3] * rel[1] + rotation[i + 6] * rel[2] for i in range(3)])
    local_normal = _local_normals(world, row, hits.part.flatten(), local)
    n = local_normal
    outward = torch.stack(
        [rotation[3 * i] * n[0] + rotation[3 * i + 1] * n[1] + rotation[3 * i + 2] * n[2] for i in range(3)]
    )
    return Surfaces(row, point, outward, local, local_normal, _panes(world, hits, point))


def _local_normals(world: World, row: Tensor, part: Tensor, local: Tensor) -> Tensor:
    inward = torch.tensor(INWARD, device=world.device).t().contiguous()
    out = inward[:, part.clamp_max(SHELL - 1)]
    shape, size = world.shape.flatten()[row], world.size.flatten(1)
    for kind in range(BLOCK, ROUND + 1):
        where = (shape == kind).nonzero(as_tuple=True)[0]
        if where.numel() == 0:
            continue
        s = size[:, row[where]]
        p = local[:, where]
        out[:, where] = torch.stack(normal(kind, (p[0], p[1], p[2]), (s[0], s[1], s[2], s[3])))
    return out


def _panes(world: World, hits: Hits, point: Tensor) -> Tensor:
    """Whether a sample on the shell lies in the window's opening."""
    shape = (3, *hits.part.shape)
    p = point.view(shape)
    wall, along, level, half_width, half_height = (value[:, None, None, None] for value in world.window)
    coordinate = torch.where(wall < 3.5, p[0], p[2])
    inside = ((coordinate - along).abs() < half_width) & ((p[1] - level).abs() < half_height)
    return torch.logical_and(inside, hits.part == wall.long()).flatten()


def labels(world: World, found: Surfaces) -> tuple[Tensor, Tensor]:
    """Semantic and instance labels of every sample (N, long); glass belongs to its window."""
    semantic = torch.where(found.pane, LABELS["window"], world.kind.flatten()[found.row])
    owner = world.window_instance[found.row // world.shape.shape[1]]
    return semantic, torch.where(found.pane, owner, world.instance.flatten()[found.row])
