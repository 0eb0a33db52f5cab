"""The mannequin: a small skeleton put into a pose, and flesh of ellipsoids and round cones around its bones."""

import math
from dataclasses import dataclass
from random import Random

from underdraw.data.scenes.finishes import choose, jitter, patterned, plain
from underdraw.data.scenes.parts import (
    ELLIPSOID,
    IDENTITY,
    ROUND,
    Finish,
    Matrix,
    Part,
    Seat,
    Thing,
    Vector,
    multiply,
    plus,
    rotation,
    turn,
    upright,
)
from underdraw.data.scenes.poses import Arm, Leg, Pose, limited, pose_of
from underdraw.data.scenes.vocabulary import COLOURS

POINTS = (
    "nose", "neck", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist", "r_hip", "r_knee",
    "r_ankle", "l_hip", "l_knee", "l_ankle", "r_eye", "l_eye", "r_ear", "l_ear",
)  # fmt: skip
"""OpenPose's body-18 order."""

SKINS = ((0.95, 0.78, 0.66), (0.87, 0.66, 0.52), (0.72, 0.50, 0.36), (0.52, 0.34, 0.24), (0.36, 0.23, 0.17))
HAIRS = (
    (0.10, 0.08, 0.07),
    (0.24, 0.15, 0.09),
    (0.45, 0.28, 0.14),
    (0.78, 0.60, 0.32),
    (0.55, 0.20, 0.10),
    (0.6, 0.6, 0.6),
)


@dataclass(frozen=True)
class Outfit:
    """What a mannequin is made of and wears."""

    skin: Finish
    hair: Finish
    shirt: Finish
    trousers: Finish
    shoes: Finish
    sleeves: bool
    words: tuple[str, ...]


def outfit_of(rng: Random) -> Outfit:
    """Clothes on skin, or sometimes a plain artist's mannequin of one material."""
    if rng.random() < 0.22:
        body = choose(
            rng, ("wood", "wood", "plastic", "metal"), ("beige", "brown", "white", "grey", "yellow", "red", "blue")
        )
        return Outfit(body, body, body, body, body, True, ())
    shirt = choose(
        rng, ("fabric",), ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white", "grey")
    )
    if shirt.pattern not in ("stripes", "dots") or rng.random() < 0.5:
        shirt = patterned(shirt, "weave", 0.02)
    names = [
        name for name in ("blue", "black", "brown", "grey", "beige", "green", "white", "red") if name != shirt.colour
    ]
    trousers = patterned(choose(rng, ("fabric",), names), "weave", 0.02)
    skin = plain(jitter(rng, rng.choice(SKINS), 0.6), "leather", "beige")
    hair = plain(jitter(rng, rng.choice(HAIRS), 0.5), "fabric", "black")
    shoes = plain(jitter(rng, COLOURS[rng.choice(("black", "brown", "white", "red"))].rgb), "leather", "black")
    return Outfit(skin, hair, shirt, trousers, shoes, rng.random() < 0.6, (shirt.colour, trousers.colour))


@dataclass(frozen=True)
class Mannequin:
    """A body: its thing, 18 points with the flesh radius around each, and the colours of shirt and trousers, if any."""

    thing: Thing
    points: tuple[Vector, ...]
    radii: tuple[float, ...]
    clothes: tuple[str, ...]


def build(rng: Random, name: str, seat: Seat | None = None) -> Mannequin:
    """A mannequin in the named pose standing on y = 0 at the origin, or sitting on `seat` (in the seat's frame)."""
    pose, outfit = pose_of(rng, name), outfit_of(rng)
    tall = rng.uniform(1.5, 1.82) if seat is None else rng.uniform(1.58, 1.78)
    body = _Body(tall, outfit)
    body.assemble(pose, seat)
    shift = (0.0, 0.0, 0.0)
    if seat is None:
        spans = [[point[axis] for point in body.points] for axis in (0, 2)]
        middle = [(min(span) + max(span)) / 2 for span in spans]
        shift = (-middle[0], -min(_lowest(part) for part in body.parts), -middle[1])
    parts = tuple(part.moved(IDENTITY, shift) for part in body.parts)
    half = [max(abs(part.centre[axis]) + _reach(part, axis) for part in parts) for axis in (0, 2)]
    top = max(part.centre[1] + _reach(part, 1) for part in parts)
    thing = Thing("person", outfit.shirt, parts, (half[0], half[1]), top)
    points = tuple(plus(point, shift) for point in body.points)
    return Mannequin(thing, points, tuple(tall * share for share in _RADII), outfit.words)


