"""Hands and faces of people whose bodies are known: where the body's points say, looked at more closely."""

from dataclasses import dataclass
from math import pi

import numpy as np

from underdraw.annotators.mediapipe.bodies import Seen
from underdraw.annotators.mediapipe.detector import sigmoid
from underdraw.annotators.mediapipe.models import network
from underdraw.annotators.mediapipe.squares import DOWN, RIGHT, Photograph, Spots, Square, around, between, turned

__all__ = ["Detail", "find_face", "find_hands"]

LOOKS = 2
"""How often a hand or face is looked at; the second look starts where the first says that it is. The surest counts."""
PRESENT = 0.5
"""How sure the network must be that it sees one."""
SMALLEST = 24.0
"""Side in pixels of the smallest square in which a hand or face is looked for."""
WRISTS = {"left": (15, 17, 19), "right": (16, 18, 20)}
"""In MediaPipe's body: a wrist, the knuckles of the little and of the index finger."""
PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""The points of a hand without the outer fingers: they say where it is."""
ALMOST = 0.25
"""Hands nearer to each other than this share of their size are one, seen twice."""
HEAD = range(11)
"""The points of MediaPipe's body that lie in the face."""
EYES = ((33, 133), (263, 362))
"""The outer and inner corner of the right and of the left eye in the mesh of the face."""


@dataclass(frozen=True, eq=False)
class Detail:
    """A hand (21×2) or the mesh of a face (468×2, then right and left pupil) in pixels, and how sure that is."""

    spots: Spots
    presence: float


def find_hands(photograph: Photograph, body: Seen) -> dict[str, Detail]:
    """Somebody's hands by "left" and "right", as far as they are seen."""
    hands = {side: hand for side in WRISTS if (hand := _hand(photograph, body, side)) is not None}
    if len(hands) == 2 and _are_one(hands["left"].spots, hands["right"].spots):
        side = max(hands, key=lambda each: hands[each].presence)
        return {side: hands[side]}
    return hands


def _hand(photograph: Photograph, body: Seen, side: str) -> Detail | None:
    wrist, little, index = body.spots[list(WRISTS[side])]
    knuckle = (2 * index + little) / 3
    square = between(knuckle, wrist, 1.0, DOWN).shifted(-0.1).scaled(2.7)
    if square.side < SMALLEST:
        return None
    net = network("hand_recrop.tflite")
    (palm,) = net(photograph.cut(square, net.size))
    middle, edge = square.place(palm.reshape(2, 2).astype(np.float64) / net.size)
    square = between(middle, edge, 1.0, DOWN).shifted(-0.1)
    net = network("hand_landmark_full.tflite")
    looks = []
    for _ in range(LOOKS):
        values, presence, *_ = net(photograph.cut(square, net.size))
        looks.append(
            Detail(square.place(values.reshape(21, 3)[:, :2].astype(np.float64) / net.size), float(presence[0]))
        )
        square = _palm(looks[-1].spots)
    best = max(looks, key=lambda look: look.presence)
    return best if best.presence >= PRESENT else None


def _palm(hand: Spots) -> Square:
    """Where a hand is, by its points: upright when its fingers point up."""
    fingers = (hand[6] + hand[14]) / 4 + hand[10] / 2
    angle = turned(hand[0], fingers, pi / 2)
    return around(hand[list(PALM)], angle, 1.0).shifted(-0.1).scaled(2.0)


def _are_one(first: Spots, second: Spots) -> bool:
    return bool(np.hypot(*(first - second).T).mean() < ALMOST * np.ptp(first, 0).max())


def find_face(photograph: Photograph, body: Seen) -> Detail | None:
    """Somebody's face, if it is seen."""
    right, left = body.spots[5], body.spots[2]
    square = around(body.spots[list(HEAD)], turned(right, left, RIGHT), 1.0).shifted(-0.1).scaled(2.0)
    if square.side < SMALLEST:
        return None
    net = network("face_landmark.tflite")
    looks = []
    for _ in range(LOOKS):
        values, logit = net(photograph.cut(square, net.size))
        mesh = square.place(values.reshape(-1, 3)[:, :2].astype(np.float64) / net.size)
        looks.append(Detail(mesh, float(sigmoid(logit.reshape(1))[0])))
        square = around(mesh, turned(mesh[33], mesh[263], RIGHT), 1.5)
    best = max(looks, key=lambda look: look.presence)
    if best.presence < PRESENT:
        return None
    pupils = [_pupil(photograph, best.spots, eye) for eye in (0, 1)]
    return Detail(np.concatenate([best.spots, pupils]), best.presence)


def _pupil(photograph: Photograph, mesh: Spots, eye: int) -> Spots:
    """The middle of an iris. The network knows right eyes; it is shown left ones mirrored."""
    outer, inner = mesh[list(EYES[eye])]
    first, second = (inner, outer) if eye else (outer, inner)
    square = around(np.stack([first, second]), turned(first, second, RIGHT), 2.3)
    net = network("iris_landmark.tflite")
    cut = photograph.cut(square, net.size)
    _, iris = net(np.ascontiguousarray(cut[:, ::-1]) if eye else cut)
    across, down = iris[:2].astype(np.float64) / net.size
    placed: Spots = square.place(np.array([[1 - across if eye else across, down]]))[0]
    return placed
