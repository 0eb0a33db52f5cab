"""Poses of the mannequin: joint angles within limits. The body faces +z with y up, so its left is +x.

Angles are degrees. An arm hangs along -y; `flex` lifts it forwards, `abduct` sideways; `twist` turns it about its own
axis; elbows and knees are hinges.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

LIMITS: dict[str, tuple[float, float]] = {
    "flex": (-50, 175),
    "abduct": (-20, 175),
    "twist": (-90, 90),
    "elbow": (0, 145),
    "hip_flex": (-30, 110),
    "hip_abduct": (-10, 45),
    "knee": (0, 135),
    "lean": (-10, 50),
    "side": (-15, 15),
    "head_yaw": (-60, 60),
    "head_pitch": (-30, 35),
}
"""Range of every joint, in degrees."""


def limited(joint: str, angle: float) -> float:
    """The angle within the joint's range."""
    low, high = LIMITS[joint]
    return min(max(angle, low), high)


@dataclass(frozen=True)
class Arm:
    """Shoulder and elbow angles."""

    flex: float = 0.0
    abduct: float = 9.0
    twist: float = 0.0
    elbow: float = 12.0


@dataclass(frozen=True)
class Leg:
    """Hip and knee angles."""

    flex: float = 0.0
    abduct: float = 3.0
    knee: float = 2.0


@dataclass(frozen=True)
class Pose:
    """All joint angles; arms and legs are (right, left)."""

    arms: tuple[Arm, Arm] = (Arm(), Arm())
    legs: tuple[Leg, Leg] = (Leg(), Leg())
    lean: float = 0.0
    side: float = 0.0
    head_yaw: float = 0.0
    head_pitch: float = 0.0


def _relaxed(rng: Random) -> Arm:
    return Arm(rng.uniform(-8, 10), rng.uniform(7, 14), rng.uniform(-15, 5), rng.uniform(5, 25))


def _waving(rng: Random) -> Arm:
    return Arm(rng.uniform(0, 15), rng.uniform(85, 120), rng.uniform(70, 90), rng.uniform(50, 85))


def _raised(rng: Random) -> Arm:
    return Arm(rng.uniform(-5, 15), rng.uniform(140, 168), 0, rng.uniform(0, 25))


def _standing_legs(rng: Random) -> tuple[Leg, Leg]:
    wide = rng.uniform(2, 9)
    return (Leg(rng.uniform(-3, 3), wide, 2), Leg(rng.uniform(-3, 3), wide, 2))


def _standing(rng: Random) -> Pose:
    return Pose((_relaxed(rng), _relaxed(rng)), _standing_legs(rng))


def _walking(rng: Random) -> Pose:
    swing = rng.uniform(20, 30)
    arms = (Arm(swing, 8, 0, 25), Arm(-swing * 0.9, 8, 0, 15))
    return Pose(arms, (Leg(-swing * 0.6, 1, 12), Leg(swing, 1, 6)), lean=4)


def _running(rng: Random) -> Pose:
    swing = rng.uniform(38, 50)
    arms = (Arm(swing, 12, 0, 90), Arm(-swing * 0.9, 14, 0, 90))
    return Pose(arms, (Leg(-18, 1, 72), Leg(swing + 12, 1, 50)), lean=14)


def _wave(rng: Random) -> Pose:
    return Pose((_waving(rng), _relaxed(rng)), _standing_legs(rng), side=rng.uniform(-4, 6))


def _arms_raised(rng: Random) -> Pose:
    return Pose((_raised(rng), _raised(rng)), _standing_legs(rng), head_pitch=rng.uniform(-15, 5))


def _pointing(rng: Random) -> Pose:
    if rng.random() < 0.5:
        arm = Arm(rng.uniform(75, 95), rng.uniform(5, 20), 0, rng.uniform(0, 8))
    else:
        arm = Arm(0, rng.uniform(75, 100), 0, rng.uniform(0, 8))
    return Pose((arm, _relaxed(rng)), _standing_legs(rng), head_yaw=rng.uniform(-45, 0))


def _hips(rng: Random) -> Pose:
    arm = Arm(rng.uniform(-18, -8), rng.uniform(42, 52), -75, rng.uniform(92, 105))
    return Pose((arm, arm), _standing_legs(rng))


def _spread(rng: Random) -> Pose:
    def arm() -> Arm:
        return Arm(rng.uniform(0, 12), rng.uniform(70, 100), 0, rng.uniform(0, 15))

    return Pose((arm(), arm()), _standing_legs(rng))


def _dancing(rng: Random) -> Pose:
    arms = (
        Arm(10, rng.uniform(120, 150), 40, rng.uniform(30, 70)),
        Arm(10, rng.uniform(50, 90), 60, rng.uniform(20, 60)),
    )
    legs = (Leg(rng.uniform(40, 65), rng.uniform(10, 30), rng.uniform(60, 90)), Leg(0, 4, 4))
    return Pose(arms, legs, side=rng.uniform(2, 10), head_yaw=rng.uniform(-20, 20))


def _bowing(rng: Random) -> Pose:
    lean = rng.uniform(28, 45)
    arms = (Arm(lean * 0.6, 6, 0, 10), Arm(lean * 0.6, 6, 0, 10))
    return Pose(arms, _standing_legs(rng), lean=lean, head_pitch=15)


def _sitting(rng: Random) -> Pose:
    def arm() -> Arm:
        return Arm(rng.uniform(18, 30), rng.uniform(9, 15), rng.uniform(-25, -10), rng.uniform(45, 62))

    return Pose((arm(), arm()), lean=rng.uniform(-1, 7))


def _sitting_waving(rng: Random) -> Pose:
    pose = _sitting(rng)
    return replace(pose, arms=(_waving(rng), pose.arms[1]))


MAKERS: dict[str, Callable[[Random], Pose]] = {
    "standing": _standing,
    "walking": _walking,
    "running": _running,
    "waving": _wave,
    "arms raised": _arms_raised,
    "pointing": _pointing,
    "hands on hips": _hips,
    "arms spread": _spread,
    "dancing": _dancing,
    "bowing": _bowing,
    "sitting": _sitting,
    "sitting and waving": _sitting_waving,
}


def pose_of(rng: Random, name: str) -> Pose:
    """A random pose of that name, within the joint limits, half of the time mirrored."""
    pose = MAKERS[name](rng)
    pose = replace(
        pose,
        head_yaw=pose.head_yaw + rng.uniform(-18, 18),
        head_pitch=pose.head_pitch + rng.uniform(-6, 8),
    )
    if rng.random() < 0.5:
        pose = replace(pose, arms=pose.arms[::-1], legs=pose.legs[::-1], side=-pose.side, head_yaw=-pose.head_yaw)
    return pose
