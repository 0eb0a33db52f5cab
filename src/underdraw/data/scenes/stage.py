"""The stage on which a scene is set: the empty room around the camera, and the ways of putting things into it."""

import math
from random import Random

from underdraw.data.scenes.floorplan import Bounds, Floorplan
from underdraw.data.scenes.parts import Camera, Figure, Matrix, Thing, Vector, Window, multiply, plus, rotation

YAWS = {"back": 0.0, "left": 90.0, "right": -90.0, "front": 180.0}
"""How a thing turns its back to a wall; the camera stands near the front wall and looks to the back."""


class Stage:
    """A room in the making.

    rng: all chance of the scene. hero: the place on the floor that the picture is about. lit: whether a lamp burns.
    occupied: the index of a thing that somebody sits on.
    """

    window: Window

    def __init__(self, rng: Random, theme: str, hour: str) -> None:
        self.rng, self.theme, self.hour = rng, theme, hour
        self.lit = hour == "night" or (hour == "sunset" and rng.random() < 0.4)
        self.figures: list[Figure] = []
        self.occupied: int | None = None
        distance = self._distance()
        self.hero: Vector = (rng.uniform(-0.5, 0.5) * (0.6 if theme == "still life" else 1.0), 0.0, -distance)
        self.plan = self._shell(distance)

    def _distance(self) -> float:
        """How far from the camera the hero stands, metres."""
        rng = self.rng
        spans = {"still life": (1.15, 1.7), "solids": (1.5, 2.3)}
        distance = rng.uniform(*spans.get(self.theme, (2.1, 3.1)))
        return rng.uniform(2.5, 3.3) if self.theme in ("person", "bedroom") else distance

    def _shell(self, distance: float) -> Floorplan:
        """Room corners around the camera, and the camera looking at the hero's place."""
        rng, hero, close = self.rng, self.hero, self.theme == "still life"
        behind, beyond = rng.uniform(0.5, 1.4), rng.uniform(0.9, 2.0)
        if close:
            beyond = rng.uniform(0.9, 2.2)
        high = rng.uniform(2.35, 2.85)
        low: Vector = (-rng.uniform(1.5, 2.7), 0.0, -distance - beyond)
        top: Vector = (rng.uniform(1.5, 2.7), high, behind)
        eye: Vector = (0.0, rng.uniform(1.15, 1.75), 0.0)
        aim = {"still life": 0.78, "solids": 0.32, "person": 0.85}.get(self.theme, 0.62)
        target = (hero[0] + rng.uniform(-0.25, 0.25), aim + rng.uniform(-0.08, 0.15), hero[2])
        if close:
            eye = (0.0, rng.uniform(1.1, 1.5), 0.0)
            target = (hero[0] + rng.uniform(-0.1, 0.1), aim + rng.uniform(-0.02, 0.1), hero[2])
        angle = rng.uniform(48, 64) if self.theme in ("person", "bedroom", "living") else rng.uniform(42, 60)
        return Floorplan(low, top, Camera(eye, _look(eye, target, rng.gauss(0, 0.8)), angle))

    def seen(self, point: Vector) -> bool:
        """Whether a point lies well within the picture."""
        offset, frame = plus(point, self.plan.camera.position, -1.0), self.plan.camera.rotation
        right, back = (sum(frame[row][column] * offset[row] for row in range(3)) for column in (0, 2))
        return -back > 1.3 and abs(right) < 0.8 * -back * math.tan(math.radians(self.plan.camera.angle / 2))

    def visible_spot(self, nearest: float) -> Vector:
        """A random place on the floor that the camera sees, at least `nearest` metres away."""
        rng, plan = self.rng, self.plan
        depth = rng.uniform(nearest, -plan.low[2])
        half = math.tan(math.radians(plan.camera.angle / 2)) * depth * 0.85
        gaze = (-plan.camera.rotation[0][2], -plan.camera.rotation[2][2])
        return (gaze[0] / max(-gaze[1], 0.3) * depth + rng.uniform(-half, half), 0.0, -depth)

    def near_hero(self, radius: float) -> Vector:
        """A random place on the floor around the hero."""
        angle, reach = self.rng.uniform(0, 2 * math.pi), radius * math.sqrt(self.rng.uniform(0.15, 1.0))
        return plus(self.hero, (reach * math.cos(angle), 0.0, reach * math.sin(angle)))

    def put(self, thing: Thing, place: Vector, yaw: float) -> int | None:
        """Stand a thing on the floor where it fits; returns its index. The first one becomes the focus."""
        if not self.plan.fits(thing, place, yaw):
            return None
        self.plan.focus = self.plan.focus or place
        return self.plan.add(thing, place, yaw)

    def scatter(self, thing: Thing, radius: float) -> None:
        """Stand a thing somewhere around the hero, if there is room."""
        for _ in range(12):
            if self.put(thing, self.near_hero(radius), self.rng.uniform(-45, 45)) is not None:
                return

    def put_beside_wall(self, thing: Thing, wall: str, yaw: float | None = None) -> bool:
        """Stand a thing with its back (or turned by `yaw`) to a wall, in view; False where it does not fit."""
        plan = self.plan
        yaw = YAWS[wall] if yaw is None else yaw
        box = Bounds(0, 0, thing.half, yaw, 0, 1)
        x, z = box.reach((1.0, 0.0)) + 0.02, box.reach((0.0, 1.0)) + 0.02
        for _ in range(10):
            spot = self.visible_spot(1.5)
            across = min(max(spot[0], plan.low[0] + x), plan.high[0] - x)
            place = {
                "back": (across, 0.0, plan.low[2] + z),
                "left": (plan.low[0] + x, 0.0, max(spot[2], plan.low[2] + z)),
                "right": (plan.high[0] - x, 0.0, max(spot[2], plan.low[2] + z)),
            }[wall]
            if self.put(thing, place, yaw) is not None:
                return True
        return False

    def put_on(self, parent: int, surface: int, thing: Thing) -> bool:
        """Stand a small thing on one surface of another; False where it finds no place."""
        rng, plan = self.rng, self.plan
        top = plan.things[parent].surfaces[surface]
        room = (top.half[0] - thing.half[0], top.half[1] - thing.half[1])
        if min(room) < -0.04 or thing.height > top.clearance - 0.01:
            return False
        for _ in range(8):
            offset = (
                top.centre[0] + rng.uniform(-1, 1) * max(room[0], 0.0),
                top.centre[1],
                top.centre[2] + rng.uniform(-1, 1) * max(room[1], 0.0),
            )
            place = plan.surface_point(parent, offset)
            yaw = plan.things[parent].yaw + rng.uniform(-40, 40) * (0.0 if min(room) < 0.02 else 1.0)
            if plan.fits(thing, place, yaw, ignore=(parent,)):
                plan.add(thing, place, yaw, on=parent)
                return True
        return False

    def hang(self, thing: Thing, centre: Vector, yaw: float, force: bool = False) -> int | None:
        """Fix a flat thing to a wall, its back at `centre`; returns its index. `force`: do not ask whether it fits."""
        plan = self.plan
        low = centre[1] if thing.kind == "door" else centre[1] - thing.height / 2
        box = Bounds(centre[0], centre[2], (thing.half[0] + 0.04, 0.11), yaw, low - 0.03, low + thing.height + 0.05)
        flat = Bounds(box.x, box.z, (box.half[0], 0.0), yaw, max(low, 0.0), low + thing.height)
        if not force and not (plan.inside(flat) and plan.clear(box)):
            return None
        return plan.add(thing, centre, yaw, room=box)


def _look(eye: Vector, target: Vector, roll: float) -> Matrix:
    """A camera rotation (columns right, up, backward) that looks from eye to target, rolled by some degrees."""
    back = plus(eye, target, -1.0)
    yaw = math.degrees(math.atan2(back[0], back[2]))
    pitch = -math.degrees(math.atan2(back[1], math.hypot(back[0], back[2])))
    return multiply(rotation("y", yaw), multiply(rotation("x", pitch), rotation("z", roll)))
