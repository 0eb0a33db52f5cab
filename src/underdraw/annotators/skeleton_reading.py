"""The way back: the keypoints of bodies in a drawn skeleton.

Its discs are the points; the limbs say whose they are. Where a disc is hidden in part or wholly, the body is drawn
again with each place that it may have, and the one that looks most like the drawing is it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import hypot

import cv2
import numpy as np

from underdraw.annotators.keypoints import ABSENT, BODY, Person, Point, Points, Poses
from underdraw.annotators.skeleton import DOTS, JOINT, LIMBS, STICK, Pixels, stick_between, thinned
from underdraw.annotators.skeleton_discs import (
    BLACK,
    SMALLEST,
    Disc,
    Labels,
    discs_of,
    labels_of,
    may_be_hidden,
    middle,
)

__all__ = ["decode"]

Body = dict[int, Disc]
"""The discs of one person by their places in the body."""

GAP = 0.1
"""Largest share of a limb's middle that may be black: its ends are known to half a pixel only."""
SOME, MOST = 0.1, 0.8
"""How much must show of a limb, or of a point, so that a body is believed."""
SWEEPS = 2
"""How often all points of a body are settled in turn."""


def decode(pixels: Pixels, stick: int | None = None) -> Poses:
    """The bodies in a skeleton H×W×3 that was drawn with that stick width, with points to about half a pixel.

    stick: by default the usual one, and where that finds nobody the thinner one of small drawings. Hands and faces are
    not read. A point that is wholly hidden is found where one of its limbs shows.
    """
    if stick is None:
        usual = decode(pixels, STICK)
        thin = thinned(STICK, (pixels.shape[1], pixels.shape[0]))
        return usual if usual.people or thin == STICK else decode(pixels, thin)
    labels = labels_of(pixels)
    found = [list(discs_of(labels, kind, stick)) for kind in range(len(BODY))]
    people = [Person(_settled(labels, body, stick)) for body in _bodies(labels, found, stick)]
    return Poses(tuple(people), (pixels.shape[1], pixels.shape[0]))


def _bodies(labels: Labels, found: Sequence[Sequence[Disc]], stick: int) -> list[Body]:
    """The discs by person: joined where a limb lies between them, the clearest limbs first."""
    bodies: list[Body] = [{disc.kind: disc} for discs in found for disc in discs]
    for _, first, second in sorted(_limbs(labels, found, stick), key=lambda limb: -limb[0]):
        _join(bodies, first, second)
    for _, first, second in sorted(_neighbours(bodies), key=lambda pair: pair[0]):
        _join(bodies, first, second, apart=True)
    return [body for body in bodies if _is_believed(labels, body, stick)]


def _is_believed(labels: Labels, body: Body, stick: int) -> bool:
    """Whether a body is one: one of its limbs shows, or a point almost wholly. Hands have neither.

    Their bones have some of the colours of points, their joints that of the left knee.
    """
    if any(disc.shown > MOST and DOTS[disc.kind] != JOINT for disc in body.values()):
        return True
    limbs = [(limb, body[start], body[end]) for limb, (start, end) in enumerate(LIMBS) if {start, end} <= body.keys()]
    return any((_seen(labels, limb, one.point, two.point, stick) or 0.0) > SOME for limb, one, two in limbs)


def _join(bodies: list[Body], first: Disc, second: Disc, apart: bool = False) -> None:
    """Make two discs one person's, unless he has either point already.

    apart: unless a limb would then have been drawn between what both have.
    """
    start, end = (next(body for body in bodies if body.get(disc.kind) == disc) for disc in (first, second))
    would = any((one in start and two in end) or (one in end and two in start) for one, two in LIMBS)
    if start is end or start.keys() & end.keys() or (apart and would):
        return
    start |= end
    bodies[:] = [body for body in bodies if body is not end]


def _limbs(labels: Labels, found: Sequence[Sequence[Disc]], stick: int) -> Iterator[tuple[float, Disc, Disc]]:
    """Pairs of discs that a limb may join, with how much of it is seen."""
    for limb, (start, end) in enumerate(LIMBS):
        for first, second in product(found[start], found[end]):
            seen = _seen(labels, limb, first.point, second.point, stick)
            if seen is not None:
                yield seen, first, second


