"""Contours: what stands out of a field of edge strengths, thin lines along its ridges, and strokes along thin lines."""

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Curve",
    "Field",
    "Mask",
    "blurred",
    "clear_of_surroundings",
    "long_enough",
    "pixels_of",
    "ridges",
    "strokes",
    "strong",
]

Field = NDArray[np.float32]
"""H×W numbers."""
Mask = NDArray[np.bool_]
"""H×W: yes or no."""
Curve = NDArray[np.float32]
"""N×2 points x, y in pixels, in the order in which a pen would go."""

TOUCHING = np.ones((3, 3), np.float32)


def pixels_of(picture: Tensor) -> Field:
    """3×H×W RGB in [0, 1] → H×W×3, as OpenCV takes it."""
    result: Field = picture.detach().float().clamp(0, 1).permute(1, 2, 0).contiguous().cpu().numpy()
    return result


def blurred(field: Field, sigma: float) -> Field:
    """H×W or H×W×C, blurred by a Gaussian of `sigma` pixels."""
    result: Field = cv2.GaussianBlur(field, (0, 0), sigma)
    return result


def clear_of_surroundings(field: Field, sigma: float, share: float) -> Field:
    """H×W, ≥ 0: less a share of the mean around each point, over `sigma` pixels.

    A lone contour keeps its strength; texture, strong everywhere, loses most of it (surround suppression: Grigorescu,
    Petkov, Westenberg 2003, "Contour detection based on nonclassical receptive field inhibition").
    """
    result: Field = np.maximum(field - share * blurred(field, sigma), 0)
    return result


def ridges(field: Field) -> Field:
    """H×W ≥ 0 where a point is no weaker than its neighbours across the ridge it lies on, 0 elsewhere.

    Across is the direction in which the field bends down most steeply (least eigenvalue of the Hessian).
    """
    height, width = field.shape
    soft, smooth = blurred(field, 1.0), blurred(field, 2.0)
    xx, yy, xy = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((2, 0), (0, 2), (1, 1)))
    angle = (np.arctan2(2 * xy, xx - yy) + np.pi) / 2
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    right, down = np.cos(angle), np.sin(angle)
    ahead, behind = (
        cv2.remap(soft, x + way * right, y + way * down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for way in (1, -1)
    )
    result: Field = np.where((soft > ahead) & (soft >= behind), soft, 0)
    return result


def strong(field: Field, low: float, high: float) -> Mask:
    """H×W: where a field exceeds `low` and hangs together (by eight neighbours) with a point above `high`."""
    count, part = cv2.connectedComponents((field > low).astype(np.uint8), connectivity=8)
    best = np.zeros(count, np.float32)
    np.maximum.at(best, part.ravel(), field.ravel())
    keep = best > high
    keep[0] = False
    result: Mask = keep[part]
    return result


def long_enough(mask: Mask, least: float) -> Mask:
    """H×W: the connected parts of a mask that are at least so many pixels wide or high."""
    _, part, extent, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = np.maximum(extent[:, cv2.CC_STAT_WIDTH], extent[:, cv2.CC_STAT_HEIGHT]) >= least
    keep[0] = False
    result: Mask = keep[part]
    return result


def strokes(thin: Mask) -> list[Curve]:
    """The curves that lines one pixel thin are made of; where lines meet, all of them end."""
    ink = thin.astype(np.uint8)
    beside = cv2.filter2D(ink, cv2.CV_16S, TOUCHING, borderType=cv2.BORDER_CONSTANT) - ink
    ink[beside > 2] = 0
    outlines, nesting = cv2.findContours(ink, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer = [line[:, 0] for line, kin in zip(outlines, nesting[0], strict=True) if kin[3] < 0] if outlines else []
    return [_one_way(line) for line in outer if len(line) > 2]


def _one_way(outline: NDArray[np.int32]) -> Curve:
    """OpenCV's outline of an open line goes there and back: the way there. A closed one is whole, and closed."""
    _, place, visits = np.unique(outline, axis=0, return_inverse=True, return_counts=True)
    often = visits[place.ravel()]
    if often.mean() < 1.5:
        return np.concatenate([outline, outline[:1]]).astype(np.float32)
    start = int(np.argmax(often == 1))
    return np.roll(outline, -start, axis=0)[: len(outline) // 2 + 1].astype(np.float32)
