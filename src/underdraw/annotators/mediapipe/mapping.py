"""MediaPipe's points as OpenPose's: body 33 → 18, hand 21 → 21, mesh of the face 468 → 70."""

import numpy as np

from underdraw.annotators.keypoints import ABSENT, Point, Points
from underdraw.annotators.mediapipe.bodies import Seen
from underdraw.annotators.mediapipe.details import Detail
from underdraw.annotators.mediapipe.squares import Spots

__all__ = ["body_of", "face_of", "hand_of"]

BODY = (
    (0,),
    (11, 12),
    (12,),
    (14,),
    (16,),
    (11,),
    (13,),
    (15,),
    (24,),
    (26,),
    (28,),
    (23,),
    (25,),
    (27,),
    (5,),
    (2,),
    (8,),
    (7,),
)
"""Of OpenPose's 18 points, those of MediaPipe's body whose middle each is: the neck is between the shoulders."""
OVAL = (
    *(127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
    *(377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356),
)
"""The mesh's outline from the right ear over the chin to the left ear; the jaw is seventeen points evenly along it."""
JAW = 17
FEATURES = (
    *((70, 46), (63, 53), (105, 52), (66, 65), (107, 55)),  # brows: between their upper and lower lines
    *((336, 285), (296, 295), (334, 282), (293, 283), (300, 276)),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),  # nose: down its bridge, and below it
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91),  # lips, outside
    *(78, 81, 13, 311, 308, 402, 14, 178),  # lips, inside
    *(468, 469),  # pupils
)
"""Which point of the mesh (and of the pupils behind it), or the middle of which two, the others are: 17 to 69."""


def body_of(seen: Seen, width: int, height: int, least: float) -> Points:
    """The body of 18: points outside the picture, or less visible than `least`, are not there."""
    return tuple(_joint(seen, list(sources), width, height, least) for sources in BODY)


def _joint(seen: Seen, sources: list[int], width: int, height: int, least: float) -> Point:
    x, y = seen.spots[sources].mean(0)
    visible = float(seen.visibility[sources].min())
    return (float(x), float(y), visible) if visible >= least and 0 <= x < width and 0 <= y < height else ABSENT


def hand_of(hand: Detail | None) -> Points:
    """The hand of 21, whose order both share; empty where there is none."""
    return () if hand is None else _points(hand.spots, hand.presence)


def face_of(face: Detail | None) -> Points:
    """The face of 70; empty where there is none."""
    if face is None:
        return ()
    features = [face.spots[np.atleast_1d(place)].mean(0) for place in FEATURES]
    return _points(np.concatenate([_jaw(face.spots[list(OVAL)]), features]), face.presence)


def _jaw(outline: Spots) -> Spots:
    """Points evenly along a line of points."""
    way = np.append(0.0, np.hypot(*np.diff(outline, axis=0).T).cumsum())
    stops = np.linspace(0, way[-1], JAW)
    return np.stack([np.interp(stops, way, values) for values in outline.T], 1)


def _points(spots: Spots, presence: float) -> Points:
    return tuple((float(x), float(y), presence) for x, y in spots)
