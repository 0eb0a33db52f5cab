"""Ablations: one recipe in many versions, each over the same pictures in the same order, from the same seeds."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from underdraw.config import load
from underdraw.errors import ConfigError
from underdraw.training.recipe import ControlRun, Recipe

__all__ = ["Axis", "Cell", "axes", "cells"]

KEYS = {
    "taps": "learn.control.branch.tap",
    "branch": "learn.control.branch.kind",
    "hint": "learn.control.branch.hint",
    "fusion": "learn.control.fusion.kind",
    "pictures": "data.pictures",
    "condition": "learn.condition",
}
"""What axes are called, beside the keys of a recipe themselves and `policy`."""
POLICIES = {
    "locked": (),
    "decoder": ("learn.unlock=decoder", "learn.merged=false"),
    "all": ("learn.unlock=all", "learn.merged=false"),
    "only-middle": ("learn.control.branch.sites=middle",),
}


@dataclass(frozen=True)
class Axis:
    """One thing that differs, and its values as they were told. One value alone is the same for all."""

    name: str
    values: tuple[str, ...]

    def overrides(self, value: str) -> tuple[str, ...]:
        """What a value lays over the recipe. Raises ConfigError for a policy that is not known."""
        if self.name == "policy":
            if value not in POLICIES:
                raise ConfigError(f"policy={value} is not known; there is {', '.join(POLICIES)}")
            return POLICIES[value]
        return (f"{KEYS.get(self.name, self.name)}={value}",)


@dataclass(frozen=True)
class Cell:
    """One version of a recipe. values: by axis, of those that differ. recipes: a run for each seed."""

    values: dict[str, str]
    recipes: tuple[Recipe, ...]

    @property
    def name(self) -> str:
        """Its values in words."""
        return " ".join(f"{axis}={value}" for axis, value in self.values.items()) or "as it is"


def axes(told: Sequence[str]) -> list[Axis]:
    """`NAME=A,B,…` each. Raises ConfigError for what is something else, or told twice."""
    found = []
    for text in told:
        name, sign, rest = text.partition("=")
        values = tuple(value.strip() for value in rest.split(","))
        if not sign or not name.strip() or not all(values):
            raise ConfigError(f"{text!r} is not NAME=A,B,…, for example branch=full,lite,mlp")
        found.append(Axis(name.strip(), tuple(dict.fromkeys(values))))
    names = [axis.name for axis in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{twice[0]} is told twice; give all its values at once: {twice[0]}=A,B")
    return found


def cells(path: Path, found: Sequence[Axis], seeds: int, output: Path) -> Iterator[Cell]:
    """Every combination of the axes' values, with a run for each seed beside each other in `output/runs`.

    Raises ConfigError for a recipe that is not a ControlNet's, or values that do not fit it.
    """
    for values in itertools.product(*(axis.values for axis in found)):
        chosen = dict(zip((axis.name for axis in found), values, strict=True))
        laid = [told for axis in found for told in axis.overrides(chosen[axis.name])]
        differs = {axis.name: chosen[axis.name] for axis in found if len(axis.values) > 1}
        first = load(Recipe, path, laid)
        if not isinstance(first.learn, ControlRun):
            raise ConfigError(
                f"{path} is a recipe of {first.learn.task}; ablations are of ControlNets (task = control)"
            )
        if not first.watch.steps:
            raise ConfigError("watch.steps = 0: a run that is never looked at can't be compared; give a number")
        name = re.sub(r"[^\w.=+-]+", "-", "+".join(f"{axis}={value}" for axis, value in differs.items())) or "plain"
        runs = [
            load(Recipe, path, [*laid, f"output={json.dumps(str(output / 'runs' / f'{name}+{seed}'))}", f"seed={seed}"])
            for seed in range(first.seed, first.seed + seeds)
        ]
        yield Cell(differs, tuple(runs))
