"""People as keypoints: OpenPose's body of 18 points, hands of 21, a face of 70."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from underdraw import images

__all__ = ["ABSENT", "BODY", "FACE", "HAND", "Person", "Point", "Points", "Poses"]

Point = tuple[float, float, float]
"""x and y (from the left and from the top; pixels, unless a canvas says otherwise) and a confidence: 0 is not there."""
Points = tuple[Point, ...]
ABSENT: Point = (0.0, 0.0, 0.0)
"""A point that is not there."""

BODY = (
    "nose",
    "neck",
    "right shoulder",
    "right elbow",
    "right wrist",
    "left shoulder",
    "left elbow",
    "left wrist",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "right eye",
    "left eye",
    "right ear",
    "left ear",
)
"""OpenPose's body of 18 in its order; right and left are the person's own."""
HAND = 21
"""Points of a hand: the wrist, then four of each finger from the thumb on, from the palm to the tip."""
FACE = 70
"""Points of a face: jaw 17, brows 2 × 5, nose 4 + 5, eyes 2 × 6, lips 12 + 8 (as iBUG's 68), pupils 2."""

UNSTATED = 512
"""Side of the canvas in pixels where keypoints are shares of a canvas of which nothing is known."""
STEP = 64
"""A canvas that has to be guessed from its keypoints is a multiple of this."""


@dataclass(frozen=True)
class Person:
    """One person's points; a hand or a face that was not looked for, or not found, is empty."""

    body: Points = ()
    left_hand: Points = ()
    right_hand: Points = ()
    face: Points = ()

    def __post_init__(self) -> None:
        for points, count in ((self.body, len(BODY)), (self.left_hand, HAND), (self.right_hand, HAND)):
            assert len(points) in (0, count)
        assert len(self.face) in (0, FACE)

    @property
    def points(self) -> Points:
        """All that are there."""
        return tuple(point for point in (*self.body, *self.left_hand, *self.right_hand, *self.face) if point[2] > 0)

    def each(self, change: Callable[[Point], Point]) -> "Person":
        """With every point that is there changed."""

        def all_of(points: Points) -> Points:
            return tuple(change(point) if point[2] > 0 else point for point in points)

        return Person(all_of(self.body), all_of(self.left_hand), all_of(self.right_hand), all_of(self.face))


@dataclass(frozen=True)
class Poses:
    """The people on one canvas.

    canvas: its (width, height) in the unit of the points, in pixels as a rule; (1, 1): the points are shares of a
    canvas of any size and proportions; None: the points are pixels of a canvas of which nothing is known.
    """

    people: tuple[Person, ...] = ()
    canvas: tuple[float, float] | None = None

    @property
    def relative(self) -> bool:
        """Whether the points are shares of any canvas."""
        return self.canvas == (1, 1)

    @property
    def extent(self) -> tuple[int, int]:
        """The (width, height) of the canvas in pixels; where it is not known, of one that holds everybody."""
        if self.relative:
            return UNSTATED, UNSTATED
        if self.canvas is not None:
            return max(images.MIN_SIDE, round(self.canvas[0])), max(images.MIN_SIDE, round(self.canvas[1]))
        spots = [point for person in self.people for point in person.points] or [(0.0, 0.0, 1.0)]
        across, down = max(x for x, _, _ in spots), max(y for _, y, _ in spots)
        return STEP * max(1, int(across // STEP) + 1), STEP * max(1, int(down // STEP) + 1)

    def on(self, size: tuple[int, int]) -> "Poses":
        """In pixels of a drawing of `size` = (width, height).

        The canvas's centre is cut to the drawing's proportions, as `images.crop` cuts a picture, and then scaled.
        Shares are stretched over the drawing; pixels of an unknown canvas are taken to be the drawing's.
        """
        if self.canvas is None or self.canvas == size:
            return replace(self, canvas=size)
        width, height = self.canvas
        scale = min(width / size[0], height / size[1])
        window = (width, height) if self.relative else (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        left, top = (width - window[0]) // 2, (height - window[1]) // 2
        across, down = size[0] / window[0], size[1] / window[1]

        def move(point: Point) -> Point:
            return (point[0] - left) * across, (point[1] - top) * down, point[2]

        return Poses(tuple(person.each(move) for person in self.people), size)

    def shares(self) -> "Poses":
        """With points as shares of the canvas."""
        width, height = self.canvas or self.extent
        people = tuple(person.each(lambda at: (at[0] / width, at[1] / height, at[2])) for person in self.people)
        return Poses(people, (1, 1))
