"""Which emoji share an outline: the measurement behind the table `twins.TWINS`.

The table is shipped so that a concept, and with it the split, never depends on which sets somebody has loaded.
After a change of sets it is made anew by printing `twins(load(packages))` into twins.py.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.data.stickers.concepts import family_of, union
from underdraw.data.stickers.load import Sticker
from underdraw.data.stickers.raster import premultiplied

SIDE = 32  # px of the compared silhouettes
ALIKE = 0.93  # intersection over union from which two silhouettes are one outline
PLAIN = 0.85  # … unless they are as near to a disc or a box as that: then the outline tells nothing
COMMON = {"button", "face", "sign", "symbol"}  # last words that say nothing of the object


def twins(stickers: Iterable[Sticker]) -> list[list[str]]:
    """Groups of code points of different concepts that share an outline in some set, turned or mirrored.

    Discs and boxes count only where the names end in the same word ("red apple", "green apple").
    """
    pairs: list[list[str]] = []
    for _, drawn in groupby(stickers, key=lambda sticker: sticker.set):
        pairs += _pairs(list(drawn))
    roots = union(pairs)
    groups = [sorted(code for code in roots if roots[code] == root) for root in sorted(set(roots.values()))]
    return [group for group in groups if len(group) > 1]


def _pairs(stickers: Sequence[Sticker]) -> list[list[str]]:
    silhouettes = torch.stack([(premultiplied(sticker, 2 * SIDE)[3] > 0.5).float() for sticker in stickers])
    alike = overlaps(functional.avg_pool2d(silhouettes, 2)) > ALIKE
    plain = [plainness(silhouette) >= PLAIN for silhouette in silhouettes]
    families = [family_of(sticker.emoji.code) for sticker in stickers]
    heads = [sticker.emoji.name.lower().split()[-1] for sticker in stickers]
    return [
        [families[i], families[j]]
        for i, j in alike.triu(1).nonzero().tolist()
        if families[i] != families[j]
        and (not (plain[i] or plain[j]) or (heads[i] == heads[j] and heads[i] not in COMMON))
    ]


def overlaps(silhouettes: Tensor) -> Tensor:
    """N×N: the best (soft) intersection over union of N×S×S silhouettes over the eight turns and mirrorings."""
    flat = silhouettes.flatten(1)
    power = flat.square().sum(1)
    best = torch.zeros(len(flat), len(flat))
    for turned in (torch.rot90(one, k, (1, 2)) for one in (silhouettes, silhouettes.flip(2)) for k in range(4)):
        shared = flat @ turned.flatten(1).T
        best = torch.maximum(best, shared / (power[:, None] + power - shared).clamp(min=1e-6))
    return best


def plainness(silhouette: Tensor) -> float:
    """How near an S×S silhouette, stretched to its bounding box, comes to a disc, a rounded box or a box: IoU."""
    rows, columns = (silhouette.amax(axis).nonzero().flatten() for axis in (1, 0))
    cut = silhouette[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    stretched = functional.adaptive_avg_pool2d(cut.unsqueeze(0), (SIDE, SIDE))[0]
    line = torch.linspace(-1, 1, SIDE).abs()
    shapes = [(line.unsqueeze(1) ** power + line**power <= 1).float() for power in (2, 5, 1000)]
    return max(float((stretched * shape).sum() / (stretched + shape - stretched * shape).sum()) for shape in shapes)
