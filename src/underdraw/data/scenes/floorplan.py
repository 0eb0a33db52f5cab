"""Placing things so that nothing intersects: boxes turned about the vertical, tested by separating axes."""

import math
from dataclasses import dataclass, field

from underdraw.data.scenes.parts import Camera, Thing, Vector, plus, rotation, turn

GAP = 0.015
"""Free space kept between neighbours, metres."""


@dataclass(frozen=True)
class Bounds:
    """An upright box: centre in plan, half sizes, yaw in degrees, and its range of heights."""

    x: float
    z: float
    half: tuple[float, float]
    yaw: float
    low: float
    high: float

    def axes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The box's own x and z directions in plan."""
        c, s = math.cos(math.radians(self.yaw)), math.sin(math.radians(self.yaw))
        return (c, -s), (s, c)

    def reach(self, axis: tuple[float, float]) -> float:
        """Half length of the box's shadow on an axis."""
        across, along = self.axes()
        return self.half[0] * abs(across[0] * axis[0] + across[1] * axis[1]) + self.half[1] * abs(
            along[0] * axis[0] + along[1] * axis[1]
        )


def overlap(a: Bounds, b: Bounds, gap: float = GAP) -> bool:
    """Whether two boxes come nearer than `gap` in plan while their heights overlap."""
    if a.low >= b.high - 1e-6 or b.low >= a.high - 1e-6:
        return False
    apart = (b.x - a.x, b.z - a.z)
    for axis in (*a.axes(), *b.axes()):
        if abs(apart[0] * axis[0] + apart[1] * axis[1]) > a.reach(axis) + b.reach(axis) + gap:
            return False
    return True


def _distance_to(box: Bounds, x: float, z: float) -> float:
    """Distance in plan from a point to a box, 0 inside."""
    (ax, az), (bx, bz) = box.axes()
    dx, dz = x - box.x, z - box.z
    return math.hypot(max(abs(dx * ax + dz * az) - box.half[0], 0.0), max(abs(dx * bx + dz * bz) - box.half[1], 0.0))


def bounds_of(thing: Thing, position: Vector, yaw: float) -> Bounds:
    """The box of a thing standing at `position`."""
    return Bounds(position[0], position[2], thing.half, yaw, position[1], position[1] + thing.height)


@dataclass
class Floorplan:
    """The things placed so far in a room given by its inner corners, seen by a camera."""

    low: Vector
    high: Vector
    camera: Camera
    things: list[Thing] = field(default_factory=list)
    taken: list[Bounds] = field(default_factory=list)
    reserved: list[Bounds] = field(default_factory=list)
    focus: Vector | None = None

    def inside(self, box: Bounds) -> bool:
        """Whether the box lies within the walls and under the ceiling."""
        x, z = box.reach((1.0, 0.0)), box.reach((0.0, 1.0))
        return (
            self.low[0] <= box.x - x
            and box.x + x <= self.high[0]
            and self.low[2] <= box.z - z
            and box.z + z <= self.high[2]
            and box.high <= self.high[1]
        )

    def blocks_view(self, box: Bounds) -> bool:
        """Whether the box stands before the lens or between the camera and the focus."""
        eye = self.camera.position
        dx, dz = box.x - eye[0], box.z - eye[2]
        distance = math.hypot(dx, dz)
        near = _distance_to(box, eye[0], eye[2])
        if box.high > 0.1 and near < (0.4 if box.high < 0.68 * eye[1] else 0.95):
            return True
        if self.focus is None or box.high < 0.35 * eye[1]:
            return False
        to_focus = math.hypot(self.focus[0] - eye[0], self.focus[2] - eye[2])
        if distance > to_focus - 0.15:
            return False
        angle = abs(math.atan2(dx, -dz) - math.atan2(self.focus[0] - eye[0], eye[2] - self.focus[2]))
        return angle < 0.13 + math.atan2(max(box.half), max(near, 0.3)) and box.low < 1.5

    def clear(self, box: Bounds, ignore: tuple[int, ...] = ()) -> bool:
        """Whether the box meets nothing that was placed."""
        return not any(overlap(box, other) for index, other in enumerate(self.taken) if index not in ignore)

    def free(self, box: Bounds, ignore: tuple[int, ...] = ()) -> bool:
        """Whether the box fits: inside the room, clear of all others and of the view."""
        return self.clear(box, ignore) and self.inside(box) and not self.blocks_view(box)

    def add(self, thing: Thing, position: Vector, yaw: float, on: int | None = None, room: Bounds | None = None) -> int:
        """Place a thing without asking; returns its index. `room` is what it takes, if that is not its own box."""
        self.things.append(thing.placed(position, yaw, on))
        self.taken.append(room or bounds_of(thing, position, yaw))
        return len(self.things) - 1

    def reserve(self, box: Bounds) -> None:
        """Keep a box free (the room of legs before a seat) without a thing in it."""
        self.reserved.append(box)

    def fits(self, thing: Thing, position: Vector, yaw: float, ignore: tuple[int, ...] = ()) -> bool:
        """Whether the thing may stand at `position`."""
        box = bounds_of(thing, position, yaw)
        return self.free(box, ignore) and not any(overlap(box, other, 0.0) for other in self.reserved)

    def surface_point(self, parent: int, offset: Vector) -> Vector:
        """A point of a placed thing's own frame in room coordinates."""
        thing = self.things[parent]
        return plus(turn(rotation("y", thing.yaw), offset), thing.position)
