"""Noun phrases in English and Chinese for what is seen; some of what is known is left out at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from torch import Tensor

from underdraw.data.scenes.parts import Figure, Thing, Vector
from underdraw.data.scenes.vocabulary import COLOURS, KINDS, POSES, SUBSTANCES

Both = tuple[str, str]
"""The same words in English and Chinese."""

PATTERNED: dict[str, Both] = {
    "stripes": ("striped", "条纹"),
    "checks": ("checked", "格子"),
    "dots": ("dotted", "圆点"),
    "bands": ("striped", "条纹"),
}
"""Patterns that are spoken of."""
NAMES: dict[str, tuple[str, str, str]] = {
    "armchair": ("armchair", "扶手椅", "张"),
    "books": ("pile of books", "书", "摞"),
}
"""Things with a name of their own: English, Chinese, measure word."""
OF_ONE_STUFF = ("lamp", "book", "rug", "cushion", "curtain")
"""Kinds whose material goes without saying."""


@dataclass(frozen=True)
class Sight:
    """A thing that is seen.

    index: its place among the scene's things. share: of the picture's pixels. place: (right, up, forward) from the
    camera in metres. figure and points (18×3, see `Views.keypoints`): only of a mannequin.
    """

    index: int
    thing: Thing
    share: float
    place: Vector
    figure: Figure | None = None
    points: Tensor | None = None


def noun(rng: Random, sight: Sight) -> Both:
    """A noun phrase with article and measure word: colour, pattern, material and kind, or clothes and pose."""
    kind = sight.thing.kind
    if sight.figure is not None:
        return _mannequin(rng, sight)
    if kind == "plant":
        return _plant(rng, sight.thing)
    if kind in ("picture", "window"):
        return f"a {KINDS[kind].english}", f"一{KINDS[kind].measure}{KINDS[kind].chinese}"
    words = _adjectives(rng, sight.thing)
    english, chinese = " ".join(word for word, _ in words), "".join(sign for _, sign in words)
    if kind == "curtain":
        return f"{english} curtains", f"{chinese}窗帘"
    plain = (KINDS[kind].english, KINDS[kind].chinese, KINDS[kind].measure)
    name, sign, measure = NAMES.get(sight.thing.name, plain)
    return f"a {english} {name}", f"一{measure}{chinese}{sign}"


def _adjectives(rng: Random, thing: Thing) -> Sequence[Both]:
    """Glow, colour, pattern and material, at least one of the last three where there is a choice."""
    finish = thing.finish
    glows = thing.kind == "lamp" and finish.glow > 0 and rng.random() < 0.5
    with_colour = rng.random() < 0.85
    with_stuff = rng.random() < (0 if thing.kind in OF_ONE_STUFF else 0.6)
    words: list[Both] = [("glowing", "亮着的")] if glows else []
    if with_colour or not with_stuff:
        words.append((finish.colour, COLOURS[finish.colour].chinese))
    if finish.pattern in PATTERNED and rng.random() < 0.7:
        words.append(PATTERNED[finish.pattern])
    if with_stuff:
        words.append((SUBSTANCES[finish.substance].english, SUBSTANCES[finish.substance].chinese))
    return words


def _plant(rng: Random, thing: Thing) -> Both:
    colour = thing.finish.colour
    if rng.random() < 0.5:
        return f"a plant in a {colour} pot", f"一盆{COLOURS[colour].chinese}花盆里的植物"
    return "a potted plant", "一盆植物"


def _mannequin(rng: Random, sight: Sight) -> Both:
    """A mannequin with clothes and pose, as far as its points are seen."""
    assert sight.figure is not None and sight.points is not None
    inside, seen = sight.points[:, 2] > 0, sight.points[:, 2] > 1
    english, chinese = _dressed(rng, sight, seen)
    if int(inside.sum()) >= 12 and int(seen.sum()) >= 6 and rng.random() < 0.85:
        pose = POSES[sight.figure.pose]
        return f"{english} {pose[0]}", f"一个{chinese}人偶{pose[1]}"
    return english, f"一个{chinese}人偶"


def _dressed(rng: Random, sight: Sight, seen: Tensor) -> Both:
    """The mannequin and what it wears or is made of (the Chinese words go before 人偶)."""
    assert sight.figure is not None
    finish = sight.thing.finish
    if not sight.figure.outfit:
        substance, colour = SUBSTANCES[finish.substance], COLOURS[finish.colour]
        return f"a {finish.colour} {substance.english} mannequin", f"{colour.chinese}{substance.chinese}"
    shirt, trousers = sight.figure.outfit
    if not bool(seen[[2, 3, 5, 6]].any()) or rng.random() >= 0.75:
        return "a mannequin", ""
    if not bool(seen[[8, 9, 11, 12]].any()) or rng.random() >= 0.6:
        return f"a mannequin in a {shirt} shirt", f"穿{COLOURS[shirt].chinese}上衣的"
    return (
        f"a mannequin in a {shirt} shirt and {trousers} trousers",
        f"穿{COLOURS[shirt].chinese}上衣和{COLOURS[trousers].chinese}裤子的",
    )
