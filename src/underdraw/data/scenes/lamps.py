"""Lamps: on tables, on the floor, and hanging. A lit one glows and casts no shadow of its shade."""

from random import Random

from underdraw.data.scenes.finishes import choose, jitter, plain
from underdraw.data.scenes.furniture import post
from underdraw.data.scenes.parts import ELLIPSOID, Part, Thing
from underdraw.data.scenes.vocabulary import COLOURS


def table_lamp(rng: Random, size: float, lit: bool) -> Thing:
    """A lamp with a shade, or a glowing globe, for tables and cupboards."""
    return _lamp(rng, size, size * 0.34, lit, rng.random() < 0.35)


def floor_lamp(rng: Random, lit: bool) -> Thing:
    """A tall lamp."""
    return _lamp(rng, rng.uniform(1.35, 1.65), rng.uniform(0.17, 0.24), lit, rng.random() < 0.25)


def _lamp(rng: Random, height: float, radius: float, lit: bool, globe: bool) -> Thing:
    metal = choose(rng, ("metal", "wood", "ceramic"))
    colour = rng.choice(("white", "beige", "beige", "yellow", "red", "turquoise", "pink"))
    tone = jitter(rng, COLOURS[colour].rgb)
    shade_finish = plain(tone, "fabric", colour, 1.0 if lit else 0.0)
    foot, shade_half = radius * 0.7, min(radius * 0.75, height * 0.2)
    stem = height - 2 * (radius if globe else shade_half)
    parts = [
        post((0, 0.012, 0), foot, foot * 0.85, 0.012, metal),
        post((0, 0.024 + (stem - 0.024) / 2, 0), 0.014, 0.012, (stem - 0.024) / 2, metal),
    ]
    if globe:
        radius *= 0.75
        middle = stem + radius
        parts.append(Part(ELLIPSOID, (0, middle, 0), (radius, radius, radius, 0.0), shade_finish))
        height = stem + 2 * radius
    else:
        middle = stem + shade_half
        parts.append(post((0, middle, 0), radius, radius * rng.uniform(0.55, 0.9), shade_half, shade_finish))
    return Thing("lamp", shade_finish, tuple(parts), (max(radius, foot),) * 2, height, light=(0, middle, 0))


def pendant(rng: Random, drop: float, lit: bool) -> Thing:
    """A lamp hanging from the ceiling: y = 0 is the ceiling, everything is below."""
    colour = rng.choice(("white", "yellow", "red", "black", "turquoise", "orange"))
    tone = jitter(rng, COLOURS[colour].rgb)
    finish = plain(tone, "metal" if colour == "black" else "paper", colour, 1.0 if lit else 0.0)
    radius = rng.uniform(0.14, 0.24)
    cord = plain((0.1, 0.1, 0.1), "rubber", "black")
    parts = [post((0, -drop / 2, 0), 0.008, 0.008, drop / 2, cord)]
    if rng.random() < 0.5:
        half = radius * 0.5
        parts.append(post((0, -drop - half, 0), radius, radius * 0.25, half, finish))
    else:
        half = radius
        parts.append(Part(ELLIPSOID, (0, -drop - radius, 0), (radius,) * 3 + (0.0,), finish))
    return Thing("lamp", finish, tuple(parts), (radius, radius), drop + 2 * half, light=(0, -drop - half, 0))
