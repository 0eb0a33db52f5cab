"""Grids that clients ask for: the recipes of all combinations, and the sheet of what came of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

from underdraw.apps.server.asking import wish_of
from underdraw.apps.server.limits import Limits, check_text
from underdraw.apps.server.service import as_text
from underdraw.errors import ConfigError
from underdraw.generation import Axis, Cell, Drawing, Drawn, Row, Studio, plan_each, sheet
from underdraw.generation.grid import ALSO, AXES
from underdraw.generation.plan import seeds_for

__all__ = ["Grid"]

CELL = (96, 256)
"""The least and the greatest side of a picture on the sheet, in pixels."""


@dataclass(frozen=True)
class Grid:
    """The first axis runs across, the other down."""

    axes: tuple[Axis, ...]

    @classmethod
    def asked(cls, axes: Sequence[tuple[str, Sequence[str]]]) -> Self:
        """From names and values as words. Raises ConfigError for what cannot be varied from here."""
        return cls(tuple(_axis(name, values) for name, values in axes))

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The values of the axes that run down."""
        return list(product(*(axis.values for axis in self.axes[1:])))

    @property
    def count(self) -> int:
        """Pictures."""
        return len(self.rows) * len(self.axes[0].values)

    def drawings(self, studio: Studio, asked: Any, limits: Limits, tell: Callable[[str], None]) -> list[Drawing]:
        """The recipes, row by row; what they share is read and annotated once."""
        for axis in self.axes:
            for value in axis.values:
                check_text(value if isinstance(value, str) else "", limits, f"the grid's {axis.name}")
        wish = wish_of(studio, asked, limits)
        seed = seeds_for(wish.settings.get("seed"), 1)[0]
        wish = replace(wish, settings=wish.settings | {"seed": seed})
        known: dict[Any, Any] = {}
        made: list[Drawing] = []
        for values in self.rows:
            for across in self.axes[0].values:
                changed = wish
                for axis, value in zip(self.axes, (across, *values), strict=True):
                    changed = AXES[axis.name].change(changed, value)
                made += plan_each(studio, changed, [changed.settings["seed"]], tell, known)
        return made

    def sheet(self, found: dict[int, Drawn]) -> dict[str, Any] | None:
        """The pictures with their labels on one sheet."""
        width = len(self.axes[0].values)
        rows = [
            Row(
                "\n".join(axis.label(value) for axis, value in zip(self.axes[1:], values, strict=True)),
                [Cell(found[place * width + column].picture) for column in range(width)],
            )
            for place, values in enumerate(self.rows)
        ]
        first = found[0].drawing
        cell = (min(CELL[1], max(CELL[0], first.width)), min(CELL[1], max(CELL[0], first.height)))
        heads = [self.axes[0].label(value) for value in self.axes[0].values]
        drawn = sheet(rows, heads, cell=cell, label_width=170 if len(self.axes) > 1 else 8)
        return {"picture": as_text(drawn), "columns": width, "rows": len(rows)}


def _axis(name: str, values: Sequence[str]) -> Axis:
    name = ALSO.get(name.strip().lower(), name.strip().lower())
    if name == "control":  # names files of this machine
        raise ConfigError("a grid cannot vary 'control' from here; ask for one grid each")
    kind = AXES.get(name)
    try:
        return Axis(name, tuple(value if kind is None else kind.read(value.strip()) for value in values))
    except ValueError as error:
        raise ConfigError(f"the grid's {name}: a value is not a number") from error
