"""Furniture and small things on the stage: each function places something, or leaves it out where it does not fit."""

import math
from collections.abc import Callable
from random import Random

from underdraw.data.scenes import furniture, lamps, objects
from underdraw.data.scenes.floorplan import Bounds
from underdraw.data.scenes.parts import Surface, Thing, Vector, plus, rotation, turn
from underdraw.data.scenes.stage import YAWS, Stage

Maker = Callable[[Random, float], Thing]
SOLIDS: tuple[Maker, ...] = (
    objects.ball,
    objects.ball,
    objects.box,
    objects.cone,
    objects.cylinder,
    objects.pyramid,
)
SMALL: tuple[Maker, ...] = (*SOLIDS, objects.vase, objects.vase, objects.books, objects.plant)
SOFT: tuple[Maker, ...] = (objects.cushion, objects.cushion, objects.ball)
SCENERY = ("window", "curtain", "picture", "door", "rug", "lamp")


def _stool(rng: Random, _: float) -> Thing:
    return furniture.stool(rng)


def _tall_plant(rng: Random) -> Thing:
    return objects.plant(rng, rng.uniform(0.7, 1.15))


ALONG_WALLS: tuple[Callable[[Random], Thing], ...] = (
    furniture.shelf,
    furniture.cupboard,
    furniture.cupboard,
    furniture.chair,
    furniture.sofa,
    _tall_plant,
    _tall_plant,
)


def furnish(stage: Stage) -> None:
    """The theme's leading things at the hero's place."""
    if stage.theme in _THEMES:
        _THEMES[stage.theme](stage)


def _lead(stage: Stage, make: Callable[[Random], Thing], swing: float = 28) -> int | None:
    """The thing that the picture is about, near the hero's place; several designs are tried."""
    rng = stage.rng
    for attempt in range(14):
        spread = 0.05 * attempt
        place = plus(stage.hero, (rng.uniform(-spread, spread), 0.0, rng.uniform(-spread, spread / 2)))
        index = stage.put(make(rng), place, rng.uniform(-swing, swing))
        if index is not None:
            return index
    return None


def _living(stage: Stage) -> None:
    rng, plan = stage.rng, stage.plan
    sofa = _lead(stage, furniture.sofa, 75 if rng.random() < 0.35 else 28)
    if sofa is not None:
        front = (rng.uniform(-0.2, 0.2), 0.0, plan.things[sofa].half[1] + rng.uniform(0.45, 0.7))
        stage.put(furniture.table(rng, low=True), plan.surface_point(sofa, front), plan.things[sofa].yaw)


def _dining(stage: Stage) -> None:
    table = _lead(stage, furniture.table)
    if table is not None:
        design = furniture.chair(stage.rng)
        for side in stage.rng.sample(range(4), stage.rng.choice((1, 2, 3, 4))):
            _chair_at(stage, table, side, design)


def _study(stage: Stage) -> None:
    table = _lead(stage, furniture.table)
    if table is not None:
        side = stage.rng.choice((0, 1, 2, 3))
        _chair_at(stage, table, side, furniture.chair(stage.rng))
    stage.put_beside_wall(furniture.shelf(stage.rng), "back")


def _corner(stage: Stage) -> None:
    rng = stage.rng
    _lead(stage, rng.choice((furniture.sofa, furniture.chair, furniture.chest, furniture.shelf)), 45)
    seat = rng.choice((furniture.stool, furniture.chair))(rng)
    stage.put(seat, stage.near_hero(0.9), rng.uniform(-60, 60))


def _still_life(stage: Stage) -> None:
    _lead(stage, stage.rng.choice((furniture.table, furniture.table, furniture.table, furniture.chest)))


def _solids(stage: Stage) -> None:
    rng = stage.rng
    if rng.random() < 0.4:
        _lead(stage, furniture.plinth)
    for _ in range(rng.choice((2, 3, 3, 4, 5))):
        stage.scatter(rng.choice(SOLIDS)(rng, rng.uniform(0.22, 0.5)), radius=0.9)


def _bedroom(stage: Stage) -> None:
    """A bed with its head at the back wall, or along a side wall."""
    rng = stage.rng
    for _ in range(6):
        bed = furniture.bed(rng)
        place = (stage.hero[0] + rng.uniform(-0.4, 0.4), 0.0, stage.plan.low[2] + bed.half[1] + 0.03)
        if rng.random() < 0.6:
            if stage.put(bed, place, 0.0) is not None:
                return
        else:
            side = rng.choice(("left", "right"))
            if stage.put_beside_wall(bed, side, rng.choice((0.0, YAWS[side]))):
                return


_THEMES: dict[str, Callable[[Stage], None]] = {
    "living": _living,
    "dining": _dining,
    "bedroom": _bedroom,
    "study": _study,
    "corner": _corner,
    "still life": _still_life,
    "solids": _solids,
}


def _chair_at(stage: Stage, parent: int, side: int, chair: Thing) -> None:
    """A chair at one of the four sides of a table, facing it."""
    rng, plan = stage.rng, stage.plan
    table = plan.things[parent]
    away = table.half[side % 2 == 0] + chair.half[1] + rng.uniform(0.03, 0.16)
    facing = side * 90.0
    place = plan.surface_point(parent, turn(rotation("y", facing), (0.0, 0.0, away)))
    stage.put(chair, place, table.yaw + facing + 180 + rng.uniform(-12, 12))


