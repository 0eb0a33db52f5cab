"""Boundaries: how fast the distribution of colour and texture changes around each point of a picture."""

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from underdraw import images
from underdraw.annotators.contours import Field, blurred, clear_of_surroundings, pixels_of

__all__ = ["boundaries"]

LARGEST, LEAST = 512, 40
"""Shorter side in pixels of the finest and of the coarsest octave."""
WHOLE = 160
"""Octaves up to this shorter side count whole; finer ones less, in proportion: detail is less likely an outline."""
SURROUNDINGS = 0.075
"""Radius of what surrounds an edge, in shorter sides."""
LIGHTNESS, CHROMA, COLOURS = (0.0, 100.0), (-30.0, 30.0), 4
"""Range of the bins of L*, and of a* and b* (beyond it the outermost bins are full), and the number of each."""
DIRECTIONS, GRAIN, STEEP = 4, 0.8, 4.0
"""Bins of the fine gradient's direction, the blur in pixels under which it is taken, and the slope that fills them."""
TEXTURE = 2.0
"""Weight of a bin of texture beside one of colour."""
RARE = 0.1
"""Added to each share, so that colours which hardly occur do not count without limit."""


def boundaries(picture: Tensor, suppression: float = 0.5) -> Field:
    """3×H×W RGB in [0, 1] → H×W ≥ 0: the strength of the boundary at each point; outlines reach 0.4 to 0.9.

    Of the shares p_k of soft bins around a point, the Fisher information metric Σ_k w_k ∂p_k ∂p_kᵀ / (p_k + 0.1) says
    by its largest eigenvalue how fast their distribution changes, whatever it is of. Its root is taken at every octave,
    then the weighted mean of all. Texture counts from the second octave on: at the finest, an edge itself would look
    like some, and be seen twice. suppression: the share of its surroundings' mean that a point loses.
    """
    height, width = picture.shape[-2:]
    scale = min(1.0, LARGEST / min(height, width))
    seen = images.resize(picture[None], (round(width * scale), round(height * scale)), "area")[0]
    shares = _shares(pixels_of(seen))
    total, weights = np.zeros((height, width), np.float32), 0.0
    counted = shares[: 3 * COLOURS]
    while True:
        side = min(shares[0].shape)
        weight = min(1.0, WHOLE / side)
        total += weight * cv2.resize(_change(counted), (width, height), interpolation=cv2.INTER_CUBIC)
        weights += weight
        if side // 2 < LEAST:
            break
        counted = shares = [_half(share) for share in shares]
    strength: Field = np.maximum(total / weights, 0)
    return clear_of_surroundings(strength, SURROUNDINGS * min(height, width), suppression)


def _shares(pixels: Field) -> list[Field]:
    """H×W×3 RGB in [0, 1] → how much each pixel belongs to each bin: colours first, then the texture's."""
    lightness, *chroma = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB))
    colours = [_bins(lightness, *LIGHTNESS), *(_bins(axis, *CHROMA) for axis in chroma)]
    return [share for each in colours for share in each] + _texture(lightness)


def _bins(values: Field, low: float, high: float) -> list[Field]:
    """Triangular bins that add up to 1."""
    place = np.clip((values - low) * ((COLOURS - 1) / (high - low)), 0, COLOURS - 1)
    return [np.maximum(1 - np.abs(place - middle), 0) for middle in range(COLOURS)]


def _texture(lightness: Field) -> list[Field]:
    """Bins of the direction of the fine gradient, and one for its absence; they add up to 1."""
    across, down = _slopes(blurred(lightness, GRAIN), GRAIN)
    steep = np.minimum(np.hypot(across, down) / STEEP, 1)
    place = np.mod(np.arctan2(down, across) * (DIRECTIONS / np.pi), DIRECTIONS)
    away = [np.abs(place - middle) for middle in range(DIRECTIONS)]
    return [np.maximum(1 - np.minimum(each, DIRECTIONS - each), 0) * steep for each in away] + [1 - steep]


def _slopes(soft: Field, sigma: float) -> tuple[Field, Field]:
    """Derivatives across and down of a field blurred by `sigma`, times sigma: so they compare between scales."""
    across, down = (cv2.Scharr(soft, cv2.CV_32F, *order, scale=sigma / 32) for order in ((1, 0), (0, 1)))
    return across, down


def _change(shares: Sequence[Field]) -> Field:
    """Root of the largest eigenvalue of the Fisher metric of shares blurred by one pixel."""
    xx, xy, yy = (np.zeros_like(shares[0]) for _ in range(3))
    for index, share in enumerate(shares):
        soft = blurred(share, 1.0)
        across, down = _slopes(soft, 1.0)
        weight = (TEXTURE if index >= 3 * COLOURS else 1.0) / (soft + RARE)
        xx += weight * across * across
        xy += weight * across * down
        yy += weight * down * down
    result: Field = np.sqrt((xx + yy) / 2 + np.sqrt((xx - yy) ** 2 / 4 + xy**2))
    return result


def _half(field: Field) -> Field:
    height, width = field.shape
    result: Field = cv2.resize(field, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    return result
