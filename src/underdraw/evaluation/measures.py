"""How two maps of one condition are compared. The first measure of each is the one that counts."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from underdraw.annotators import ANNOTATORS
from underdraw.evaluation.fidelity import depth_error, edge_scores

__all__ = ["LESS_IS_BETTER", "Score", "angle", "measures", "miou", "rmse", "ssim"]

Score = Callable[[Tensor, Tensor], Tensor]
"""From drawn and true maps, B×C×H×W each, to one number an item (B)."""


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
    first, second = (torch.nn.functional.normalize(2 * maps.double() - 1, dim=1) for maps in (drawn, truth))
    return (first * second).sum(1).clamp(-1, 1).acos().rad2deg().mean((1, 2)).float()


def miou(drawn: Tensor, truth: Tensor) -> Tensor:
    """Mean intersection over union (B) over the colours that the true map shows; a drawn one counts as the nearest."""
    return torch.stack([_iou(one, other) for one, other in zip(drawn, truth, strict=True)])


def _iou(drawn: Tensor, truth: Tensor) -> Tensor:
    colours, wanted = truth.flatten(1).T.unique(dim=0, return_inverse=True)
    found = torch.cdist(drawn.flatten(1).T, colours).argmin(1)
    both = [((found == k) & (wanted == k)).sum() / ((found == k) | (wanted == k)).sum() for k in range(len(colours))]
    return torch.stack(both).mean()


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
    "segmentation": {"mIoU": miou},
}
LESS_IS_BETTER = frozenset({*DEPTHS, "RMSE", "mean angle"})
"""Measures that are errors."""


def measures(condition: str) -> Mapping[str, Score]:
    """How maps of a condition are compared; those not in the table: binary ones by F1, all others by RMSE."""
    if condition in BY_CONDITION:
        return BY_CONDITION[condition]
    binary = condition in ANNOTATORS and ANNOTATORS[condition].meaning.binary
    return LINES if binary else {"RMSE": rmse}
