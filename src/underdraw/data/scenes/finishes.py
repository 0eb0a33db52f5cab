"""Choosing surfaces: a colour, a substance and a pattern that go together."""

import colorsys
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from underdraw.data.scenes.parts import Finish
from underdraw.data.scenes.vocabulary import COLOURS, SUBSTANCES, Rgb

WOODS: dict[str, tuple[Rgb, ...]] = {
    "brown": ((0.50, 0.31, 0.17), (0.40, 0.23, 0.12), (0.58, 0.37, 0.20)),
    "beige": ((0.80, 0.64, 0.43), (0.86, 0.72, 0.52)),
    "white": ((0.90, 0.88, 0.84),),
    "black": ((0.15, 0.12, 0.10),),
}
METALS: dict[str, tuple[Rgb, ...]] = {
    "grey": ((0.66, 0.68, 0.70),),
    "yellow": ((0.86, 0.66, 0.28),),
    "brown": ((0.72, 0.43, 0.28),),
    "black": ((0.16, 0.16, 0.17),),
}
STONES: dict[str, tuple[Rgb, ...]] = {
    "grey": ((0.55, 0.54, 0.53), (0.43, 0.44, 0.46)),
    "white": ((0.90, 0.89, 0.87),),
    "beige": ((0.78, 0.70, 0.58),),
    "black": ((0.13, 0.13, 0.15),),
    "green": ((0.30, 0.47, 0.38),),
}
NATURAL: dict[str, dict[str, tuple[Rgb, ...]]] = {
    "wood": WOODS,
    "metal": METALS,
    "stone": STONES,
    "marble": {name: STONES[name] for name in ("white", "black", "green", "grey")},
    "leather": {
        "brown": ((0.45, 0.25, 0.14),),
        "black": ((0.12, 0.11, 0.11),),
        "red": ((0.55, 0.12, 0.10),),
        "beige": ((0.78, 0.64, 0.46),),
        "green": ((0.16, 0.34, 0.24),),
    },
}
"""Colours that a substance has by nature; the others take any colour."""

BRIGHT = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink")
PERIODS = {"wood": 0.11, "stripes": 0.12, "checks": 0.16, "dots": 0.13, "marble": 0.35, "weave": 0.02, "bands": 0.09,
           "brushed": 0.02, "speckle": 0.03, "sectors": 0.2}  # fmt: skip


def jitter(rng: Random, rgb: Rgb, amount: float = 1.0) -> Rgb:
    """The colour a little changed in hue, saturation and value, so that no two reds are the same."""
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    hue = (hue + rng.uniform(-0.012, 0.012) * amount) % 1.0
    saturation = min(1.0, saturation * (1 + rng.uniform(-0.12, 0.1) * amount))
    return colorsys.hsv_to_rgb(hue, saturation, min(0.96, value * (1 + rng.uniform(-0.12, 0.1) * amount)))


def blend(a: Rgb, b: Rgb, share: float) -> Rgb:
    """(1 - share)·a + share·b."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def partner(rng: Random, rgb: Rgb) -> Rgb:
    """A second colour for patterns: lighter, darker, or a quite different one."""
    way = rng.random()
    if way < 0.45:
        return blend(rgb, (0.96, 0.94, 0.90), 0.75)
    if way < 0.7:
        return blend(rgb, (0.08, 0.07, 0.09), 0.55)
    return jitter(rng, COLOURS[rng.choice(BRIGHT)].rgb)


def choose(rng: Random, substances: Sequence[str], colours: Sequence[str] = ()) -> Finish:
    """A finish of one of `substances`; `colours` limits the choice where the substance allows."""
    substance = rng.choice(substances)
    natural = NATURAL.get(substance)
    if natural is not None:
        names = [name for name in natural if name in colours] or list(natural)
        if substance == "wood" and not colours:
            names = ["brown", "brown", "brown", "beige", "beige", "white", "black"]
        colour = rng.choice(names)
        rgb = jitter(rng, rng.choice(natural[colour]), 0.7)
    else:
        colour = rng.choice(list(colours) or list(COLOURS))
        rgb = jitter(rng, COLOURS[colour].rgb)
    pattern = rng.choice(SUBSTANCES[substance].patterns)
    second = partner(rng, rgb) if natural is None else blend(rgb, (0.05, 0.03, 0.02), 0.4)
    if pattern == "marble":
        second = blend(rgb, (0.35, 0.34, 0.33) if colour == "white" else (0.95, 0.94, 0.92), 0.6)
    return Finish(colour, substance, rgb, second, pattern, PERIODS.get(pattern, 0.2) * rng.uniform(0.8, 1.4))


def plain(rgb: Rgb, substance: str = "plaster", colour: str = "white", glow: float = 0.0) -> Finish:
    """A finish without pattern."""
    return Finish(colour, substance, rgb, rgb, "plain", 0.2, glow)


def patterned(finish: Finish, pattern: str, period: float, second: Rgb | None = None) -> Finish:
    """The finish with another pattern painted on it."""
    return replace(finish, pattern=pattern, period=period, second=finish.second if second is None else second)


def shade(finish: Finish, factor: float) -> Finish:
    """The finish, both colours multiplied."""
    r, g, b = finish.rgb
    x, y, z = finish.second
    return replace(finish, rgb=(r * factor, g * factor, b * factor), second=(x * factor, y * factor, z * factor))
