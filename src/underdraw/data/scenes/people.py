"""Mannequins on the stage: standing where there is room, or sitting on a seat."""

from random import Random

from underdraw.data.scenes import furniture, mannequin
from underdraw.data.scenes.floorplan import Bounds
from underdraw.data.scenes.mannequin import Mannequin
from underdraw.data.scenes.parts import Figure, Seat, Vector, plus, rotation, turn
from underdraw.data.scenes.poses import MAKERS
from underdraw.data.scenes.stage import Stage

UPRIGHT = tuple(name for name in MAKERS if not name.startswith("sitting"))
SHARES = {"person": 1.0, "still life": 0.12, "solids": 0.2}
"""How often somebody is there, by theme; half of the time elsewhere."""


def invite(stage: Stage) -> None:
    """Perhaps one mannequin."""
    rng = stage.rng
    if rng.random() >= SHARES.get(stage.theme, 0.5):
        return
    if stage.theme == "person":
        _lead(stage)
        return
    if rng.random() < 0.8 and _sit(stage):
        return
    for _ in range(12):
        if _stand(stage, stage.visible_spot(2.0)):
            return


def _lead(stage: Stage) -> None:
    """The mannequin as the hero."""
    rng = stage.rng
    if rng.random() < 0.3:
        seat = rng.choice((furniture.chair, furniture.stool, furniture.sofa))(rng)
        if stage.put(seat, stage.hero, rng.uniform(-45, 45)) is not None and _sit(stage):
            return
    for _ in range(12):
        if _stand(stage, plus(stage.hero, (rng.uniform(-0.3, 0.3), 0.0, rng.uniform(-0.3, 0.2)))):
            return


def _stand(stage: Stage, place: Vector) -> bool:
    rng, plan = stage.rng, stage.plan
    name = rng.choice(UPRIGHT)
    somebody = mannequin.build(rng, name)
    yaw = rng.gauss(0, 35) if rng.random() < 0.8 else rng.uniform(-180, 180)
    if not plan.fits(somebody.thing, place, yaw):
        return False
    index = plan.add(somebody.thing, place, yaw)
    plan.focus = plan.focus or place
    _note(stage, index, name, somebody, place, yaw)
    return True


def _sit(stage: Stage) -> bool:
    """Sit on a seat in view of what is already there; False where none is free."""
    rng, plan = stage.rng, stage.plan
    for index, seat in _seats(stage, rng):
        name = rng.choice(("sitting", "sitting", "sitting and waving"))
        somebody = mannequin.build(rng, name, seat)
        parent = plan.things[index]
        front = plan.surface_point(index, (seat.front[0], 0.0, seat.front[2] + 0.22))
        legroom = Bounds(front[0], front[2], (0.24, 0.215), parent.yaw, 0.01, 1.0)
        hip = plan.surface_point(index, (seat.front[0], 0.0, seat.front[2] - 0.2))
        half = (min(somebody.thing.half[0], 0.5), 0.22)
        body = Bounds(hip[0], hip[2], half, parent.yaw, parent.height * 0.9, somebody.thing.height)
        if not all(plan.clear(box, (index,)) and plan.inside(box) for box in (legroom, body)):
            continue
        placed = plan.add(somebody.thing, parent.position, parent.yaw, on=index, room=body)
        plan.reserve(legroom)
        stage.occupied = index
        _note(stage, placed, name, somebody, parent.position, parent.yaw)
        return True
    return False


def _seats(stage: Stage, rng: Random) -> list[tuple[int, Seat]]:
    """Seats in view as (thing, seat), shuffled."""
    plan = stage.plan
    spots = [(index, seat) for index, thing in enumerate(plan.things) for seat in thing.seats]
    spots = [(index, seat) for index, seat in spots if stage.seen(plan.surface_point(index, seat.front))]
    rng.shuffle(spots)
    return spots


def _note(stage: Stage, index: int, pose: str, somebody: Mannequin, place: Vector, yaw: float) -> None:
    """Remember where the body's points have come to."""
    matrix = rotation("y", yaw)
    points = tuple(plus(turn(matrix, point), place) for point in somebody.points)
    stage.figures.append(Figure(index, pose, points, somebody.radii, somebody.clothes))
