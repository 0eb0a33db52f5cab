"""How two maps of one condition are compared. The first measure of each condition is the one that counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Literal

import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn import functional

from underdraw.annotators import ANNOTATORS

__all__ = [
    "LESS_IS_BETTER",
    "EdgeScores",
    "Score",
    "angle",
    "colour_distance",
    "depth_error",
    "edge_scores",
    "measures",
    "miou",
    "outside",
    "pck",
    "pixels_right",
    "rmse",
    "seam",
    "ssim",
]

Score = Callable[[Tensor, Tensor], Tensor]
"""From what was read of drawn pictures and what was wanted, B×C×H×W each as a rule, to one number an item (B)."""

SAME = 0.1
"""Colours that are farther apart (in RGB of [0, 1]) are different labels."""
REACH = 0.1
"""How far from its place a point may be, in longer sides of the figure's box (Yang, Ramanan 2013)."""
ROOM = 0.25
"""By how many sides the box of a figure is widened before its points are looked for in it."""
FOUND = 0.2
"""Least height of a peak that is a point."""
DIRECTIONS = torch.tensor(
    [way for way in product((-1.0, 0.0, 1.0), repeat=3) if way > (0.0, 0.0, 0.0)], dtype=torch.float64
)
"""Axes, face and space diagonals of the cube of colours: 13×3."""


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


def rmse(drawn: Tensor, truth: Tensor) -> Tensor:
    """Root mean square difference (B) over channels and places."""
    return (drawn.double() - truth.double()).square().mean((1, 2, 3)).sqrt().float()


