"""Skeletons: keypoints drawn as OpenPose's annotator in ControlNet 1.1 draws them."""

import colorsys
from math import atan2, degrees

import cv2
import numpy as np
from numpy.typing import NDArray

from underdraw.annotators.keypoints import Person, Point, Points, Poses

__all__ = [
    "DOTS",
    "LIMBS",
    "PALETTE",
    "STICK",
    "STICKS",
    "Pixels",
    "draw_person",
    "draw_poses",
    "stick_between",
    "thinned",
]

Pixels = NDArray[np.uint8]
"""H×W×3 RGB bytes."""
Colour = tuple[int, int, int]

LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7)),  # shoulders, arms
    *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),  # sides, legs
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),  # head
)
"""The limbs between two points of the body of 18, in the order in which they are drawn."""
DOTS: tuple[Colour, ...] = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
"""The colours of the points of the body: the circle of hues in eighteen steps."""
STICKS: tuple[Colour, ...] = tuple(tuple(int(value * 0.6) for value in dot) for dot in DOTS[: len(LIMBS)])  # type: ignore[misc]
"""The colours of the limbs: as those of the points, darkened."""
BONES = tuple((4 * finger + joint if joint else 0, 4 * finger + joint + 1) for finger in range(5) for joint in range(4))
"""The bones of a hand, from the wrist to the tips, finger by finger."""
HUES: tuple[Colour, ...] = tuple(
    tuple(round(255 * value) for value in colorsys.hsv_to_rgb(place / len(BONES), 1.0, 1.0))  # type: ignore[misc]
    for place in range(len(BONES))
)
"""The colours of the bones of a hand."""
JOINT: Colour = (0, 0, 255)
"""The points of a hand."""
MARK: Colour = (255, 255, 255)
"""The points of a face."""
PALETTE: tuple[Colour, ...] = tuple(dict.fromkeys((*DOTS, *STICKS, *HUES, JOINT, MARK)))
"""Every colour of a drawn skeleton."""
STICK = 4
"""Half the width of a limb and the radius of a point, in pixels, whatever the size of the drawing: above `SMALL`."""
SMALL = 256
"""Drawings with a shorter side below this get thinner sticks in proportion, or bodies would be blots."""


def draw_poses(
    poses: Poses,
    size: tuple[int, int],
    *,
    body: bool = True,
    hands: bool = True,
    face: bool = True,
    stick: int = STICK,
) -> Pixels:
    """The people on a black canvas of `size` = (width, height), each over the ones before.

    stick: half the width of a limb and the radius of a point in pixels; hands and faces are drawn in proportion.
    """
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    for person in poses.on(size).people:
        shown = Person(
            person.body if body else (),
            person.left_hand if hands else (),
            person.right_hand if hands else (),
            person.face if face else (),
        )
        draw_person(canvas, shown, stick)
    return canvas


def draw_person(canvas: Pixels, person: Person, stick: int = STICK) -> None:
    """Draw one person, whose points are pixels, over what the canvas shows."""
    _draw_body(canvas, _published(person.body, canvas), stick)
    for hand in (person.left_hand, person.right_hand):
        _draw_hand(canvas, _published(hand, canvas), stick)
    for point in _published(person.face, canvas):
        if _is_inside(point):
            cv2.circle(canvas, _cell(point), max(1, round(0.75 * stick)), MARK, -1)


def thinned(stick: int, size: tuple[int, int]) -> int:
    """Half the width of a limb in a drawing of `size` = (width, height)."""
    return max(1, round(stick * min(1.0, min(size) / SMALL)))


def stick_between(first: Point, second: Point, stick: int = STICK) -> NDArray[np.int32]:
    """The polygon of a limb: an ellipse between its points, all of it rounded to whole pixels and degrees."""
    (x0, y0, _), (x1, y1, _) = first, second
    length: float = ((y0 - y1) ** 2 + (x0 - x1) ** 2) ** 0.5
    angle = int(degrees(atan2(y0 - y1, x0 - x1)))
    middle = int((x0 + x1) / 2), int((y0 + y1) / 2)
    return np.asarray(cv2.ellipse2Poly(middle, (int(length / 2), stick), angle, 0, 360, 1), np.int32)


def _draw_body(canvas: Pixels, body: Points, stick: int) -> None:
    for (start, end), colour in zip(LIMBS if body else (), STICKS, strict=False):
        if body[start][2] > 0 and body[end][2] > 0:
            cv2.fillConvexPoly(canvas, stick_between(body[start], body[end], stick), colour)
    for point, colour in zip(body, DOTS, strict=False):
        if point[2] > 0:
            cv2.circle(canvas, _cell(point), stick, colour, -1)


def _draw_hand(canvas: Pixels, hand: Points, stick: int) -> None:
    for (start, end), colour in zip(BONES if hand else (), HUES, strict=False):
        if _is_inside(hand[start]) and _is_inside(hand[end]):
            cv2.line(canvas, _cell(hand[start]), _cell(hand[end]), colour, max(1, stick // 2))
    for point in hand:
        if _is_inside(point):
            cv2.circle(canvas, _cell(point), stick, JOINT, -1)


def _published(points: Points, canvas: Pixels) -> Points:
    """Rounded as the published code rounds them, which holds points as shares of the canvas."""
    height, width = canvas.shape[:2]
    return tuple((x / width * width, y / height * height, seen) for x, y, seen in points)


def _cell(point: Point) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _is_inside(point: Point) -> bool:
    """Hands and faces leave out what lies at the upper or left edge: there the published code keeps what is missing."""
    across, down = _cell(point)
    return point[2] > 0 and across > 0 and down > 0