def _seen(labels: Labels, limb: int, first: Point, second: Point, stick: int) -> float | None:
    """How well a limb's middle shows: the share in its colour, or minus its length where it is hidden; None: black."""
    polygon = stick_between(_towards(first, second), _towards(second, first), max(1, stick // 2))
    left, top = polygon.min(0)
    canvas = np.zeros((*(polygon.max(0) - (left, top) + 1)[::-1],), np.uint8)
    cv2.fillConvexPoly(canvas, polygon - (left, top), 1)
    rows, columns = canvas.nonzero()
    rows, columns = rows + top, columns + left
    inside = (rows >= 0) & (rows < labels.shape[0]) & (columns >= 0) & (columns < labels.shape[1])
    under = labels[rows[inside], columns[inside]]
    if not under.size or (under == BLACK).mean() > GAP:
        return None
    share = float((under == len(BODY) + limb).mean())
    return share or -hypot(first[0] - second[0], first[1] - second[1])


def _towards(start: Point, end: Point) -> Point:
    """The point a tenth of the way on."""
    return 0.9 * start[0] + 0.1 * end[0], 0.9 * start[1] + 0.1 * end[1], start[2]


def _neighbours(bodies: Sequence[Body]) -> Iterator[tuple[float, Disc, Disc]]:
    """Pairs of bodies that no limb joins and that may be parts of one, with how far they are from each other."""
    for place, body in enumerate(bodies):
        for other in bodies[:place]:
            far, first, second = min(
                ((_distance(one, two), one, two) for one, two in product(body.values(), other.values())),
                key=lambda pair: pair[0],
            )
            if far < max(_size(body), _size(other)):
                yield far, first, second


def _distance(first: Disc, second: Disc) -> float:
    return hypot(first.point[0] - second.point[0], first.point[1] - second.point[1])


def _size(body: Body) -> float:
    return max(_distance(one, two) for one, two in product(body.values(), body.values()))


def _settled(labels: Labels, body: Body, stick: int) -> Points:
    """The points of a body, those in doubt where the body drawn again looks most like the drawing."""
    points = [body[kind].point if kind in body else ABSENT for kind in range(len(BODY))]
    view = _View.around(labels, points, stick)
    choices = {kind: [middle(cell) for cell in disc.places] for kind, disc in body.items() if len(disc.places) > 1}
    for kind in set(range(len(BODY))) - body.keys():
        if view.lacks(kind, points):
            choices[kind] = [ABSENT, *view.hidden(kind)]
    for kind in [kind for _ in range(SWEEPS) for kind in sorted(choices)]:
        points[kind] = view.best(kind, choices[kind], points)
    return tuple(points)


@dataclass(frozen=True)
class _View:
    """The part of a drawing's labels that a body lies in, with its first pixel."""

    labels: Labels
    left: int
    top: int
    stick: int

    @classmethod
    def around(cls, labels: Labels, points: Sequence[Point], stick: int) -> "_View":
        there = np.array([point[:2] for point in points if point[2] > 0])
        left, top = np.maximum(there.min(0).astype(int) - 4 * stick, 0)
        right, bottom = there.max(0).astype(int) + 4 * stick
        return cls(labels[top:bottom, left:right], int(left), int(top), stick)

    def lacks(self, kind: int, points: Sequence[Point]) -> bool:
        """Whether a point that is not there may be hidden: one of its limbs shows, or it is between two that are."""
        drawn = self.draw(points)
        return _is_between(kind, points) or any(
            int(((self.labels == len(BODY) + limb) & (drawn != self.labels)).sum()) >= SMALLEST
            for limb, ends in enumerate(LIMBS)
            if kind in ends and points[sum(ends) - kind][2] > 0
        )

    def hidden(self, kind: int) -> list[Point]:
        """Where a point may be that does not show."""
        places = may_be_hidden(self.labels, kind, self.stick)
        return [middle((x + self.left, y + self.top)) for x, y in places]

    def best(self, kind: int, places: Sequence[Point], points: Sequence[Point]) -> Point:
        """Of the places that a point may have, the one with which the body looks most like the drawing."""
        wrong = [min(self.wrong(kind, each, points) for each in _within(place)) for place in places]
        needed = 0 if _is_between(kind, points) else SMALLEST
        if places[0] is ABSENT and wrong[0] < min(wrong[1:], default=np.inf) + needed:
            return ABSENT
        best = min(count for place, count in zip(places, wrong, strict=True) if place is not ABSENT)
        equal = np.array([place for place, count in zip(places, wrong, strict=True) if count == best and place[2]])
        chosen = equal[np.hypot(*(equal - equal.mean(0))[:, :2].T).argmin()]
        return float(chosen[0]), float(chosen[1]), float(chosen[2])

    def wrong(self, kind: int, place: Point, points: Sequence[Point]) -> int:
        """How many pixels of the drawing a body gets wrong that has one point in that place."""
        return int((self.draw([*points[:kind], place, *points[kind + 1 :]]) != self.labels).sum())

    def draw(self, points: Sequence[Point]) -> Labels:
        """The labels of a body."""
        canvas = np.full(self.labels.shape, BLACK, np.int16)
        local = [(x - self.left, y - self.top, seen) for x, y, seen in points]
        for limb, (start, end) in enumerate(LIMBS):
            if local[start][2] > 0 and local[end][2] > 0:
                cv2.fillConvexPoly(canvas, stick_between(local[start], local[end], self.stick), len(BODY) + limb)
        for kind, (x, y, seen) in enumerate(local):
            if seen > 0:
                cv2.circle(canvas, (int(x), int(y)), self.stick, kind, -1)
        return canvas


def _is_between(kind: int, points: Sequence[Point]) -> bool:
    """Whether a point joins others and all of them are there: one that is missing can only be hidden."""
    ends = [sum(limb) - kind for limb in LIMBS if kind in limb]
    return len(ends) > 1 and all(points[end][2] > 0 for end in ends)


def _within(place: Point) -> list[Point]:
    """Points of the same pixel: limbs are rounded anew, so it matters where in its pixel an end lies."""
    x, y, seen = place
    return [(x + across, y + down, seen) for across in (-0.3, 0.3) for down in (-0.3, 0.3)] if seen else [place]
