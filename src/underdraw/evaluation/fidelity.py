"""Does a picture say what its map says? Figures with their intervals, and how far from floor to ceiling they are."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Estimate", "bootstrap", "mean", "obedience"]

ROUNDS = 2000
"""How often the items are drawn anew for an interval."""


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
