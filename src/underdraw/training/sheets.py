"""Pictures of a run: mosaics of samples and plots of losses."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw.files import atomic
from underdraw.training.convergence import Look, Verdict

__all__ = ["mosaic", "plot_losses", "plot_obedience"]


def mosaic(pictures: Tensor, columns: int, gap: int = 2) -> Tensor:
    """B×3×H×W in rows of `columns` → one 3×H'×W' picture on white."""
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    canvas = torch.ones(3, rows * (height + gap) + gap, columns * (width + gap) + gap)
    for place, picture in enumerate(pictures):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        canvas[:, top : top + height, left : left + width] = picture
    return canvas


def plot_losses(steps: list[int], figures: dict[str, list[float]], path: Path) -> None:
    """One curve a named loss, smoothed over 5 % of the run, on a logarithmic axis; written whole."""
    with _plot(path, "loss") as axes:
        for name, values in figures.items():
            axes.plot(steps, values, alpha=0.2)
            axes.plot(steps, _smooth(values), color=axes.lines[-1].get_color(), label=name)
        if all(value > 0 for values in figures.values() for value in values):
            axes.set_yscale("log")


def plot_obedience(looks: Sequence[Look], measure: str, found: Verdict | None, path: Path) -> None:
    """The mean score under the right map, none and another's at every look, and where it began to obey."""
    steps = [look.step for look in looks]
    with _plot(path, measure) as axes:
        for name in ("right", "none", "shuffled"):
            axes.plot(steps, [statistics.fmean(getattr(look, name)) for look in looks], marker=".", label=f"{name} map")
        if found:
            axes.axvline(found.since, color="grey", linestyle=":", label=str(found))


@contextmanager
def _plot(path: Path, what: str) -> Iterator[Any]:
    """Axes over steps to draw on; written whole, as PNG, when the block ends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel=what)
    yield axes
    axes.legend()
    with atomic(path) as draft:
        figure.savefig(draft, format="png", dpi=100)


def _smooth(values: list[float]) -> list[float]:
    window = max(1, len(values) // 20)
    sums = torch.tensor([0.0, *values], dtype=torch.float64).cumsum(0)
    first = [max(0, place - window) for place in range(1, len(values) + 1)]
    return [float((sums[i + 1] - sums[j]) / (i + 1 - j)) for i, j in enumerate(first)]
