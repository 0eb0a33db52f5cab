"""Inventing a scene: everything is decided here, by the seed alone."""

from random import Random

from underdraw.data.scenes.daylight import light_of
from underdraw.data.scenes.finishes import blend, choose, jitter, patterned, plain
from underdraw.data.scenes.furnishing import cover_floor, fill_tops, furnish, light_lamps, line_walls
from underdraw.data.scenes.openings import hang_pictures, open_walls
from underdraw.data.scenes.parts import Finish, Room, Scene
from underdraw.data.scenes.people import invite
from underdraw.data.scenes.stage import Stage
from underdraw.data.scenes.vocabulary import COLOURS
from underdraw.errors import InputError

LAST_SEED = 2**62 - 1
THEMES = (
    "living", "living", "dining", "bedroom", "study", "corner", "solids", "solids", "still life", "still life",
    "person", "person", "person",
)  # fmt: skip
HOURS = ("morning", "morning", "noon", "noon", "sunset", "night")
CARPETS = ("beige", "grey", "green", "blue", "red", "brown", "purple")
PAINTS = ("white", "beige", "grey", "blue", "green", "pink", "yellow", "turquoise", "orange", "purple", "red")
TRIMS = ((0.92, 0.91, 0.88), (0.92, 0.91, 0.88), (0.45, 0.29, 0.17), (0.25, 0.2, 0.18))


def checked_seed(seed: int) -> int:
    """The seed, if it is one: else InputError."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LAST_SEED:
        raise InputError(f"seed {seed!r}: a scene's seed is a whole number from 0 to {LAST_SEED}")
    return seed


def sample(seed: int) -> Scene:
    """The scene of a seed. InputError for what is not a seed.

    Chance is Python's Mersenne Twister keyed by the seed: the same everywhere, whatever draws the scene later.
    """
    rng = Random(f"underdraw rooms {checked_seed(seed)}")
    stage = Stage(rng, rng.choice(THEMES), rng.choice(HOURS))
    open_walls(stage)
    furnish(stage)
    invite(stage)
    line_walls(stage)
    cover_floor(stage)
    fill_tops(stage)
    lamp = light_lamps(stage)
    hang_pictures(stage)
    room = _room(stage)
    light = light_of(rng, stage.hour, room, lamp)
    plan = stage.plan
    return Scene(seed, stage.theme, room, plan.camera, light, tuple(plan.things), tuple(stage.figures))


def _room(stage: Stage) -> Room:
    """The finishes of floor, walls, ceiling and skirting."""
    rng, plan = stage.rng, stage.plan
    floor = _floor(rng)
    wall = _wall(rng)
    ceiling = plain(jitter(rng, (0.93, 0.92, 0.90), 0.4))
    return Room(plan.low, plan.high, floor, wall, ceiling, blend(rng.choice(TRIMS), floor.rgb, 0.1), stage.window)


def _floor(rng: Random) -> Finish:
    """Planks, parquet, tiles, carpet or stone."""
    material = rng.choice(("planks", "planks", "parquet", "tiles", "carpet", "stone"))
    if material in ("planks", "parquet"):
        base = choose(rng, ("wood",), ("brown", "brown", "beige", "white"))
        return patterned(base, material, rng.uniform(0.10, 0.16) if material == "planks" else rng.uniform(0.25, 0.4))
    if material == "tiles":
        first = choose(rng, ("ceramic",), ("white", "beige", "grey", "turquoise", "red", "brown"))
        second = COLOURS[rng.choice(("black", "white", "grey", "brown", "blue"))].rgb
        return patterned(first, "tiles", rng.uniform(0.25, 0.45), first.rgb if rng.random() < 0.4 else second)
    if material == "carpet":
        return patterned(choose(rng, ("fabric",), CARPETS), "weave", 0.03)
    base = choose(rng, ("stone", "marble"))
    return patterned(base, "marble" if base.substance == "marble" else "speckle", 0.4)


def _wall(rng: Random) -> Finish:
    """Painted, papered or brick walls."""
    name = rng.choice(PAINTS)
    strength = rng.uniform(0.3, 0.8) if name not in ("white", "beige", "grey") else 0.95
    rgb = jitter(rng, blend((0.93, 0.91, 0.87), COLOURS[name].rgb, strength))
    way = rng.random()
    if way < 0.10:
        return patterned(plain(jitter(rng, (0.62, 0.33, 0.25)), "stone", "red"), "brick", 0.22, (0.75, 0.71, 0.65))
    if way < 0.36:
        bright = rng.random() < 0.6
        second = blend(rgb, (0.97, 0.96, 0.93), rng.uniform(0.3, 0.6)) if bright else blend(rgb, (0.1, 0.1, 0.15), 0.3)
        return patterned(plain(rgb, "plaster", name), *_paper(rng), second)
    return plain(rgb, "plaster", name)


def _paper(rng: Random) -> tuple[str, float]:
    """A wallpaper's pattern and its period in metres."""
    return rng.choice(("stripes", "dots", "wallpaper")), rng.uniform(0.16, 0.3)
