"""Small things, plants and solids; each stands on y = 0 of its own frame."""

import math
from random import Random

from underdraw.data.scenes.finishes import BRIGHT, blend, choose, jitter, patterned, plain, shade
from underdraw.data.scenes.furniture import block, post
from underdraw.data.scenes.parts import ELLIPSOID, ROUND, Finish, Part, Thing, rotation, upright
from underdraw.data.scenes.vocabulary import COLOURS

SOLID = ("wood", "plastic", "plastic", "metal", "stone", "rubber", "ceramic")


def ball(rng: Random, size: float) -> Thing:
    """A ball of diameter `size`."""
    finish = choose(rng, ("rubber", "rubber", "plastic", "metal", "wood", "stone"), _vivid(rng))
    part = Part(ELLIPSOID, (0, size / 2, 0), (size / 2,) * 3 + (0.0,), finish, rotation("x", rng.uniform(-50, 50)))
    return Thing("ball", finish, (part,), (size / 2, size / 2), size)


def box(rng: Random, size: float) -> Thing:
    """A cuboid, sometimes with a lid or a ribbon."""
    finish = choose(rng, (*SOLID, "paper"), _vivid(rng))
    x, z, height = size / 2, size / 2 * rng.uniform(0.75, 1.0), size * rng.uniform(0.6, 1.0)
    parts = [block((0, height / 2, 0), (x, height / 2, z), finish)]
    if rng.random() < 0.3 and finish.substance == "paper":
        band = plain(jitter(rng, COLOURS[rng.choice(BRIGHT)].rgb), "fabric")
        parts.append(block((0, height / 2 + 0.002, 0), (x * 0.16, height / 2 + 0.002, z + 0.003), band))
        parts.append(block((0, height / 2 + 0.001, 0), (x + 0.003, height / 2 + 0.001, z * 0.16), band))
        x, z, height = x + 0.003, z + 0.003, height + 0.004
    return Thing("box", finish, tuple(parts), (x, z), height)


def cone(rng: Random, size: float) -> Thing:
    """A cone."""
    finish, radius, height = choose(rng, SOLID, _vivid(rng)), size / 2, size * rng.uniform(1.0, 1.5)
    return Thing("cone", finish, (post((0, height / 2, 0), radius, 0.0, height / 2, finish),), (radius,) * 2, height)


def cylinder(rng: Random, size: float) -> Thing:
    """A cylinder."""
    finish, radius, height = choose(rng, SOLID, _vivid(rng)), size / 2.3, size * rng.uniform(0.7, 1.3)
    return Thing(
        "cylinder", finish, (post((0, height / 2, 0), radius, radius, height / 2, finish),), (radius,) * 2, height
    )


def pyramid(rng: Random, size: float) -> Thing:
    """A square pyramid."""
    finish, half, height = choose(rng, SOLID, _vivid(rng)), size / 2, size * rng.uniform(0.8, 1.2)
    return Thing(
        "pyramid", finish, (block((0, height / 2, 0), (half, height / 2, half), finish, 0.0),), (half,) * 2, height
    )


def vase(rng: Random, size: float) -> Thing:
    """A vase, half of the time with flowers."""
    finish = choose(rng, ("ceramic", "ceramic", "ceramic", "metal", "stone", "marble"), _vivid(rng))
    r, h = size * rng.uniform(0.28, 0.36), size
    neck = r * rng.uniform(0.35, 0.6)
    parts = [
        Part(ROUND, (0, 0.36 * h, 0), (r * 0.72, r, 0.1 * h, 0.0), finish),
        post((0, 0.03 * h, 0), r * 0.6, r * 0.6, 0.03 * h, finish),
        post((0, 0.75 * h, 0), r * 0.75, neck, 0.12 * h, finish),
        post((0, 0.935 * h, 0), neck, neck * 1.45, 0.065 * h, finish),
    ]
    top = h
    if rng.random() < 0.5:
        petals = jitter(rng, COLOURS[rng.choice(("red", "yellow", "pink", "white", "orange", "purple"))].rgb)
        for index in range(5):
            angle = index * 2.4 + rng.uniform(-0.4, 0.4)
            lean = rng.uniform(0.04, 0.1) * size / 0.3
            x, z, rise = lean * math.cos(angle), lean * math.sin(angle), rng.uniform(0.3, 0.6) * h
            stem = plain((0.24, 0.48, 0.2), "fabric")
            base = (0.3 * x, top, 0.3 * z)
            direction = (0.7 * x, rise, 0.7 * z)
            middle = (base[0] + 0.35 * x, top + rise / 2, base[2] + 0.35 * z)
            parts.append(Part(ROUND, middle, (0.004, 0.004, rise / 2, 0.0), stem, upright(direction)))
            blossom = plain(blend(petals, (1, 0.95, 0.8), rng.uniform(0, 0.25)), "fabric")
            bloom = size * rng.uniform(0.09, 0.13)
            parts.append(Part(ELLIPSOID, (x, top + rise, z), (bloom, bloom * 0.7, bloom, 0.0), blossom))
        top += 0.72 * h
        r = max(r, 0.24 * size)
    return Thing("vase", finish, tuple(parts), (r, r), top)