def ssim(drawn: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (B) with Wang et al.'s (2004) Gaussian window of σ = 1.5, range 1."""
    pairs = zip(drawn.double().numpy(), truth.double().numpy(), strict=True)
    told = {
        "data_range": 1.0,
        "channel_axis": 0,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    return torch.tensor([structural_similarity(one, other, **told) for one, other in pairs], dtype=torch.float32)


def angle(drawn: Tensor, truth: Tensor) -> Tensor:
    """The mean angle (B) in degrees between normals that are encoded as (n + 1)/2."""
    first, second = (functional.normalize(2 * maps.double() - 1, dim=1) for maps in (drawn, truth))
    return (first * second).sum(1).clamp(-1, 1).acos().rad2deg().mean((1, 2)).float()


def miou(drawn: Tensor, truth: Tensor) -> Tensor:
    """Mean intersection over union (B) over the colours that the true map shows.

    A drawn colour counts as the nearest of them, or as none where it is far from all.
    """
    return torch.stack([_iou(*_labels(one, other)) for one, other in zip(drawn, truth, strict=True)])


def _iou(found: Tensor, wanted: Tensor) -> Tensor:
    labels = range(int(wanted.max()) + 1)
    both = [((found == k) & (wanted == k)).sum() / ((found == k) | (wanted == k)).sum() for k in labels]
    return torch.stack(both).mean()


def pixels_right(drawn: Tensor, truth: Tensor) -> Tensor:
    """The share of pixels (B) whose label is the true one."""
    pairs = (_labels(one, other) for one, other in zip(drawn, truth, strict=True))
    return torch.stack([(found == wanted).float().mean() for found, wanted in pairs])


def _labels(drawn: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """3×H×W each → numbers of the true map's colours, of N pixels each; -1 is another colour."""
    colours, wanted = truth.flatten(1).T.unique(dim=0, return_inverse=True)
    away, found = torch.cdist(drawn.flatten(1).T, colours).min(1)
    return torch.where(away <= SAME, found, -1), wanted


def outside(drawn: Tensor, truth: Tensor) -> Tensor:
    """Root mean square difference (B) where an inpaint map (-1 in its hole) shows the picture."""
    known = (truth.amin(1, keepdim=True) >= 0).double().expand_as(truth)
    error = (drawn.double() - truth.double()).square() * known
    return (error.sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)).sqrt().float()


def seam(drawn: Tensor, truth: Tensor) -> Tensor:
    """The mean step (B) across the rim of an inpaint map's hole when what was drawn in it is laid into the picture."""
    known = truth.amin(1, keepdim=True) >= 0
    laid = torch.where(known, truth, drawn).double()
    steps, rims = torch.zeros(len(truth), dtype=torch.float64), torch.zeros(len(truth), dtype=torch.float64)
    for axis in (-1, -2):
        rim = known.double().diff(dim=axis).abs()
        steps += (laid.diff(dim=axis).abs().mean(1, keepdim=True) * rim).sum((1, 2, 3))
        rims += rim.sum((1, 2, 3))
    return (steps / rims.clamp(min=1)).float()


def colour_distance(drawn: Tensor, truth: Tensor) -> Tensor:
    """How far apart the colours of two pictures are (B), wherever they stand: 0 for the same pixels in any order.

    Sliced Wasserstein-1 distance of their distributions in RGB (Rabin et al. 2011) over `DIRECTIONS`.
    """
    ways = functional.normalize(DIRECTIONS.to(drawn.device), dim=1)
    first, second = ((maps.double().flatten(2).transpose(1, 2) @ ways.T).sort(1).values for maps in (drawn, truth))
    return (first - second).abs().mean((1, 2)).float()


def pck(drawn: Tensor, truth: Tensor) -> Tensor:
    """The share (B) of visible body points that are found where they should be: PCK@0.1 of the figure's box.

    drawn: heatmaps B×K×H×W in [0, 1]. truth: people B×P×K×3 (x and y in pixels; 0 not there, 1 hidden, 2 seen).
    A point's place is the peak of its heatmap in the figure's box, which is widened by a quarter of its longer side
    all around; it must be higher than `FOUND`. Where nobody is wanted: 1, if there is no such peak at all, else 0.
    """
    return torch.stack([_found(*pair) for pair in zip(drawn, truth, strict=True)])


def _found(heat: Tensor, people: Tensor) -> Tensor:
    people = people[(people[..., 2] > 1).any(1)]
    if not len(people):
        return (heat.max() <= FOUND).float()
    return torch.cat([_hits(heat, body) for body in people]).float().mean()


def _hits(heat: Tensor, body: Tensor) -> Tensor:
    """Which of the visible points of one body are found."""
    there = body[body[:, 2] > 0, :2]
    low, high = there.amin(0), there.amax(0)
    side = float((high - low).max().clamp(min=1))
    height, width = heat.shape[-2:]
    left, top = (max(0, int(start)) for start in (low - ROOM * side).floor().tolist())
    right, bottom = (high + ROOM * side).ceil().int().tolist()
    window = heat[:, top : min(bottom, height), left : min(right, width)]
    peaks, places = window.flatten(1).max(1)
    x, y = left + places % window.shape[-1] + 0.5, top + places // window.shape[-1] + 0.5
    near = torch.hypot(x - body[:, 0], y - body[:, 1]) <= REACH * side
    return ((peaks > FOUND) & near)[body[:, 2] > 1]


LINES: Mapping[str, Score] = MappingProxyType(
    {
        "F1 at 1 px": lambda drawn, truth: edge_scores(drawn, truth, 1).f1,
        "F1 at 0 px": lambda drawn, truth: edge_scores(drawn, truth, 0).f1,
    }
)
DEPTHS: Mapping[str, Score] = MappingProxyType(
    {
        "RMSE": depth_error,
        "RMSE, scaled": lambda drawn, truth: depth_error(drawn, truth, "scale"),
        "RMSE, scaled and shifted": lambda drawn, truth: depth_error(drawn, truth, "scale and shift"),
    }
)
BY_CONDITION: Mapping[str, Mapping[str, Score]] = {
    "canny": LINES,
    "lineart": LINES,
    "lines": LINES,
    "scribble": {"SSIM": ssim, **LINES},
    "softedge": {"SSIM": ssim, "RMSE": rmse},
    "depth": DEPTHS,
    "depth_layers": DEPTHS,
    "normal": {"mean angle": angle, "RMSE": rmse},
    "segmentation": {"mIoU": miou, "pixels right": pixels_right},
    "pose": {"PCK@0.1": pck},
    "inpaint": {"RMSE outside the hole": outside, "seam": seam},
    "shuffle": {"colour distance": colour_distance},
}
LESS_IS_BETTER = frozenset({*DEPTHS, "RMSE", "mean angle", "RMSE outside the hole", "seam", "colour distance"})
"""Measures that are errors."""


def measures(condition: str) -> Mapping[str, Score]:
    """How maps of a condition are compared; those not in the table: binary ones by F1, all others by RMSE."""
    if condition in BY_CONDITION:
        return BY_CONDITION[condition]
    binary = condition in ANNOTATORS and ANNOTATORS[condition].meaning.binary
    return LINES if binary else {"RMSE": rmse}
