"""The discs of a drawn skeleton: where each of the eighteen points may be.

A point is a disc of its own colour: its middle is where a disc covers that colour, and else only what is drawn later. A
disc that others hide in part fits in several places.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from underdraw.annotators.keypoints import BODY, Point
from underdraw.annotators.skeleton import DOTS, PALETTE, STICKS, Pixels

__all__ = [
    "BLACK",
    "OTHER",
    "SMALLEST",
    "Cell",
    "Disc",
    "Labels",
    "discs_of",
    "foreign",
    "labels_of",
    "may_be_hidden",
    "middle",
]

Labels = NDArray[np.int16]
Cell = tuple[int, int]
"""x and y of a pixel."""

BLACK, OTHER = -1, 99
"""Labels of what is not of a body: nothing, and any other colour. Points are 0 to 17, limbs 18 to 34."""
TOLERANCE = 24
"""How far a colour may be from that of the palette in its worst channel: JPEG's noise."""
SMALLEST = 3
"""Fewest pixels that make a point known, or a limb."""


@dataclass(frozen=True)
class Disc:
    """A point that was found: which of the body it is, the pixels that its middle may be, the likeliest first, and how
    much of it shows, from 0 to 1.
    """

    kind: int
    places: tuple[Cell, ...]
    shown: float

    @property
    def point(self) -> Point:
        """The middle of the likeliest pixel."""
        return middle(self.places[0])


def middle(cell: Cell) -> Point:
    """The point in the middle of a pixel: points are cut to whole pixels when they are drawn."""
    return cell[0] + 0.5, cell[1] + 0.5, 1.0


def foreign(pixels: Pixels) -> float:
    """The share of a picture's pixels that are neither black nor of a skeleton's colours: 0 for a drawn skeleton."""
    return float((_nearest(pixels, ((0, 0, 0), *PALETTE)) < 0).mean())


def labels_of(pixels: Pixels) -> Labels:
    """What each pixel H×W shows."""
    nearest = _nearest(pixels, ((0, 0, 0), *DOTS, *STICKS))
    return np.where(nearest < 0, OTHER, nearest - 1).astype(np.int16)


def discs_of(labels: Labels, kind: int, stick: int) -> Iterator[Disc]:
    """The discs of one kind of point, the best visible first."""
    rows, columns = (labels == kind).nonzero()
    if len(rows) < SMALLEST:
        return
    top, left = max(0, rows.min() - 2 * stick), max(0, columns.min() - 2 * stick)
    window = labels[top : rows.max() + 2 * stick + 1, left : columns.max() + 2 * stick + 1]
    for places, shown in _covers(window, kind, stick):
        yield Disc(kind, tuple((x + int(left), y + int(top)) for x, y in places), shown)


def may_be_hidden(labels: Labels, kind: int, stick: int) -> tuple[Cell, ...]:
    """Where a disc of that kind would lie under later points, or under what is not of a body: wholly, or all but."""
    own = _under_disc((labels == kind).astype(np.float32), stick)
    return _places((_beneath(labels, kind, stick) == 0) & (own < SMALLEST), stick)


def _covers(labels: Labels, kind: int, stick: int) -> Iterator[tuple[tuple[Cell, ...], float]]:
    """Discs that together cover all pixels of a kind: of each the places that fit equally well, and how much shows."""
    whole = _disc((2 * stick + 1, 2 * stick + 1), stick, stick, stick).sum()
    own = (labels == kind).astype(np.float32)
    beneath = _beneath(labels, kind, stick)
    while own.sum() >= SMALLEST:
        covered = _under_disc(own, stick)
        score = np.where(covered >= SMALLEST, covered - beneath, -np.inf)
        row, column = divmod(int(score.argmax()), score.shape[1])
        if not np.isfinite(score[row, column]):
            return
        as_good = (score == score[row, column]) & (covered == covered[row, column])
        places = _places(as_good & _disc(score.shape, column, row, 2 * stick), stick)
        yield places, float(covered[row, column] / whole)
        own[_disc(own.shape, *places[0], stick)] = 0


def _places(chosen: NDArray[np.bool_], stick: int) -> tuple[Cell, ...]:
    """The chosen pixels of a picture that is wider by the disc's radius, the middlemost first."""
    rows, columns = chosen.nonzero()
    if not len(rows):
        return ()
    order = np.hypot(rows - rows.mean(), columns - columns.mean()).argsort(kind="stable")
    return tuple((int(columns[place]) - stick, int(rows[place]) - stick) for place in order)


def _beneath(labels: Labels, kind: int, stick: int) -> NDArray[np.float32]:
    """How many pixels under a disc cannot lie over a point of that kind: infinite where any is black.

    Limbs and earlier points can: those of a person who is drawn later. Pixels as in `_under_disc`.
    """
    earlier = ((labels >= 0) & (labels < kind)) | ((labels >= len(BODY)) & (labels != OTHER))
    black = _under_disc((labels == BLACK).astype(np.float32), stick)
    return np.where(black > 0, np.inf, _under_disc(earlier.astype(np.float32), stick)).astype(np.float32)


def _under_disc(values: NDArray[np.float32], stick: int) -> NDArray[np.float32]:
    """The sum under a disc around each pixel, of a picture that is wider by the disc's radius on all sides."""
    wide = cv2.copyMakeBorder(values, stick, stick, stick, stick, cv2.BORDER_CONSTANT, value=0)
    kernel = _disc((2 * stick + 1, 2 * stick + 1), stick, stick, stick).astype(np.float32)
    summed: NDArray[np.float32] = np.rint(cv2.filter2D(wide, -1, kernel, borderType=cv2.BORDER_CONSTANT))
    return summed


def _disc(shape: tuple[int, ...], x: int, y: int, radius: int) -> NDArray[np.bool_]:
    """A disc as it is drawn."""
    canvas = np.zeros(shape, np.uint8)
    cv2.circle(canvas, (x, y), radius, 1, -1)
    return canvas > 0


def _nearest(pixels: Pixels, colours: Sequence[tuple[int, int, int]]) -> NDArray[np.int64]:
    """The place H×W of the nearest of some colours; -1 where none is near."""
    packed = pixels.astype(np.int64) @ (65536, 256, 1)
    seen, places = np.unique(packed, return_inverse=True)
    values = np.stack([seen >> 16, seen >> 8 & 255, seen & 255], 1)
    best = np.full(len(seen), TOLERANCE + 1)
    nearest = np.full(len(seen), -1)
    for place, colour in enumerate(colours):
        far = np.abs(values - colour).max(1)
        nearest, best = np.where(far < best, place, nearest), np.minimum(far, best)
    spread: NDArray[np.int64] = nearest[places.reshape(packed.shape)]
    return spread