_RADII = (
    0.02, 0.06, 0.05, 0.035, 0.03, 0.05, 0.035, 0.03, 0.08, 0.045, 0.035, 0.08, 0.045, 0.035, 0.02, 0.02, 0.02, 0.02,
)  # fmt: skip
"""Flesh around the points, as shares of the body height."""


def _reach(part: Part, axis: int) -> float:
    """Half size of the part's bounding box along an outer axis (exact for blocks and ellipsoids)."""
    row = part.rotation[axis]
    if part.shape == ELLIPSOID:
        return math.sqrt(sum((r * s) ** 2 for r, s in zip(row, part.size, strict=False)))
    if part.shape == ROUND:
        return abs(row[1]) * part.size[2] + max(part.size[0], part.size[1])
    return sum(abs(r) * s for r, s in zip(row, part.extent, strict=True))


def _lowest(part: Part) -> float:
    if part.shape == ROUND:
        up = part.rotation[1][1] * part.size[2]
        return part.centre[1] + min(-up - part.size[0], up - part.size[1])
    return part.centre[1] - _reach(part, 1)


class _Body:
    """Forward kinematics that lays flesh around the bones. Lengths are shares of the body height."""

    def __init__(self, tall: float, outfit: Outfit) -> None:
        self.tall, self.outfit = tall, outfit
        self.parts: list[Part] = []
        self.joints: dict[str, Vector] = {}

    @property
    def points(self) -> list[Vector]:
        return [self.joints[name] for name in POINTS]

    def assemble(self, pose: Pose, seat: Seat | None) -> None:
        tall = self.tall
        if seat is None:
            pelvis: Vector = (0.0, 0.52 * tall, 0.0)
        else:
            pelvis = (seat.front[0], seat.front[1] + 0.07 * tall, seat.front[2] - 0.245 * tall + 0.175)
        self._torso(pelvis, pose)
        for index, side in ((0, -1.0), (1, 1.0)):
            self._arm(pose.arms[index], side, self.chest_frame)
            hip = plus(pelvis, (side * 0.055 * tall, 0.0, 0.0))
            if seat is None:
                self._leg(pose.legs[index], side, hip)
            else:
                self._seated_leg(side, hip, seat)

    def _add(self, shape: int, centre: Vector, size: tuple[float, float, float], finish: Finish, frame: Matrix) -> None:
        tall = self.tall
        self.parts.append(Part(shape, centre, (size[0] * tall, size[1] * tall, size[2] * tall, 1.0), finish, frame))

    def _limb(self, start: Vector, end: Vector, first: float, second: float, finish: Finish) -> None:
        middle = plus(start, plus(end, start, -1.0), 0.5)
        along = plus(end, start, -1.0)
        half = math.sqrt(sum(v * v for v in along)) / 2
        size = (first * self.tall, second * self.tall, half, 0.0)
        self.parts.append(Part(ROUND, middle, size, finish, upright(along)))

    def _torso(self, pelvis: Vector, pose: Pose) -> None:
        tall, wear = self.tall, self.outfit
        lean = multiply(rotation("z", limited("side", pose.side)), rotation("x", limited("lean", pose.lean)))

        def up(share: float, forward: float = 0.0) -> Vector:
            return plus(pelvis, turn(lean, (0.0, share * tall, forward * tall)))

        self._add(ELLIPSOID, plus(pelvis, (0, 0.01 * tall, 0)), (0.098, 0.075, 0.066), wear.trousers, IDENTITY)
        self._add(ELLIPSOID, up(0.10), (0.083, 0.10, 0.058), wear.shirt, lean)
        self._add(ELLIPSOID, up(0.215), (0.102, 0.112, 0.066), wear.shirt, lean)
        self.chest_frame, neck = lean, up(0.295)
        self.joints["neck"] = neck
        for name, side in (("r", -1.0), ("l", 1.0)):
            self.joints[f"{name}_shoulder"] = plus(neck, turn(lean, (side * 0.108 * tall, -0.008 * tall, 0.0)))
        turned = multiply(
            rotation("y", limited("head_yaw", pose.head_yaw)), rotation("x", limited("head_pitch", pose.head_pitch))
        )
        head = multiply(lean, turned)
        base = up(0.335)
        self._limb(neck, base, 0.034, 0.030, wear.skin)
        middle = plus(base, turn(head, (0.0, 0.068 * tall, 0.008 * tall)))
        self._add(ELLIPSOID, middle, (0.050, 0.068, 0.058), wear.skin, head)
        self._face(middle, head)

    def _face(self, middle: Vector, head: Matrix) -> None:
        tall, wear = self.tall, self.outfit

        def at(x: float, y: float, z: float) -> Vector:
            return plus(middle, turn(head, (x * tall, y * tall, z * tall)))

        if wear.words:
            self._add(ELLIPSOID, at(0, 0.018, -0.011), (0.055, 0.060, 0.056), wear.hair, head)
            dark = plain((0.07, 0.06, 0.07), "plastic", "black")
            for side in (-1, 1):
                self._add(ELLIPSOID, at(side * 0.020, 0.006, 0.0505), (0.008, 0.009, 0.006), dark, head)
        self._add(ELLIPSOID, at(0, -0.010, 0.0565), (0.008, 0.012, 0.010), wear.skin, head)
        self.joints["nose"] = at(0, -0.010, 0.0665)
        for name, side in (("r", -1), ("l", 1)):
            self.joints[f"{name}_eye"] = at(side * 0.020, 0.006, 0.0555)
            self.joints[f"{name}_ear"] = at(side * 0.0505, -0.004, 0.0)
            self._add(ELLIPSOID, at(side * 0.050, -0.004, 0.0), (0.006, 0.013, 0.009), wear.skin, head)

    def _arm(self, arm: Arm, side: float, frame: Matrix) -> None:
        tall, wear, name = self.tall, self.outfit, "l" if side > 0 else "r"
        shoulder = self.joints[f"{name}_shoulder"]
        lift = multiply(rotation("z", side * limited("abduct", arm.abduct)), rotation("x", -limited("flex", arm.flex)))
        upper = multiply(multiply(frame, lift), rotation("y", side * limited("twist", arm.twist)))
        lower = multiply(upper, rotation("x", -limited("elbow", arm.elbow)))
        elbow = plus(shoulder, turn(upper, (0, -0.160 * tall, 0)))
        wrist = plus(elbow, turn(lower, (0, -0.142 * tall, 0)))
        self.joints[f"{name}_elbow"], self.joints[f"{name}_wrist"] = elbow, wrist
        self._limb(shoulder, elbow, 0.036, 0.027, wear.shirt)
        self._limb(elbow, wrist, 0.0265, 0.019, wear.shirt if wear.sleeves else wear.skin)
        hand = plus(wrist, turn(lower, (0, -0.036 * tall, 0.004 * tall)))
        self._add(ELLIPSOID, hand, (0.013, 0.042, 0.022), wear.skin, lower)

    def _leg(self, leg: Leg, side: float, hip: Vector) -> None:
        tall = self.tall
        thigh = multiply(
            rotation("z", side * limited("hip_abduct", leg.abduct)), rotation("x", -limited("hip_flex", leg.flex))
        )
        shin = multiply(thigh, rotation("x", limited("knee", leg.knee)))
        knee = plus(hip, turn(thigh, (0, -0.245 * tall, 0)))
        ankle = plus(knee, turn(shin, (0, -0.235 * tall, 0)))
        pitch = max(0.0, limited("knee", leg.knee) - max(leg.flex, 0.0) - 10) * 0.8
        self._flesh(side, hip, knee, ankle, rotation("x", pitch))

    def _seated_leg(self, side: float, hip: Vector, seat: Seat) -> None:
        """Two-bone inverse kinematics: the foot stands on the floor (or hangs, if the seat is high), the knee ahead."""
        tall = self.tall
        upper, lower = 0.245 * tall, 0.235 * tall
        ankle = (hip[0] + side * 0.02, max(0.04 * tall, seat.front[1] - 0.212 * tall), seat.front[2] + 0.19)
        reach = plus(ankle, hip, -1.0)
        length = min(math.sqrt(sum(v * v for v in reach)), (upper + lower) * 0.999)
        norm = math.sqrt(sum(v * v for v in reach))
        axis = (reach[0] / norm, reach[1] / norm, reach[2] / norm)
        along = (upper**2 - lower**2 + length**2) / (2 * length)
        pole = plus((0.0, 0.6, 1.0), axis, -(0.6 * axis[1] + axis[2]))
        size = math.sqrt(sum(v * v for v in pole))
        knee = plus(plus(hip, axis, along), pole, math.sqrt(max(upper**2 - along**2, 0.0)) / size)
        self._flesh(side, hip, knee, plus(hip, axis, length), IDENTITY)

    def _flesh(self, side: float, hip: Vector, knee: Vector, ankle: Vector, foot: Matrix) -> None:
        tall, wear, name = self.tall, self.outfit, "l" if side > 0 else "r"
        self.joints[f"{name}_hip"], self.joints[f"{name}_knee"], self.joints[f"{name}_ankle"] = hip, knee, ankle
        self._limb(hip, knee, 0.056, 0.040, wear.trousers)
        self._limb(knee, ankle, 0.039, 0.025, wear.trousers)
        sole = plus(ankle, turn(foot, (0, -0.016 * tall, 0.03 * tall)))
        self._add(ELLIPSOID, sole, (0.027, 0.024, 0.072), wear.shoes, foot)
