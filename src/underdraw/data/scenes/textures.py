"""Procedural patterns: how much of the second colour, and how light, at every sample; all in a part's own frame."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.data.scenes.vocabulary import PATTERNS


@dataclass(frozen=True)
class Spot:
    """Samples of one pattern, flat tensors of one length N.

    u, v: metres across the surface. local 3×N: metres in the part's frame. unit_u, unit_v: -1 to 1 over the part.
    period: of the pattern, metres. axis: the part's longest side, for grain. phase in [0, 1) tells parts apart. fine in
    [0, 1] fades what is smaller than a pixel.
    """

    u: Tensor
    v: Tensor
    local: Tensor
    unit_u: Tensor
    unit_v: Tensor
    period: Tensor
    axis: Tensor
    phase: Tensor
    fine: Tensor


Mix = tuple[Tensor, Tensor]
"""Share of the second colour in [0, 1], and a brightness factor."""


def noise(x: Tensor, y: Tensor, z: Tensor | float = 0.0) -> Tensor:
    """Smooth waves in about [-1, 1] that hardly repeat."""
    a = torch.sin(x * 1.7 + 1.3 * torch.sin(y * 1.1 + 2.0) + z)
    b = torch.sin(y * 2.3 - 1.1 * torch.sin(x * 1.9 + 0.5) + z * 1.3)
    return 0.5 * (a + b)


def chance(x: Tensor, y: Tensor | float = 0.0) -> Tensor:
    """A random-looking number in [0, 1) for every cell (whole x, y)."""
    value = torch.sin(x * 12.9898 + y * 78.233) * 437.5453
    return value - value.floor()


def edge(distance: Tensor, width: Tensor | float) -> Tensor:
    """1 within `width` of zero, softly falling to 0 at twice that."""
    return (2 - distance.abs() / width).clamp(0, 1)


def _one(s: Spot) -> Tensor:
    return torch.ones_like(s.u)


def _none(s: Spot) -> Tensor:
    return torch.zeros_like(s.u)


def _plain(s: Spot) -> Mix:
    return _none(s), _one(s)


def _wood(s: Spot) -> Mix:
    along = s.local.gather(0, s.axis[None])[0]
    one = s.local.gather(0, ((s.axis + 1) % 3)[None])[0]
    two = s.local.gather(0, ((s.axis + 2) % 3)[None])[0]
    phase = s.phase * 20
    rings = (one + 0.6 * two) / s.period + 0.5 * noise(one * 9 + phase, along * 2.2, phase)
    lines = (0.5 + 0.5 * torch.sin(rings * 6.2832)) ** 2
    return 0.62 * lines * s.fine, 1 + 0.07 * noise(along * 3 + phase, one * 14, phase)


def _planks(s: Spot) -> Mix:
    rows = s.u / s.period
    row = rows.floor()
    across = (rows - row - 0.5).abs()
    boards = s.v / (s.period * 8) + chance(row, s.phase) * 3
    board = boards.floor()
    end = (boards - board - 0.5).abs()
    gap = torch.maximum((across - 0.46) / 0.04, (end - 0.4955) / 0.0045).clamp(0, 1)
    grain = 0.5 + 0.5 * noise(s.u * 70 + chance(row) * 9, s.v * 5 + board * 3)
    tone = 0.80 + 0.36 * chance(row + 0.37, board)
    return (0.75 * gap + 0.3 * grain * (1 - gap)) * (0.4 + 0.6 * s.fine), tone


def _parquet(s: Spot) -> Mix:
    cell_u, cell_v = (s.u / s.period).floor(), (s.v / s.period).floor()
    odd = (cell_u + cell_v) % 2 > 0.5
    across = torch.where(odd, s.u, s.v) / s.period * 4
    strip = across.floor()
    gap = edge((across - strip - 0.5).abs() - 0.5, 0.05)
    tone = torch.where(odd, 0.9, 1.06) + 0.16 * (chance(cell_u * 7 + strip, cell_v) - 0.5)
    return 0.6 * gap * s.fine, tone


def _tiles(s: Spot) -> Mix:
    a, b = s.u / s.period, s.v / s.period
    checker = ((a.floor() + b.floor()) % 2 > 0.5).float()
    grout = torch.maximum(edge((a - a.floor() - 0.5).abs() - 0.5, 0.02), edge((b - b.floor() - 0.5).abs() - 0.5, 0.02))
    return checker, (1 - 0.35 * grout * s.fine) * (0.97 + 0.06 * chance(a.floor(), b.floor()))


def _stripes(s: Spot) -> Mix:
    wave = torch.sin(s.u / s.period * 6.2832)
    return (0.5 + 4 * wave).clamp(0, 1) * s.fine + 0.5 * (1 - s.fine), _one(s)


def _bands(s: Spot) -> Mix:
    wave = torch.sin(s.local[1] / s.period * 6.2832 + s.phase * 6)
    return (0.5 + 4 * (wave - 0.3)).clamp(0, 1) * s.fine + 0.4 * (1 - s.fine), _one(s)


def _dots(s: Spot) -> Mix:
    b = s.v / s.period
    row = b.floor()
    a = s.u / s.period + 0.5 * (row % 2)
    x, y = a - a.floor() - 0.5, b - row - 0.5
    inside = ((0.28 - (x * x + y * y).sqrt()) * 12 + 0.5).clamp(0, 1)
    return inside * s.fine + 0.25 * (1 - s.fine), _one(s)


def _marble(s: Spot) -> Mix:
    x, y, z = s.local / s.period * 3
    warp = noise(x + s.phase * 9, y, z) + 0.5 * noise(x * 2.3, z * 2.1, y)
    veins = (1 - torch.sin(x * 1.3 + z * 0.9 + y * 0.7 + 2.6 * warp).abs()) ** 4
    return 0.8 * veins * (0.4 + 0.6 * s.fine), 1 + 0.04 * warp


def _weave(s: Spot) -> Mix:
    a, b = torch.sin(s.u / s.period * 3.1416), torch.sin(s.v / s.period * 3.1416)
    return 0.12 + 0.12 * a * b * s.fine, 1 + 0.04 * noise(s.u * 17, s.v * 19)


def _brick(s: Spot) -> Mix:
    b = s.v / (s.period * 0.38)
    row = b.floor()
    a = s.u / s.period + 0.5 * (row % 2)
    mortar = torch.maximum(edge((a - a.floor() - 0.5).abs() - 0.5, 0.03), edge((b - row - 0.5).abs() - 0.5, 0.07))
    return mortar * (0.3 + 0.7 * s.fine), 0.82 + 0.36 * chance(a.floor(), row)


def _rug(s: Spot) -> Mix:
    x, y = s.unit_u.abs(), s.unit_v.abs()
    rim = torch.maximum(x, y)
    border = ((rim > 0.72) & (rim < 0.86)).float()
    diamond = (((x * 1.3 + y * 1.1) * 4) % 1.0 > 0.55).float() * (rim < 0.64)
    return 0.85 * border + 0.55 * diamond, 1 + 0.04 * noise(s.u * 40, s.v * 40)


def _landscape(s: Spot) -> Mix:
    hill = 0.25 * torch.sin(s.unit_u * 3 + s.phase * 9) - 0.15
    near = 0.2 * torch.sin(s.unit_u * 2 - s.phase * 5) - 0.55
    land = (s.unit_v < hill).float()
    close = (s.unit_v < near).float()
    return (0.15 + 0.6 * land).clamp(0, 1), 1.25 - 0.3 * land - 0.35 * close + 0.25 * s.unit_v * (1 - land)


def _abstract(s: Spot) -> Mix:
    x, y = (s.unit_u * 1.4 + s.phase).floor(), (s.unit_v * 1.7 + s.phase * 2).floor()
    pick = chance(x + 3 * s.phase.mul(9).floor(), y)
    lines = torch.maximum(edge((s.unit_u * 1.4 + s.phase) - x, 0.05), edge((s.unit_v * 1.7 + s.phase * 2) - y, 0.05))
    return (pick > 0.5).float(), (0.5 + 0.9 * chance(x + 1.7, y + 0.3)) * (1 - 0.8 * lines)


def _sunrise(s: Spot) -> Mix:
    reach = ((s.unit_u * 0.9) ** 2 + (s.unit_v + 0.15) ** 2).sqrt()
    sun = ((0.42 - reach) * 10 + 0.5).clamp(0, 1)
    sea = (s.unit_v < -0.15).float()
    return torch.maximum(sun * (1 - sea), 0.35 * sea), 1.15 - 0.45 * sea + 0.2 * s.unit_v


def _books(s: Spot) -> Mix:
    a = s.u / s.period * 1.6 + s.phase * 7
    cell = a.floor()
    gap = edge((a - cell - 0.5).abs() - 0.5, 0.06)
    label = (s.unit_v - 0.35).abs() < 0.12
    return torch.where(label & (chance(cell, 2.0) > 0.5), 0.75, chance(cell, 5.0) * 0.35), (1 - 0.6 * gap * s.fine)


def _folds(s: Spot) -> Mix:
    wave = torch.sin(s.u / s.period * 6.2832 + 0.7 * torch.sin(s.unit_v * 2 + s.phase * 6))
    return (0.45 - 0.45 * wave) * (0.35 + 0.65 * s.fine), _one(s)


def _panels(s: Spot) -> Mix:
    x, y = s.unit_u.abs(), (s.unit_v * 1.0 - 0.05).abs()
    rail = torch.maximum(x - 0.68, torch.maximum(y - 0.86, 0.1 - y))
    groove = edge(rail, 0.03)
    mix, light = _wood(s)
    return mix, light * (1 - 0.4 * groove)


def _checks(s: Spot) -> Mix:
    a = (torch.sin(s.u / s.period * 6.2832) > 0).float()
    b = (torch.sin(s.v / s.period * 6.2832) > 0).float()
    return 0.5 * (a + b) * s.fine + 0.5 * (1 - s.fine), _one(s)


def _sectors(s: Spot) -> Mix:
    return (torch.sin(3 * torch.atan2(s.local[2], s.local[0])) * 6 + 0.5).clamp(0, 1), _one(s)


def _brushed(s: Spot) -> Mix:
    return _none(s), 1 + 0.05 * torch.sin(s.local[1] / s.period * 9) * s.fine


def _speckle(s: Spot) -> Mix:
    x, y, z = s.local / s.period
    grain = noise(x * 2.2 + 4 * s.phase, y * 2.4, z * 2.6) * noise(y * 3.1, z * 2.9, x)
    return (0.25 + 0.5 * grain * s.fine).clamp(0, 1) * 0.6, 1 + 0.06 * noise(x * 0.2, z * 0.2, y * 0.2)


def _wallpaper(s: Spot) -> Mix:
    a, b = s.u / s.period, s.v / s.period
    wave = torch.sin(a * 6.2832 + 1.2 * torch.sin(b * 3.1416)) * torch.cos(b * 6.2832)
    return (2.5 * (wave.abs() - 0.35)).clamp(0, 1) * s.fine * 0.8 + 0.3 * (1 - s.fine), _one(s)


def _leaf(s: Spot) -> Mix:
    return (0.5 + 0.5 * torch.sin(s.local[1] / s.period * 4 + s.local[0] * 20)) * 0.5, _one(s)


FORMULAS: dict[str, Callable[[Spot], Mix]] = {
    "plain": _plain,
    "wood": _wood,
    "planks": _planks,
    "tiles": _tiles,
    "stripes": _stripes,
    "dots": _dots,
    "marble": _marble,
    "weave": _weave,
    "brick": _brick,
    "rug": _rug,
    "landscape": _landscape,
    "abstract": _abstract,
    "sunrise": _sunrise,
    "books": _books,
    "folds": _folds,
    "panels": _panels,
    "checks": _checks,
    "parquet": _parquet,
    "sectors": _sectors,
    "bands": _bands,
    "brushed": _brushed,
    "speckle": _speckle,
    "wallpaper": _wallpaper,
    "leaf": _leaf,
}


def paint(finish: Tensor, local: Tensor, local_normal: Tensor, extent: Tensor, footprint: Tensor) -> Tensor:
    """Linear colour 3×N of samples.

    finish: rows of `World.finish` (at least 14)×N; local, local_normal, extent (half boxes): 3×N; footprint N: the size
    of a pixel on the surface in metres.
    """
    strong = local_normal.abs()
    flat_x, flat_y = (
        (strong[0] > strong[1]) & (strong[0] >= strong[2]),
        (strong[1] >= strong[0]) & (strong[1] > strong[2]),
    )
    u = torch.where(flat_x, local[2], local[0])
    v = torch.where(flat_y, local[2], local[1])
    span_u = torch.where(flat_x, extent[2], extent[0])
    span_v = torch.where(flat_y, extent[2], extent[1])
    pattern, period = finish[6].long(), finish[7]
    fine = (period / footprint * 0.5 - 0.35).clamp(0, 1)
    share, light = torch.zeros_like(u), torch.ones_like(u)
    for index, name in enumerate(PATTERNS):
        where = (pattern == index).nonzero(as_tuple=True)[0]
        if name == "plain" or where.numel() == 0:
            continue
        spot = Spot(
            u[where], v[where], local[:, where], u[where] / span_u[where], v[where] / span_v[where], period[where],
            finish[12, where].long(), finish[13, where], fine[where],
        )  # fmt: skip
        share[where], light[where] = FORMULAS[name](spot)
    return (finish[:3] + (finish[3:6] - finish[:3]) * share) * light
