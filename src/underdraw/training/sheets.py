"""Pictures of a run: mosaics of samples and plots of losses."""

from pathlib import Path

import torch
from torch import Tensor

from underdraw.files import atomic

__all__ = ["mosaic", "plot_losses"]


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    for name, values in figures.items():
        axes.plot(steps, values, alpha=0.2)
        axes.plot(steps, _smooth(values), color=axes.lines[-1].get_color(), label=name)
    if all(value > 0 for values in figures.values() for value in values):
        axes.set_yscale("log")
    axes.legend()
    with atomic(path) as draft:
        figure.savefig(draft, format="png", dpi=100)


def _smooth(values: list[float]) -> list[float]:
    window = max(1, len(values) // 20)
    sums = torch.tensor([0.0, *values], dtype=torch.float64).cumsum(0)
    first = [max(0, place - window) for place in range(1, len(values) + 1)]
    return [float((sums[i + 1] - sums[j]) / (i + 1 - j)) for i, j in enumerate(first)]
