"""People in a photograph: proposed by detectors on tiles of several sizes, looked at closely, told apart, agreed on.

MediaPipe itself looks for one near person in the whole picture. Here tiles find far ones, faces propose what the
detector of people overlooks, each proposal is looked at again where its own points say that the person is, and what
several proposals say of one person is averaged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from underdraw.annotators.mediapipe.detector import FACES, PEOPLE, sigmoid
from underdraw.annotators.mediapipe.models import Floats, network
from underdraw.annotators.mediapipe.squares import Photograph, Spots, Square, between

__all__ = ["POINTS", "SEARCHES", "Seen", "find_bodies"]

POINTS = 33
"""Points of MediaPipe's body. The network gives more: 33 and 34 say where to look next."""
JOINTS = (0, 2, 5, 7, 8, *range(11, 17), *range(23, 29))
"""Those that tell people apart: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles."""
SEARCHES = {"quick": (1.0, 0.6), "usual": (1.0, 0.6, 0.36, 0.22)}
"""Sides of the tiles as shares of the longer side of the photograph."""
OVERLAP = 0.5
"""Least share of a tile that the next one sees again."""
LOOKS = 3
"""How often a person is looked at; each look starts where the last one says that the person is."""
SETTLED = 0.02
"""A look that differs by less of its side from the one before is the last."""
SMALLEST = 10.0
"""Side in pixels of the smallest square that is looked at."""

LEAST_PERSON, LEAST_FACE = 0.35, 0.7
"""Scores with which a detection is a proposal."""
LEAST_PRESENCE = 0.5
"""How sure the closer look must be that somebody is there."""
LONELY = 0.2
"""By how much better somebody must look who was proposed only once."""
ALIKE = 0.4
"""Two looks that agree by more are at one person."""
WIDTH = 0.12
"""How far points of one person may lie apart, as a share of his size: where the agreement falls to 1/e."""
VOICES = 5
"""How many of the best looks at a person are averaged."""
INSIDE, POORER = 0.7, 0.8
"""Who lies within a better one by more of his points, and is poorer than this share of his quality, is no person."""
CLEAR = 0.4
"""Heat from which a point counts as seen, where bodies are compared."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A look at a person: points (33 or more)×2 in pixels, how visible and how warm 33 are, and the presence."""

    spots: Spots
    visibility: NDArray[np.float64]
    heat: NDArray[np.float64]
    presence: float

    @property
    def quality(self) -> float:
        """How much this looks like a person: the presence times the mean heat of the joints."""
        return self.presence * float(self.heat[list(JOINTS)].mean())

    @property
    def joints(self) -> Spots:
        """The points 17×2 that tell people apart."""
        return self.spots[list(JOINTS)]

    @property
    def size(self) -> float:
        """The longer extent of the joints in pixels."""
        return float(np.ptp(self.joints, 0).max()) + 1e-6


def find_bodies(photograph: Photograph, search: str, surety: float) -> list[Seen]:
    """The people in a photograph whose quality is at least `surety`, the clearest first. search: one of `SEARCHES`."""
    looks = [seen for start in _proposals(photograph, SEARCHES[search]) for seen in _closely(photograph, start)]
    found: list[Seen] = []
    for group in _groups(looks):
        best = group[0].quality
        credible = best >= (surety if len(group) > 1 else surety + LONELY)
        if credible and not any(_is_part(group[0], other) for other in found):
            found.append(_agreed(group[:VOICES]))
    return found


def _proposals(photograph: Photograph, shares: Sequence[float]) -> Iterator[Square]:
    """Where people may be."""
    for tile in _tiles(photograph.width, photograph.height, shares):
        for person in PEOPLE(photograph, tile, LEAST_PERSON):
            yield between(person.spots[0], person.spots[1], 1.25)
        for face in FACES(photograph, tile, LEAST_FACE):
            yield _below(face.corners)


def _tiles(width: int, height: int, shares: Sequence[float]) -> Iterator[Square]:
    for share in shares:
        side = max(width, height) * share
        for x, y in product(_middles(width, side), _middles(height, side)):
            yield Square(x, y, side)


