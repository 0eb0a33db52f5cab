"""`underdraw ablate`: a ControlNet's recipe in many versions, in one table."""

import json
import multiprocessing
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from underdraw.apps.terminal import bar, hush, result, say
from underdraw.apps.values import folder_path
from underdraw.errors import ConfigError, UnderdrawError

if TYPE_CHECKING:
    from torch import Tensor

    from underdraw.training.ablation import Cell
    from underdraw.training.recipe import Recipe
    from underdraw.training.trainer import State

__all__ = ["COMMANDS", "ablate"]

FACTS, TABLE = "cell.json", "ablation.json"
"""In a run's folder, and in that of them all."""


def ablate(
    recipe: Annotated[Path, Argument(metavar="RECIPE.toml", help="A ControlNet's.")],
    more: Annotated[
        list[str] | None, Argument(metavar="[NAME=A,B,…]...", help="As --over; one value alone is the same for all.")
    ] = None,
    over: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=A,B,…",
            help="What differs: taps, branch, hint, fusion, policy (locked, decoder, all, only-middle, control-lora,"
            " beside, beside-lora), pictures, condition, or any key of the recipe; every combination is trained.",
        ),
    ] = None,
    output: Annotated[Path, Option("--output", "-o", help="A folder for the runs, the table and the sheet.")] = Path(
        "ablation"
    ),
    seeds: Annotated[int, Option(min=1, help="Runs of each version, from the recipe's seed on.")] = 3,
    as_json: Annotated[bool, Option("--json", help="The table as one JSON object on stdout.")] = False,
) -> None:
    """Train every version of a ControlNet's recipe on the same pictures in the same order, and compare them.

    Called again it goes on where it stopped; versions that are done are not trained again. Other axes or more seeds in
    the same folder add to its table.
    """
    from underdraw.training.ablation import axes, cells

    target = folder_path(output)
    every = list(cells(recipe, axes([*(over or ()), *(more or ())]), seeds, target))
    for cell in every:
        _done(cell)  # refuses what is not theirs before anything is trained
    with bar("runs", seeds * len(every)) as move:
        for cell in every:
            for place, run in enumerate(cell.recipes):
                move(f"{cell.name}, seed {run.seed}", 0)
                if place >= len(_done(cell)):
                    _apart(run)
                    _tell(recipe, every, target)
                move()
    rows = _tell(recipe, every, target)
    result((target / "ablation.md").read_text(encoding="utf-8"), {"folder": str(target), "cells": rows}, as_json)


def _done(cell: "Cell") -> list[dict[str, Any]]:
    """What the runs of a version found that are done, as many of the first seeds as there are.

    Raises ConfigError where a folder holds the run of another recipe.
    """
    from underdraw.training.recipe import Recipe

    found = []
    for run in cell.recipes:
        path = Path(run.output) / FACTS
        if not path.exists():
            break
        facts = json.loads(path.read_text(encoding="utf-8"))
        if Recipe.model_validate(facts.pop("recipe")).model_copy(update={"output": run.output}) != run:
            raise ConfigError(f"{run.output} is a run of another recipe than this one; choose another --output")
        found.append(facts)
    return found


def _tell(recipe: Path, every: "Sequence[Cell]", target: Path) -> list[Mapping[str, Any]]:
    """Write the table, the chart and the sheet of all that is done; gives the rows."""
    from underdraw import images
    from underdraw.evaluation.versions import chart, merged, row, table
    from underdraw.files import atomic

    path = target / TABLE
    before = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.exists() else []
    found = [(cell, _done(cell)) for cell in every]
    rows = merged(before, [row(cell.name, cell.values, cell.seeds, facts) for cell, facts in found if facts])
    with atomic(path) as draft:
        draft.write_text(json.dumps({"recipe": str(recipe), "cells": rows}, indent=1) + "\n", encoding="utf-8")
    with atomic(target / "ablation.md") as draft:
        draft.write_text(table(rows) + "\n", encoding="utf-8")
    chart(rows, target / "ablation.png")
    images.write(_sheet(rows, target), target / "drawings.png")
    return rows


def _sheet(rows: "Sequence[Mapping[str, Any]]", target: Path) -> "Tensor":
    """What the first seed of each version draws, under the true pictures and their maps."""
    import torch

    from underdraw import images
    from underdraw.evaluation.finished import DRAWN, strips
    from underdraw.generation import Cell, Row, sheet

    paths = [(each["version"], target / "runs" / each["runs"][0]["folder"] / DRAWN) for each in rows]
    drawn = [(name, strips(images.read(path)[0])) for name, path in paths if path.exists()]
    if not drawn:
        return torch.ones(3, 16, 16)
    truth, maps, _ = drawn[0][1]
    shown = [("true pictures", truth), ("their maps", maps), *((name, strip) for name, (*_, strip) in drawn)]
    height, width = truth.shape[1:]
    return sheet([Row(name, [Cell(strip)]) for name, strip in shown], cell=(width, height))


def _apart(run: "Recipe") -> None:
    """A run in a process of its own, so that its memory is its own. Raises UnderdrawError where it fails."""
    # Forked from a process that has imported everything and done nothing, so that a run begins at once.
    context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload(["underdraw.training.tasks", "underdraw.evaluation.finished"])
    process = context.Process(target=_train, args=(run.model_dump_json(),))
    process.start()
    try:
        process.join()
    finally:
        process.terminate()
        process.join()
    if process.exitcode:
        raise UnderdrawError(f"the run {run.output} ended before its time (above it says why); call again to go on")


def _train(told: str) -> None:
    """Train one version and write what is to be known of it."""
    hush()
    from underdraw.training.recipe import Recipe

    try:
        _run(Recipe.model_validate_json(told))
    except UnderdrawError as error:
        say(str(error))
        sys.exit(2)


def _run(recipe: "Recipe") -> None:
    from underdraw.evaluation.finished import findings
    from underdraw.evaluation.watching import watcher
    from underdraw.files import atomic
    from underdraw.training.mapped import MapTask
    from underdraw.training.tasks import build_task
    from underdraw.training.trainer import train
    from underdraw.training.watchers import Checkpoints, log, swapped

    task, clock = build_task(recipe), _Clock(recipe.device)
    assert isinstance(task, MapTask), "versions draw under maps"
    state = train(task, recipe, [clock.end, log, Checkpoints(), watcher(task, recipe.watch, lambda line: None), clock])
    facts = findings(state, task) | {"seconds": clock.seconds, "folder": state.folder.name}
    with swapped(state):
        task.export(state.folder / "export")
    with atomic(state.folder / FACTS) as draft:
        draft.write_text(json.dumps(facts | {"recipe": recipe.model_dump(mode="json")}) + "\n", encoding="utf-8")
    shutil.rmtree(state.folder / "checkpoints")  # a run that is done never goes on


class _Clock:
    """The time of the steps alone: the first watcher ends it, the last begins it.

    On a CPU it is the processor's time (of all threads), not the clock's, for others may be at work beside it.
    """

    def __init__(self, device: str) -> None:
        self._now = time.process_time if device == "cpu" else time.perf_counter
        self._begun, self._taken = 0.0, list[float]()

    def end(self, state: "State", figures: dict[str, float]) -> None:
        """After a step."""
        if self._begun:
            self._taken.append(self._now() - self._begun)

    def __call__(self, state: "State", figures: dict[str, float]) -> None:
        """Before the next."""
        self._begun = self._now()

    @property
    def seconds(self) -> float | None:
        """The median; None where there was but one step."""
        return statistics.median(self._taken) if self._taken else None


COMMANDS = (ablate,)