def line_walls(stage: Stage) -> None:
    """Furniture along the walls."""
    rng = stage.rng
    counts = {"still life": rng.choice((0, 1)), "solids": rng.choice((0, 0, 1)), "person": rng.choice((0, 1, 2))}
    for _ in range(counts.get(stage.theme, rng.choice((1, 2, 2, 3)))):
        stage.put_beside_wall(rng.choice(ALONG_WALLS)(rng), rng.choice(("back", "back", "left", "right")))


def cover_floor(stage: Stage) -> None:
    """A rug, and things that lie or stand about; a few more where the room would be empty."""
    rng = stage.rng
    if rng.random() < (0.25 if stage.theme == "still life" else 0.5):
        _rug(stage)
    few = stage.theme in ("solids", "still life")
    makers = (*SOLIDS, objects.plant, objects.vase, _stool)
    for _ in range(rng.choice((0, 0, 1)) if few else rng.choice((0, 1, 1, 2, 3))):
        stage.scatter(rng.choice(makers)(rng, rng.uniform(0.2, 0.5)), radius=1.5)
    makers = (*SOLIDS, objects.plant, _stool, objects.vase)
    for _ in range(8):
        if sum(thing.kind not in SCENERY for thing in stage.plan.things) >= 3:
            return
        stage.put(rng.choice(makers)(rng, rng.uniform(0.3, 0.55)), stage.near_hero(0.8), rng.uniform(-45, 45))


def _rug(stage: Stage) -> None:
    rng, plan, hero = stage.rng, stage.plan, stage.hero
    rug = furniture.rug(rng)
    (half_x, half_z), depth = rug.half, hero[2] + rng.uniform(-0.1, 0.6)
    x = min(max(hero[0], plan.low[0] + half_x + 0.05), plan.high[0] - half_x - 0.05)
    z = min(max(depth, plan.low[2] + half_z + 0.05), plan.high[2] - half_z - 0.05)
    plan.add(rug, (x, 0.0, z), 0.0, room=Bounds(x, z, (0.0, 0.0), 0.0, -1.0, -1.0))


def fill_tops(stage: Stage) -> None:
    """Small things on tables, shelves, seats and beds."""
    for index in range(len(stage.plan.things)):
        thing = stage.plan.things[index]
        if index == stage.occupied or thing.kind == "person":
            continue
        for number, surface in enumerate(thing.surfaces):
            makers, count, sizes = _toppings(stage, thing)
            for _ in range(count):
                size = _fitting(stage.rng.uniform(*sizes), surface)
                stage.put_on(index, number, stage.rng.choice(makers)(stage.rng, size))


def _fitting(size: float, surface: Surface) -> float:
    return min(size, surface.clearance * 0.62, 1.9 * min(surface.half))


def _toppings(stage: Stage, thing: Thing) -> tuple[tuple[Maker, ...], int, tuple[float, float]]:
    """What, how many and how large: for one surface of a thing."""
    rng = stage.rng
    if thing.kind in ("sofa", "bed", "chair"):
        return SOFT, rng.choice((0, 1, 2)) if thing.kind == "sofa" else rng.choice((0, 0, 1)), (0.3, 0.42)
    count = rng.choice((1, 2, 3)) if thing.kind in ("table", "cupboard") else rng.choice((0, 1, 1))
    if thing.kind in ("cylinder", "box"):
        return SMALL, 1, (0.2, 0.34)
    if stage.theme == "still life" and math.dist(thing.position, stage.hero) < 0.3:
        return SMALL, rng.choice((2, 3, 3, 4, 5)), (0.15, 0.34)
    return SMALL, count, (0.13, 0.3)


def light_lamps(stage: Stage) -> Vector | None:
    """A lamp, always where one must burn; returns the place of the light, or None by daylight."""
    rng, plan = stage.rng, stage.plan
    place = None
    if stage.lit or rng.random() < 0.35:
        kind = rng.choice(("table", "floor", "pendant", "floor", "pendant"))
        place = _table_lamp(stage) if kind == "table" else None
        if place is None and kind != "pendant":
            place = _floor_lamp(stage)
        place = place or _pendant(stage)
    if not stage.lit:
        return None
    return place or (stage.hero[0], plan.high[1] - 0.1, stage.hero[2] + 0.8)


def _table_lamp(stage: Stage) -> Vector | None:
    for index, thing in enumerate(list(stage.plan.things)):
        if thing.kind not in ("table", "cupboard", "stool") or index == stage.occupied:
            continue
        for number in range(len(thing.surfaces)):
            lamp = lamps.table_lamp(stage.rng, stage.rng.uniform(0.32, 0.5), stage.lit)
            if stage.put_on(index, number, lamp):
                return stage.plan.things[-1].light
    return None


def _floor_lamp(stage: Stage) -> Vector | None:
    lamp = lamps.floor_lamp(stage.rng, stage.lit)
    for _ in range(10):
        index = stage.put(lamp, stage.visible_spot(1.6), 0.0)
        if index is not None:
            return stage.plan.things[index].light
    return None


def _pendant(stage: Stage) -> Vector | None:
    rng, plan, hero = stage.rng, stage.plan, stage.hero
    lamp = lamps.pendant(rng, rng.uniform(0.35, 0.8), stage.lit)
    top = plan.high[1]
    for _ in range(8):
        x, z = hero[0] + rng.uniform(-0.5, 0.5), hero[2] + rng.uniform(-0.4, 0.5)
        box = Bounds(x, z, lamp.half, 0.0, top - lamp.height, top)
        if plan.free(box):
            return plan.things[plan.add(lamp, (x, top, z), 0.0, room=box)].light
    return None
