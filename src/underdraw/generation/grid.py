"""Grids: every value of one setting with every value of others, on one sheet with labels (A1111's X/Y plot)."""

import csv
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

from torch import Tensor

from underdraw.errors import ConfigError
from underdraw.generation.company import assemble
from underdraw.generation.controls import PARTS, ControlRequest
from underdraw.generation.plan import plan_each
from underdraw.generation.recipe import Drawing
from underdraw.generation.sampler import Frame
from underdraw.generation.sheets import Cell, Row, sheet
from underdraw.generation.sources import name_of
from underdraw.generation.studio import Drawn, Studio
from underdraw.generation.wish import MOST, Wish
from underdraw.registry import nearest

__all__ = ["AXES", "Axis", "draw_grid"]

Change = Callable[[Wish, Any], Wish]


def _setting(name: str) -> Change:
    return lambda wish, value: replace(wish, settings=wish.settings | {name: value})


def _heard(name: str) -> Change:
    """A change of every control."""
    return lambda wish, value: replace(
        wish, controls=tuple(replace(each, **{name: value}) for each in wish.controls or ())
    )


def _picture(name: str) -> Change:
    return lambda wish, value: replace(
        wish, picture=None if wish.picture is None else replace(wish.picture, **{name: value})
    )


def _control(wish: Wish, value: str) -> Wish:
    """`none`, or another control instead of those that were said."""
    return replace(wish, controls=() if value == "none" else (ControlRequest.parse(value),))


@dataclass(frozen=True)
class Kind:
    """What can be varied: how a word becomes a value, and what the value changes."""

    read: Callable[[str], Any]
    change: Change


AXES: Mapping[str, Kind] = {
    "prompt": Kind(str, lambda wish, value: replace(wish, prompts=(value,))),
    "control": Kind(str, _control),
    "preset": Kind(str, lambda wish, value: replace(wish, preset=value)),
    **{name: Kind(int, _setting(name)) for name in ("seed", "steps", "clip_skip")},
    **{name: Kind(float, _setting(name)) for name in ("guidance", "rescale")},
    **{name: Kind(str, _setting(name)) for name in ("scheduler", "negative")},
    **{name: Kind(PARTS[name], _heard(name)) for name in ("weight", "start", "end", "curve", "side", "times", "scale")},
    "strength": Kind(float, _picture("strength")),
}
"""What a grid may vary. weight, start, end, curve, side, times and scale are those of every control."""
ALSO = {"clip skip": "clip_skip", "cfg": "guidance", "sampler": "scheduler", "denoising": "strength"}
"""Other tools' words."""


@dataclass(frozen=True)
class Axis:
    """One thing that is varied, and its values. Raises ConfigError for what cannot be varied."""

    name: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if self.name not in AXES:
            raise ConfigError(f"a grid cannot vary {self.name!r}; {nearest(self.name, sorted(AXES))}")
        if not self.values:
            raise ConfigError(f"the grid's {self.name} has no values; write {self.name}=1,2,3")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`NAME=VALUE,VALUE,…`; a value with a comma stands in double quotes. Raises ConfigError."""
        name, sign, rest = text.partition("=")
        name = ALSO.get(name.strip().lower(), name.strip().lower())
        if not sign:
            raise ConfigError(f"grid {text!r} is not NAME=VALUE,VALUE, for example weight=0.5,1")
        words = next(csv.reader([rest], skipinitialspace=True)) if rest.strip() else []
        kind = AXES.get(name)
        try:
            return cls(name, tuple(word if kind is None else kind.read(word.strip()) for word in words))
        except ValueError as error:
            raise ConfigError(f"grid {text!r}: a value of {name} is not a number ({error})") from error

    def label(self, value: Any) -> str:
        """What stands beside a row or over a column."""
        if isinstance(value, tuple):
            value = ":".join(f"{number:g}" for number in value)
        if isinstance(value, ControlRequest):
            value = f"{value.kind} {name_of(value.picture)}"
        told = f"{value:g}" if isinstance(value, float) else str(value)
        return told if self.name in ("prompt", "control", "preset") else f"{self.name} {told}"


def draw_grid(
    studio: Studio,
    wish: Wish,
    axes: Sequence[Axis],
    tell: Callable[[Frame], None] = lambda frame: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Tensor, list[Drawn]]:
    """The sheet 3×H×W of a wish with every combination of the axes' values, and its pictures.

    The first axis runs across, the others down; what can be is drawn in one batch. One seed for all, unless an axis
    says otherwise. Interrupted, what there is. Raises ConfigError for too many pictures, and what `plan` raises.
    """
    across, *down = axes
    wish = replace(wish, count=1, settings={"seed": secrets.randbelow(2**31)} | wish.settings)
    combined = list(product(*(axis.values for axis in down)))
    if len(combined) * len(across.values) > MOST:
        raise ConfigError(f"the grid has {len(combined) * len(across.values):,} pictures; at most {MOST:,} are drawn")
    wishes = [_changed(wish, axes, (value, *values)) for values in combined for value in across.values]
    drawn = list(studio.draw_all(assemble(_recipes(studio, wishes, say)), tell, say))
    width = len(across.values)
    rows = [
        Row(
            "\n".join(axis.label(value) for axis, value in zip(down, values, strict=True)),
            [Cell(one.picture) for one in drawn[place * width : (place + 1) * width]],
        )
        for place, values in enumerate(combined)
        if place * width < len(drawn)
    ]
    cell = (min(256, max(96, drawn[0].drawing.width)), min(256, max(96, drawn[0].drawing.height)))
    heads = [across.label(value) for value in across.values]
    return sheet(rows, heads, cell=cell, label_width=170 if down else 8), drawn


def _changed(wish: Wish, axes: Sequence[Axis], values: Sequence[Any]) -> Wish:
    for axis, value in zip(axes, values, strict=True):
        wish = AXES[axis.name].change(wish, value)
    return wish


def _recipes(studio: Studio, wishes: Sequence[Wish], say: Callable[[str], None]) -> Iterator[Drawing]:
    """One drawing of each wish; what they share is read and annotated once."""
    known: dict[Any, Any] = {}
    for wish in wishes:
        yield from plan_each(studio, wish, [wish.settings["seed"]], say, known)
