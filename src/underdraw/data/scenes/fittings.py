"""What is fixed to walls: pictures, doors, window frames, curtains. The back is at z = 0 of the thing's own frame."""

from random import Random

from underdraw.data.scenes.finishes import BRIGHT, choose, jitter, patterned, plain, shade
from underdraw.data.scenes.furniture import block
from underdraw.data.scenes.parts import BLOCK, ELLIPSOID, ROUND, Finish, Part, Thing, rotation
from underdraw.data.scenes.vocabulary import COLOURS


def picture(rng: Random) -> Thing:
    """A framed picture; hangs with its back at z = 0, its centre at the origin."""
    x = rng.uniform(0.18, 0.42)
    y = x * rng.choice((0.7, 0.75, 1.0, 1.3))
    frame = choose(rng, ("wood", "metal", "wood"))
    colour = rng.choice(BRIGHT)
    art = patterned(
        plain(jitter(rng, COLOURS[colour].rgb), "paper", colour),
        rng.choice(("landscape", "abstract", "sunrise")),
        0.3,
        jitter(rng, COLOURS[rng.choice(BRIGHT)].rgb),
    )
    rim = rng.uniform(0.018, 0.032)
    parts = (block((0, 0, 0.012), (x, y, 0.012), frame), block((0, 0, 0.026), (x - rim, y - rim, 0.003), art))
    return Thing("picture", frame, parts, (x, 0.03), 2 * y)


def door(rng: Random) -> Thing:
    """A closed door in its frame, with a handle; its back at z = 0."""
    finish = choose(rng, ("wood", "wood", "plastic"))
    leaf = patterned(finish, "panels", 0.5)
    metal = choose(rng, ("metal",), ("grey", "yellow"))
    x, top = rng.uniform(0.40, 0.46), rng.uniform(1.98, 2.08)
    trim = shade(finish, 0.85)
    side = rng.choice((-1, 1))
    parts = [
        block((0, top / 2, 0.02), (x, top / 2, 0.02), leaf),
        block((-x - 0.035, (top + 0.07) / 2, 0.025), (0.035, (top + 0.07) / 2, 0.025), trim),
        block((x + 0.035, (top + 0.07) / 2, 0.025), (0.035, (top + 0.07) / 2, 0.025), trim),
        block((0, top + 0.035, 0.025), (x, 0.035, 0.025), trim),
        Part(ELLIPSOID, (side * (x - 0.07), 1.02, 0.07), (0.03, 0.03, 0.03, 0.0), metal),
    ]
    return Thing("door", finish, tuple(parts), (x + 0.07, 0.1), top + 0.07)


def window_frame(rng: Random, x: float, y: float, wood: Finish) -> Thing:
    """The frame, sill and bars of a window of half width x and half height y; centre at the origin, back at z = 0."""
    t, deep = 0.03, 0.025
    parts = [
        block((0, y + t, deep), (x + 2 * t, t, deep), wood),
        block((-x - t, 0, deep), (t, y, deep), wood),
        block((x + t, 0, deep), (t, y, deep), wood),
        block((0, -y - 0.02, 0.05), (x + 0.09, 0.02, 0.05), wood),
    ]
    bars = rng.choice(("cross", "cross", "middle", "grid", "none"))
    if bars in ("cross", "middle", "grid"):
        parts.append(block((0, 0, 0.012), (0.016, y, 0.012), wood))
    if bars == "cross":
        parts.append(block((0, y * 0.3, 0.01), (x, 0.014, 0.01), wood))
    if bars == "grid":
        parts += [block((0, y * level, 0.01), (x, 0.012, 0.01), wood) for level in (-0.33, 0.33)]
    return Thing("window", wood, tuple(parts), (x + 0.09, 0.1), 2 * y)


def curtain(rng: Random, x: float, y: float) -> Thing:
    """A pair of curtains beside a window of half width x and half height y; centre at the origin, back at z = 0."""
    finish = choose(rng, ("fabric",))
    finish = patterned(finish, "folds", rng.uniform(0.07, 0.11), shade(finish, 0.55).rgb)
    width = min(0.2, 0.28 * x)
    parts = [Part(BLOCK, (s * (x + width * 0.9), 0.0, 0.09), (width, y + 0.12, 0.025, 1.0), finish) for s in (-1, 1)]
    rod = choose(rng, ("metal", "wood"))
    bar = Part(ROUND, (0, y + 0.15, 0.09), (0.014, 0.014, x + 2.2 * width, 0.0), rod, rotation("z", 90))
    return Thing("curtain", finish, (*parts, bar), (x + 2.4 * width, 0.12), 2 * y)