def books(rng: Random, size: float) -> Thing:
    """A small pile of books."""
    count, parts, y = rng.choice((1, 2, 3)), [], 0.0
    first: Finish | None = None
    for _ in range(count):
        finish = choose(rng, ("paper",), (*BRIGHT, "brown", "black"))
        finish = patterned(finish, "plain", 0.2)
        first = finish
        thick = rng.uniform(0.012, 0.025)
        part = block((0, 0, 0), (size * 0.36, thick, size * 0.27), finish)
        parts.append(part.moved(rotation("y", rng.uniform(-14, 14)), (0, y + thick, 0)))
        y += 2 * thick
    assert first is not None
    return Thing("book", first, tuple(parts), (size * 0.44, size * 0.36), y, name="books" if count > 1 else "")


def cushion(rng: Random, size: float) -> Thing:
    """A cushion that lies flat."""
    finish = choose(rng, ("fabric",), (*BRIGHT, "white", "beige"))
    half, thick = size * 0.48, size * 0.15
    part = Part(ELLIPSOID, (0, thick, 0), (half, thick, half, 0.0), finish)
    return Thing("cushion", finish, (part,), (half, half), 2 * thick)


def plant(rng: Random, size: float) -> Thing:
    """A pot with leaves: bushy, upright or on a stem."""
    pot = choose(rng, ("ceramic", "ceramic", "stone", "plastic"), _vivid(rng))
    r, h = size * 0.19, size * rng.uniform(0.26, 0.34)
    parts = [post((0, h / 2, 0), r * 0.72, r, h / 2, pot)]
    green = jitter(rng, rng.choice(((0.20, 0.45, 0.17), (0.30, 0.52, 0.22), (0.14, 0.38, 0.22))))
    leaf = patterned(plain(green, "plastic", "green"), "leaf", 0.05, blend(green, (0.7, 0.8, 0.3), 0.4))
    way, spread = rng.choice(("bush", "blades", "tree")), r
    if way == "tree":
        trunk = plain((0.36, 0.26, 0.16), "wood")
        parts.append(Part(ROUND, (0, 0.47 * size, 0), (0.03 * size, 0.02 * size, 0.2 * size, 0.0), trunk))
    for index in range(11 if way == "blades" else 9):
        angle = index * 2.4 + rng.uniform(-0.3, 0.3)
        tilt = math.radians(rng.uniform(12, 40) if way == "blades" else rng.uniform(15, 80))
        length = size * (rng.uniform(0.2, 0.33) if way == "blades" else rng.uniform(0.12, 0.19))
        base = h if way != "tree" else 0.66 * size
        direction = (math.sin(tilt) * math.cos(angle), math.cos(tilt), math.sin(tilt) * math.sin(angle))
        reach = length * (1.0 if way == "blades" else 0.9)
        centre = (direction[0] * reach, base + direction[1] * reach, direction[2] * reach)
        width = length * (0.14 if way == "blades" else 0.5)
        radii = (width, length, width * 0.5, 0.0) if way == "blades" else (width, length * 0.8, width, 0.0)
        parts.append(Part(ELLIPSOID, centre, radii, shade(leaf, rng.uniform(0.8, 1.2)), upright(direction)))
        spread = max(spread, math.hypot(centre[0], centre[2]) + (length * 0.6 if way == "blades" else length * 0.8))
    top = max(part.centre[1] + max(part.extent) for part in parts)
    return Thing("plant", pot, tuple(parts), (spread, spread), top)


def _vivid(rng: Random) -> tuple[str, ...]:
    """Mostly strong colours."""
    return BRIGHT if rng.random() < 0.72 else ()
