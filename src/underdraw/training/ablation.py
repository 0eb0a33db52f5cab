"""Ablations: one recipe in many versions, each over the same pictures in the same order, from the same seeds."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from underdraw.config import load
from underdraw.errors import ConfigError
from underdraw.model.targets import TARGETS
from underdraw.training.recipe import MapRun, Recipe

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
LORA = ("learn.lora.rank=16", f"learn.lora.targets={list(TARGETS.names())}")
POLICIES = {
    "locked": (),
    "decoder": ("learn.unlock=decoder", "learn.merged=false"),
    "all": ("learn.unlock=all", "learn.merged=false"),
    "only-middle": ("learn.control.branch.sites=middle",),
    "control-lora": LORA,
    "beside": ("learn.task=beside",),
    "beside-lora": ("learn.task=beside", *LORA),
}
"""What learns: of the control and the base, or (beside) of a base that does without a control."""


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
    """One version of a recipe. values: by axis, where they are not the recipe's own. recipes: a run for each seed."""

    values: dict[str, str]
    recipes: tuple[Recipe, ...]

    @property
    def name(self) -> str:
        """Its values in words."""
        return " ".join(f"{axis}={value}" for axis, value in self.values.items()) or "as it is"

    @property
    def seeds(self) -> list[int]:
        """Of its runs."""
        return [run.seed for run in self.recipes]


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

    A value that is the recipe's own is not named, so that the recipe as it is has one name, whatever is compared.
    Raises ConfigError for a recipe that is not a ControlNet's, or values that do not fit it.
    """
    own = load(Recipe, path)
    for values in itertools.product(*(axis.values for axis in found)):
        chosen = list(zip(found, values, strict=True))
        laid = [told for axis, value in chosen for told in axis.overrides(value)]
        _refuse(load(Recipe, path, laid), path)
        differs = {axis.name: value for axis, value in chosen if load(Recipe, path, axis.overrides(value)) != own}
        name = re.sub(r"[^\w.=+-]+", "-", "+".join(f"{axis}={value}" for axis, value in differs.items())) or "plain"
        runs = [
            load(Recipe, path, [*laid, f"output={json.dumps(str(output / 'runs' / f'{name}+{seed}'))}", f"seed={seed}"])
            for seed in range(own.seed, own.seed + seeds)
        ]
        yield Cell(differs, tuple(runs))


def _refuse(recipe: Recipe, path: Path) -> None:
    """Raises ConfigError for what cannot be compared."""
    if not isinstance(recipe.learn, MapRun):
        raise ConfigError(f"{path} is a recipe of {recipe.learn.task}; ablations are of ControlNets (task = control)")
    if not recipe.watch.steps:
        raise ConfigError("watch.steps = 0: a run that is never looked at can't be compared; give a number")
