"""Does a picture say what its map says? Scores between maps, and how far between floor and ceiling they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["EdgeScores", "Estimate", "bootstrap", "depth_error", "edge_scores", "mean", "obedience"]

ROUNDS = 2000
"""How often the items are drawn anew for an interval."""


@dataclass(frozen=True)
class EdgeScores:
    """Precision, recall and their harmonic mean for each item (B)."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def edge_scores(drawn: Tensor, truth: Tensor, tolerance: int = 1) -> EdgeScores:
    """Compare edge maps B×1×H×W; a value above 0.5 is an edge.

    Precision is the share of drawn edge pixels with a true one at most `tolerance` pixels away across, down or
    diagonally (within a square of side 2·tolerance + 1); recall is the share of true ones with a drawn one as near.
    Unlike BSDS' matching, one pixel may be the partner of several. Where both maps are empty all scores are 1; where
    only one is, all are 0.
    """
    drawn, truth = (drawn > 0.5).float(), (truth > 0.5).float()
    precision = _share(drawn, _widened(truth, tolerance))
    recall = _share(truth, _widened(drawn, tolerance))
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    empty = (drawn.sum((1, 2, 3)) == 0) & (truth.sum((1, 2, 3)) == 0)
    return EdgeScores(*(torch.where(empty, 1.0, score) for score in (precision, recall, f1)))


def _widened(edges: Tensor, tolerance: int) -> Tensor:
    return functional.max_pool2d(edges, 2 * tolerance + 1, stride=1, padding=tolerance)


def _share(edges: Tensor, near: Tensor) -> Tensor:
    return (edges * near).sum((1, 2, 3)) / edges.sum((1, 2, 3)).clamp(min=1)


def depth_error(drawn: Tensor, truth: Tensor, align: Literal["none", "scale", "scale and shift"] = "none") -> Tensor:
    """Root mean square error (B) between depth maps B×1×H×W in [0, 1].

    `align` first scales the drawn map by the factor, or by the factor and offset, that fit the truth best in the sense
    of least squares: what is left is an error of form (Ranftl et al. 2020, "Towards Robust Monocular Depth
    Estimation").
    """
    drawn, truth = drawn.double().flatten(1), truth.double().flatten(1)
    if align == "scale":
        drawn = drawn * ((drawn * truth).sum(1) / (drawn * drawn).sum(1).clamp(min=1e-12))[:, None]
    if align == "scale and shift":
        centred = drawn - drawn.mean(1, keepdim=True)
        slope = (centred * truth).sum(1) / (centred * centred).sum(1).clamp(min=1e-12)
        drawn = truth.mean(1, keepdim=True) + slope[:, None] * centred
    return (drawn - truth).square().mean(1).sqrt().float()


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval in which it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """`0.81 [0.79, 0.84]`; the specification is that of each number."""
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def bootstrap(values: Tensor, statistic: Callable[[Tensor], Tensor], seed: int = 0, rounds: int = ROUNDS) -> Estimate:
    """A statistic of items and its percentile interval when the items are drawn anew (Efron 1979).

    values: N×K, an item a row, so that what belongs together stays together.
    statistic: from the means R×K of R samples to R figures. Samples for which it is not finite are left out; where it
    never is, the interval is not a number.
    """
    values = values.double()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(values), (rounds, len(values)), generator=generator)
    figures = statistic(values[chosen].mean(1))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.nanquantile(torch.where(figures.isfinite(), figures, torch.nan), ends).tolist()
    return Estimate(float(statistic(values.mean(0, keepdim=True))), low, high)


def mean(scores: Tensor, seed: int = 0) -> Estimate:
    """The mean of N scores."""
    return bootstrap(scores[:, None], lambda means: means[:, 0], seed)


def obedience(ours: Tensor, floor: Tensor, ceiling: Tensor, seed: int = 0) -> Estimate:
    """How far from floor to ceiling, in percent: 100 · (ours - floor) / (ceiling - floor) of the means over N items.

    The same for scores (more is better) and for errors (less is better): both differences then change sign.
    """

    def share(means: Tensor) -> Tensor:
        return 100 * (means[:, 0] - means[:, 1]) / (means[:, 2] - means[:, 1])

    return bootstrap(torch.stack([ours, floor, ceiling], 1), share, seed)
