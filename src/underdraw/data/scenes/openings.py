"""What hangs on the walls: the window with its curtains, a door, pictures."""

from underdraw.data.scenes import fittings
from underdraw.data.scenes.finishes import choose
from underdraw.data.scenes.floorplan import Bounds
from underdraw.data.scenes.parts import Thing, Vector, Window
from underdraw.data.scenes.stage import YAWS, Stage


def open_walls(stage: Stage) -> None:
    """The window (always; sometimes with curtains, sometimes behind the camera) and sometimes a door."""
    rng = stage.rng
    wall = rng.choice(("back", "back", "back", "left", "right", "left", "right", "front"))
    x, y = rng.uniform(0.4, 0.75), rng.uniform(0.45, 0.65)
    centre = _window_place(stage, wall, x, y)
    wood = choose(rng, ("wood", "plastic"), ("white", "white", "brown", "grey"))
    index = stage.hang(fittings.window_frame(rng, x, y, wood), centre, YAWS[wall], force=True)
    assert index is not None
    stage.window = Window(wall, centre, (x, y), index)
    if rng.random() < 0.45:
        _curtain(stage)
    if rng.random() < 0.35:
        _on_wall(stage, fittings.door(rng))


def hang_pictures(stage: Stage) -> None:
    """Pictures where the walls are still free."""
    for _ in range(stage.rng.choice((0, 1, 1, 2, 3))):
        _on_wall(stage, fittings.picture(stage.rng))


def _window_place(stage: Stage, wall: str, x: float, y: float) -> Vector:
    """The centre of a window of half width x and half height y, preferably in view."""
    rng, plan, hero = stage.rng, stage.plan, stage.hero
    middle = min(rng.uniform(1.45, 1.6), plan.high[1] - y - 0.3)
    if wall in ("back", "front"):
        low, high = plan.low[0] + x + 0.35, plan.high[0] - x - 0.35
        along = rng.uniform(low, high) if wall == "front" else min(max(rng.gauss(hero[0], 0.9), low), high)
        return (along, middle, plan.low[2] if wall == "back" else plan.high[2])
    along = rng.uniform(hero[2] - 0.3, hero[2] + 0.8)
    along = min(max(along, plan.low[2] + x + 0.35), plan.high[2] - x - 0.35)
    return (plan.low[0] if wall == "left" else plan.high[0], middle, along)


def _curtain(stage: Stage) -> None:
    plan, window = stage.plan, stage.window
    (x, y), centre, yaw = window.half, window.centre, YAWS[window.wall]
    width, height = x * 1.75, y + 0.2
    drape = fittings.curtain(stage.rng, x, y)
    box = Bounds(centre[0], centre[2], (width, 0.13), yaw, centre[1] - height, centre[1] + height)
    if plan.inside(Bounds(box.x, box.z, (width, 0.0), yaw, 0.2, box.high)) and box.high < plan.high[1]:
        plan.add(drape, centre, yaw, room=box)


def _on_wall(stage: Stage, thing: Thing) -> None:
    """Hang a thing (a door stands) on a wall in view, if a place is found."""
    rng, plan = stage.rng, stage.plan
    for _ in range(6):
        wall = rng.choice(("back", "back", "left", "right"))
        y = 0.0 if thing.kind == "door" else rng.uniform(1.45, 1.75)
        spot = stage.visible_spot(1.2)
        centre = {
            "back": (spot[0], y, plan.low[2]),
            "left": (plan.low[0], y, spot[2]),
            "right": (plan.high[0], y, spot[2]),
        }[wall]
        if stage.hang(thing, centre, YAWS[wall]) is not None:
            return
