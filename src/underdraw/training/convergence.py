"""When did it begin to obey? A change point on the gap between the right map and another's (Zhang et al. 2023, fig. 4).

The denoising loss of a ControlNet hardly moves; whether pictures follow their maps is seen by drawing and looking.
Every look scores the same few watched items three times: drawn under their own map, under none, and under another
item's, and each time compared with their own map. What a net has learnt about *this* map is the gap right - shuffled.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Look", "Verdict", "verdict"]

SURE = 5.0
"""Standard errors that the gap must be above 0, twice in a row. By chance alone: less than once in 5,000 looks at 16
items, and in a row far less."""
FLAT = 1e-6
"""A gap below this is rounding."""
SUDDEN = 0.5
"""A step function that leaves less than this share of a straight line's squared error is a sudden change."""
FEWEST = 4
"""Looks without which nothing is said about how it came."""


@dataclass(frozen=True)
class Look:
    """Scores of N watched items after `step` steps, more is better: under the right map, none, another's."""

    step: int
    right: tuple[float, ...]
    none: tuple[float, ...]
    shuffled: tuple[float, ...]

    @property
    def gaps(self) -> list[float]:
        """How much better each item is under its own map than under another's."""
        return [own - other for own, other in zip(self.right, self.shuffled, strict=True)]

    @property
    def gap(self) -> float:
        """The mean of the gaps."""
        return statistics.fmean(self.gaps)

    @property
    def sure(self) -> bool:
        """Whether the gap is above 0 beyond chance."""
        spread = statistics.stdev(self.gaps) if len(self.gaps) > 1 else math.inf
        return self.gap > max(FLAT, SURE * spread / math.sqrt(len(self.gaps)))


@dataclass(frozen=True)
class Verdict:
    """Since which step a run obeys, and whether that came suddenly or gradually ("early": too few looks to tell)."""

    since: int
    how: Literal["sudden", "gradual", "early"]

    def __str__(self) -> str:
        """One line for people."""
        came = {"sudden": "suddenly", "gradual": "gradually", "early": "from the first looks on"}[self.how]
        return f"obeys since step {self.since:,}: it came {came}"


def verdict(looks: Sequence[Look]) -> Verdict | None:
    """What the looks, in order, say; None while two looks in a row are not sure of a gap."""
    first = next((k for k in range(len(looks) - 1) if looks[k].sure and looks[k + 1].sure), None)
    if first is None:
        return None
    gaps = [look.gap for look in looks]
    if len(looks) < FEWEST or first == 0:
        return Verdict(looks[first].step, "early")
    place, stepped = _step_fit(gaps)
    if stepped <= SUDDEN * _line_fit([look.step for look in looks], gaps):
        return Verdict(looks[place].step, "sudden")
    return Verdict(looks[first].step, "gradual")


def _step_fit(values: Sequence[float]) -> tuple[int, float]:
    """Where two levels describe the values best (the first place of the second level), and their squared error."""
    return min(
        ((place, _scatter(values[:place]) + _scatter(values[place:])) for place in range(1, len(values))),
        key=lambda fit: fit[1],
    )


def _line_fit(steps: Sequence[int], values: Sequence[float]) -> float:
    """The squared error of the best straight line."""
    slope, start = statistics.linear_regression(steps, values)
    return sum((value - start - slope * step) ** 2 for step, value in zip(steps, values, strict=True))


def _scatter(values: Sequence[float]) -> float:
    middle = statistics.fmean(values)
    return sum((value - middle) ** 2 for value in values)
