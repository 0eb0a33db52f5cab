"""Does control cost quality? How natural drawn pictures are, how various, how near to what was learnt, how well told.

All is measured in the image features of a small CLIP, and variety in pixels as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from underdraw.evaluation.fidelity import Estimate, bootstrap, mean
from underdraw.evaluation.judges import Judge
from underdraw.evaluation.trials import Easel, Item
from underdraw.evaluation.words import Clip

__all__ = ["Nearest", "Quality", "kid", "measure_quality", "nearest", "variety"]

ROUNDS = 1000
"""How often the items are drawn anew for an interval of KID."""
SEEDS, MAPS = 4, 50
"""Pictures under one map by which variety is told, and maps at most."""


@dataclass(frozen=True)
class Quality:
    """Of pictures drawn under maps of one kind, and of the same captions and seeds without control (`free`).

    kid: distance from the true pictures, and of one half of the true ones from the other. worse: how much greater it is
    under the maps than without.
    variety: of what is drawn under one map by several seeds, against the same without control, in percent; by features
    and by pixels.
    nearest: the mean distance to the nearest picture that was learnt from (1 - cosine), of drawn and of true pictures.
    alignment: the mean cosine of picture and caption; kept: with control against without, in percent.
    """

    items: int
    kid: Estimate
    kid_free: Estimate
    kid_true: Estimate
    worse: Estimate
    variety: Estimate
    variety_pixels: Estimate
    nearest: Estimate
    nearest_free: Estimate
    nearest_true: Estimate
    alignment: Estimate
    alignment_free: Estimate
    alignment_true: Estimate
    kept: Estimate


def kid(first: Tensor, second: Tensor, weights: tuple[Tensor, Tensor] | None = None, paired: bool = False) -> Tensor:
    """Kernel inception distance (Bińkowski et al. 2018) of unit vectors N×D and M×D: one number.

    The unbiased estimate of the squared maximum mean discrepancy, in float64, under the kernel (x·y + 1)³, which is the
    published one for vectors of length √D; of small distances it is negative now and then. weights: R×N and R×M, how
    often each row counts, for R numbers: of zeros and ones they are the subsets of the publication, of counts a
    bootstrap. A row is never compared with itself; nor, if they are paired, with the same row of the other set: under
    its map a drawn picture is like its own true one, which says nothing of how natural it is.
    """
    rows = weights or (torch.ones(1, len(first)), torch.ones(1, len(second)))
    one, two = (each.double() for each in rows)
    within = [_mean(_kernel(each, each), count, count, without=True) for each, count in ((first, one), (second, two))]
    return within[0] + within[1] - 2 * _mean(_kernel(first, second), one, two, without=paired)


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    return (one.double() @ other.double().T + 1) ** 3


def _mean(kernel: Tensor, rows: Tensor, columns: Tensor, without: bool) -> Tensor:
    """The weighted means (R) of N×M, as a rule without its diagonal."""
    total, pairs = ((rows @ kernel) * columns).sum(1), rows.sum(1) * columns.sum(1)
    if without:
        total = total - (rows * columns * kernel.diagonal()).sum(1)
        pairs = pairs - (rows * columns).sum(1)
    return total / pairs


def _kid(first: Tensor, second: Tensor, seed: int, other: Tensor | None = None, paired: bool = True) -> Estimate:
    """KID with its interval over items, less that of `other` from the second. All have an item a row."""
    drawn = torch.randint(len(first), (ROUNDS, len(first)), generator=torch.Generator().manual_seed(seed))
    counts = torch.zeros(ROUNDS, len(first)).scatter_add_(1, drawn, torch.ones(drawn.shape))

    def figures(weights: tuple[Tensor, Tensor] | None) -> Tensor:
        found = kid(first, second, weights, paired)
        return found if other is None else found - kid(other, second, weights, paired)

    low, high = figures((counts, counts)).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(float(figures(None)), low, high)


def variety(features: Tensor) -> Tensor:
    """How far apart the pictures of a map are (N): the mean Euclidean distance of all pairs of N×S×D."""
    seeds = features.shape[1]
    pairs = torch.stack([each.triu(1).sum() for each in torch.cdist(features.float(), features.float())])
    return pairs / (seeds * (seeds - 1) / 2)


class Nearest(NamedTuple):
    """The cosine to the likest of what was learnt from, and which that is (N each)."""

    values: Tensor
    indices: Tensor


def nearest(seen: Tensor, learnt: Tensor) -> Nearest:
    """By features, unit vectors N×D and M×D."""
    parts = [(part @ learnt.T).max(1) for part in seen.split(256)]
    return Nearest(torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts]))


def measure_quality(
    easel: Easel, judge: Judge, clip: Clip, items: Sequence[Item], bound: Tensor, learnt: Tensor
) -> Quality:
    """What control costs: items, what was drawn of them under their maps N×3×H×W, and without.

    learnt: features M×D of the pictures that the base and its nets learnt from.
    """
    seed, truth = easel.protocol.seed, torch.stack([item.record.image for item in items])
    seen = [clip.see(pictures) for pictures in (bound, easel.free(items), truth)]
    ours, free, true = seen
    told = clip.hear([item.record.text for item in items])
    aligned = [(each * told).sum(1) for each in seen]
    features, pixels = _varieties(easel, judge, clip, items[:: max(1, len(items) // MAPS)][:MAPS])
    half = len(items) // 2
    likest = [mean(1 - nearest(each, learnt).values, seed) for each in seen]
    likeness = [mean(each, seed) for each in aligned]
    return Quality(
        items=len(items),
        kid=_kid(ours, true, seed),
        kid_free=_kid(free, true, seed),
        kid_true=_kid(true[::2][:half], true[1::2], seed, paired=False),
        worse=_kid(ours, true, seed, other=free),
        variety=_percent(*features, seed),
        variety_pixels=_percent(*pixels, seed),
        nearest=likest[0],
        nearest_free=likest[1],
        nearest_true=likest[2],
        alignment=likeness[0],
        alignment_free=likeness[1],
        alignment_true=likeness[2],
        kept=_percent(aligned[0], aligned[1], seed),
    )


def _percent(ours: Tensor, others: Tensor, seed: int) -> Estimate:
    """100 · the mean of ours / the mean of the others."""
    return bootstrap(torch.stack([ours, others], 1), lambda means: 100 * means[:, 0] / means[:, 1], seed)


Pair = tuple[Tensor, Tensor]
"""N numbers under the map, and N without."""


def _varieties(easel: Easel, judge: Judge, clip: Clip, items: Sequence[Item]) -> tuple[Pair, Pair]:
    """How various pictures of the same map and caption are: by features, and by pixels."""
    again = [Item(item.record, item.world, 1_000_000 * (item.seed + 1) + k) for item in items for k in range(SEEDS)]
    maps = torch.cat([judge.shown(item.record) for item in items]).repeat_interleave(SEEDS, 0)
    drawn = [easel.under(again, judge.kind, maps, "by several seeds"), easel.free(again)]
    looks: tuple[Callable[[Tensor], Tensor], ...] = (clip.see, lambda pictures: pictures.flatten(1))
    bound, free = ([variety(look(each).unflatten(0, (-1, SEEDS))) for look in looks] for each in drawn)
    return (bound[0], free[0]), (bound[1], free[1])