def _middles(length: int, side: float) -> list[float]:
    """Middles of tiles along a side of the photograph."""
    if length <= side:
        return [length / 2]
    count = ceil((length - side) / (side * (1 - OVERLAP))) + 1
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, count)]


def _below(face: Spots) -> Square:
    """Where somebody with that face (its corners) stands or sits, if upright."""
    (x, y), width = face.mean(0), face[1, 0] - face[0, 0]
    return Square(float(x), float(y + 2.7 * width), float(9 * width))


def _closely(photograph: Photograph, start: Square) -> Iterator[Seen]:
    """The last of some looks at a person, if somebody is there."""
    square = start
    for _ in range(LOOKS):
        seen = _look(photograph, square)
        following = between(seen.spots[POINTS], seen.spots[POINTS + 1], 1.25)
        if seen.presence < 0.1 or following.side < SMALLEST or following.near(square, SETTLED):
            break
        square = following
    if seen.presence > LEAST_PRESENCE:
        yield seen


def _look(photograph: Photograph, square: Square) -> Seen:
    """What the network of bodies says of a square."""
    net = network("pose_landmark_full.tflite")
    values, presence, _, heat, _ = net(photograph.cut(square, net.size))
    points = values.reshape(-1, 5)
    spots = _refined(points[:, :2].astype(np.float64) / net.size, heat)
    peaks = sigmoid(heat.reshape(-1, heat.shape[-1]).max(0))
    return Seen(square.place(spots), sigmoid(points[:, 3])[:POINTS], peaks[:POINTS], float(presence[0]))


def _refined(spots: Spots, heat: Floats) -> Spots:
    """Points N×2 in shares moved to the middle of the heat H×W×N within three cells around, where it is warm."""
    height, width = heat.shape[:2]
    moved = spots.copy()
    for place, (x, y) in enumerate(spots):
        column, row = int(x * width), int(y * height)
        if not (0 <= column < width and 0 <= row < height):
            continue
        left, top = max(0, column - 3), max(0, row - 3)
        warm = sigmoid(heat[top : row + 4, left : column + 4, place])
        if warm.max() >= 0.5:
            columns, rows = left + np.arange(warm.shape[1]), top + np.arange(warm.shape[0])
            moved[place] = (warm @ columns).sum() / width, (rows @ warm).sum() / height
            moved[place] /= warm.sum()
    return moved


def _groups(looks: Sequence[Seen]) -> list[list[Seen]]:
    """Looks by person, the best first in both."""
    groups: list[list[Seen]] = []
    for seen in sorted(looks, key=lambda each: -each.quality):
        same = next((group for group in groups if _agreement(group[0], seen) > ALIKE), None)
        if same is None:
            groups.append([seen])
        else:
            same.append(seen)
    return groups


def _agreement(first: Seen, second: Seen) -> float:
    """How well two looks agree on where the joints are: 1 fully, 0 not at all."""
    apart = np.hypot(*(first.joints - second.joints).T) / max(first.size, second.size)
    return float(np.exp(-((apart / WIDTH) ** 2)).mean())


def _is_part(seen: Seen, other: Seen) -> bool:
    """Whether a look is only at a part of somebody else: it lies within a clearer one."""
    low, high = _clear(other).min(0), _clear(other).max(0)
    margin = (high - low) / 10
    spots = _clear(seen)
    inside = float(((spots >= low - margin) & (spots <= high + margin)).all(1).mean())
    return inside > INSIDE and seen.quality < POORER * other.quality


def _clear(seen: Seen) -> Spots:
    """The joints that are seen well; all where these are few."""
    clear = seen.heat[list(JOINTS)] > CLEAR
    return seen.joints[clear] if clear.sum() > 3 else seen.joints


def _agreed(group: Sequence[Seen]) -> Seen:
    """The mean of several looks at one person, weighted by how warm each point is; with the best one's presence."""
    heat = np.stack([seen.heat for seen in group])
    weights = (heat + 0.01) * np.array([[seen.quality] for seen in group])
    spots = np.stack([seen.spots[:POINTS] for seen in group])
    mean = np.average(spots, 0, np.repeat(weights[..., None], 2, 2))
    visibility = np.stack([seen.visibility for seen in group]).mean(0)
    return Seen(mean, visibility, heat.mean(0), group[0].presence)
