"""The losses of a run in TensorBoard or Weights & Biases, through accelerate's trackers."""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator

from underdraw.errors import MissingExtra
from underdraw.training.processes import first
from underdraw.training.recipe import Recipe
from underdraw.training.trainer import State

__all__ = ["Trackers", "tracked"]


class Trackers:
    """Every `log_steps` steps the mean losses since then go to the recipe's trackers; they end with the run.

    TensorBoard's files lie in the run's own `tensorboard/`; W&B's project is `underdraw`.
    Raises MissingExtra for a tracker whose package is not there.
    """

    def __init__(self, recipe: Recipe) -> None:
        for name in recipe.trackers:
            if importlib.util.find_spec(name) is None:
                raise MissingExtra(name, name)
        self._accelerator = Accelerator(
            cpu=recipe.device == "cpu", log_with=list(recipe.trackers), project_dir=f"{recipe.output}/tensorboard"
        )
        self._accelerator.init_trackers("underdraw", config=_flat(recipe.model_dump(mode="json")))
        self._sums: dict[str, float] = {}
        self._count = 0

    def __call__(self, state: State, figures: dict[str, float]) -> None:
        """Keep the figures, and send their means when it is time."""
        self._count += 1
        for name, figure in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + figure
        done = state.step == state.recipe.steps or state.done
        if state.step % state.recipe.log_steps == 0 or done:
            means = {name: total / self._count for name, total in self._sums.items()}
            rate = state.optimizer.param_groups[0]["lr"]
            self._accelerator.log(means | {"learning rate": rate}, step=state.step)
            self._sums, self._count = {}, 0

    def close(self) -> None:
        """Write what is waiting."""
        self._accelerator.end_training()


@contextmanager
def tracked(recipe: Recipe) -> Iterator[list[Trackers]]:
    """The recipe's trackers within the block: one watcher, or none; the first of several processes has them."""
    found = [Trackers(recipe)] if recipe.trackers and first() else []
    try:
        yield found
    finally:
        for each in found:
            each.close()


def _flat(table: dict[str, Any], above: str = "") -> dict[str, str | int | float | bool]:
    """A recipe as the trackers take it: one level, `learn.task`; lists as JSON."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[above + key] = value if isinstance(value, str | int | float | bool) else json.dumps(value)
    return found
