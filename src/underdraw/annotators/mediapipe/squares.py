"""Turned squares of a photograph: cut out for a network, and what it finds there brought back."""

from dataclasses import dataclass, replace
from math import atan2, cos, hypot, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from underdraw.annotators.mediapipe.models import Floats

__all__ = ["Photograph", "Spots", "Square", "around", "between"]

Spots = NDArray[np.float64]
"""N×2: x and y."""
UP, DOWN, RIGHT = pi / 2, -pi / 2, 0.0
"""Where a square's second point lies from its first once it is upright: angles as in mathematics, in radians."""


class Photograph:
    """A picture H×W×3 of bytes with its halves, quarters …, so that what is looked at from afar is averaged."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.height, self.width = pixels.shape[:2]
        self._levels = [pixels]

    def cut(self, square: "Square", size: int, outside: int = cv2.BORDER_REPLICATE) -> Floats:
        """A square as size×size×3 floats in [0, 1]. outside: how OpenCV continues the picture beyond its border."""
        level = 0
        while square.side / size >= 2 << level:
            level += 1
        pixels = self._level(level)
        shares = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        corners = square.place(shares) / (1 << level) - 0.5  # OpenCV's pixels have their middles at whole numbers
        turn = cv2.getAffineTransform(corners.astype(np.float32), (shares * size - 0.5).astype(np.float32))
        found = cv2.warpAffine(pixels, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=outside)
        values: Floats = np.asarray(found, np.float32) / np.float32(255)
        return values

    def _level(self, level: int) -> NDArray[np.uint8]:
        while len(self._levels) <= level:
            last = self._levels[-1]
            even = cv2.copyMakeBorder(last, 0, last.shape[0] % 2, 0, last.shape[1] % 2, cv2.BORDER_REPLICATE)
            half = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
            self._levels.append(np.asarray(half, np.uint8))
        return self._levels[level]


@dataclass(frozen=True)
class Square:
    """Its middle (x, y) and side in pixels, and by how much it is turned clockwise, in radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def place(self, spots: Spots) -> Spots:
        """Shares of the square (0, 0 is its first corner; N×2) → pixels of the photograph."""
        across, down = (spots - 0.5).T * self.side
        turned = across * cos(self.angle) - down * sin(self.angle), across * sin(self.angle) + down * cos(self.angle)
        return np.stack([self.x + turned[0], self.y + turned[1]], 1)

    def shifted(self, down: float) -> "Square":
        """Moved along its own side by a share of it."""
        x, y = self.place(np.array([[0.5, 0.5 + down]]))[0]
        return replace(self, x=float(x), y=float(y))

    def scaled(self, scale: float) -> "Square":
        """With a side times as long around the same middle."""
        return replace(self, side=self.side * scale)

    def near(self, other: "Square", share: float) -> bool:
        """Whether both differ by less than a share of their sides in place and size."""
        apart = hypot(self.x - other.x, self.y - other.y)
        return max(apart, abs(self.side - other.side)) < share * min(self.side, other.side)


def between(first: Spots, second: Spots, scale: float, target: float = UP) -> Square:
    """The square around a point whose half side is the distance to a second one, times a scale.

    target: where the second point lies once the square is upright.
    """
    reach = hypot(*(second - first))
    return Square(float(first[0]), float(first[1]), 2 * scale * reach, turned(first, second, target))


def around(spots: Spots, angle: float, scale: float) -> Square:
    """The square of that angle around points, whose side is their longer extent times a scale."""
    back = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
    upright = spots @ back
    low, high = upright.min(0), upright.max(0)
    x, y = back @ ((low + high) / 2)
    return Square(float(x), float(y), float((high - low).max()) * scale, angle)


def turned(first: Spots, second: Spots, target: float) -> float:
    """By how much a square is turned in which the second point lies at the target angle from the first."""
    angle = target - atan2(-(second[1] - first[1]), second[0] - first[0])
    return (angle + pi) % (2 * pi) - pi
