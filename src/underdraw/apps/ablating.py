"""`underdraw ablate`: a ControlNet's recipe in many versions, in one table."""

import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from underdraw.apps.terminal import bar, hush, result, say
from underdraw.apps.values import folder_path
from underdraw.errors import UnderdrawError

if TYPE_CHECKING:
    from torch import Tensor

    from underdraw.evaluation.judges import Judge
    from underdraw.training.ablation import Cell
    from underdraw.training.control import ControlTask
    from underdraw.training.recipe import Recipe
    from underdraw.training.trainer import State

__all__ = ["COMMANDS", "ablate"]

FACTS, DRAWN = "cell.json", "drawn.png"
SHOWN, STEPS = 8, 10
"""Watched pictures on the sheet, and steps of every drawing."""
VAGUE = "a high-quality and detailed picture"
"""The paper's insufficient prompt: it says nothing of what is to be seen."""


def ablate(
    recipe: Annotated[Path, Argument(metavar="RECIPE.toml", help="A ControlNet's.")],
    more: Annotated[
        list[str] | None, Argument(metavar="[NAME=A,B,…]...", help="As --over; one value alone is the same for all.")
    ] = None,
    over: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=A,B,…",
            help="What differs: taps, branch, hint, fusion, policy (locked, decoder, all, only-middle), pictures,"
            " condition, or any key of the recipe; every combination is trained.",
        ),
    ] = None,
    output: Annotated[Path, Option("--output", "-o", help="A folder for the runs, the table and the sheet.")] = Path(
        "ablation"
    ),
    seeds: Annotated[int, Option(min=1, help="Runs of each version, from the recipe's seed on.")] = 3,
    as_json: Annotated[bool, Option("--json", help="The table as one JSON object on stdout.")] = False,
) -> None:
    """Train every version of a ControlNet's recipe on the same pictures in the same order, and compare them.

    Called again it goes on where it stopped; versions that are done are not trained again.
    """
    from underdraw import images
    from underdraw.files import atomic
    from underdraw.training.ablation import axes, cells

    target = folder_path(output)
    every = list(cells(recipe, axes([*(over or ()), *(more or ())]), seeds, target))
    with bar("runs", sum(len(cell.recipes) for cell in every)) as move:
        for cell in every:
            for run in cell.recipes:
                move(f"{cell.name}, seed {run.seed}", 0)
                if not (Path(run.output) / FACTS).exists():
                    _apart(run)
                move()
    rows = [_row(cell) for cell in every]
    with atomic(target / "ablation.json") as draft:
        draft.write_text(json.dumps({"recipe": str(recipe), "cells": rows}, indent=1) + "\n", encoding="utf-8")
    table = _table(rows)
    with atomic(target / "ablation.md") as draft:
        draft.write_text(table + "\n", encoding="utf-8")
    images.write(_sheet(every), target / "ablation.png")
    result(table, {"folder": str(target), "cells": rows}, as_json)


def _apart(run: "Recipe") -> None:
    """A run in a process of its own, so that its memory is its own. Raises UnderdrawError where it fails."""
    # Forked from a process that has imported everything and done nothing, so that a run begins at once.
    context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload(["underdraw.training.tasks", "underdraw.evaluation.watching"])
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
    from underdraw.evaluation.watching import watcher
    from underdraw.files import atomic
    from underdraw.training.control import ControlTask
    from underdraw.training.tasks import build_task
    from underdraw.training.trainer import train
    from underdraw.training.watchers import Checkpoints, log, swapped

    task, clock = build_task(recipe), _Clock()
    assert isinstance(task, ControlTask), "cells are ControlNets"
    state = train(task, recipe, [clock.end, log, Checkpoints(), watcher(task, recipe.watch, lambda line: None), clock])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with swapped(state):
        facts = _learnt(state, task)
        task.export(state.folder / "export")
    facts |= {"seconds": clock.seconds, "memory": used}
    with atomic(state.folder / FACTS) as draft:
        draft.write_text(json.dumps(facts) + "\n", encoding="utf-8")


class _Clock:
    """The time of the steps alone: the first watcher ends it, the last begins it."""

    def __init__(self) -> None:
        self._begun, self._taken = 0.0, list[float]()

    def end(self, state: "State", figures: dict[str, float]) -> None:
        """After a step."""
        if self._begun:
            self._taken.append(time.perf_counter() - self._begun)

    def __call__(self, state: "State", figures: dict[str, float]) -> None:
        """Before the next."""
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float | None:
        """The median; None where there was but one step."""
        return statistics.median(self._taken) if self._taken else None


def _learnt(state: "State", task: "ControlTask") -> dict[str, Any]:
    """What a finished run has to show: its looks' verdict, its scores by kind of prompt, its size; and pictures."""
    from underdraw.evaluation.judges import call_judge, sees_pictures
    from underdraw.training.convergence import verdict
    from underdraw.training.obedience import LOOKS, read_looks
    from underdraw.training.pictures import spread

    looks, recipe, kind = read_looks(state.folder / LOOKS), state.recipe, task.config.kinds[0]
    found = verdict(looks)
    facts: dict[str, Any] = {
        "since": found.since if found else None,
        "how": found.how if found else None,
        "gap": looks[-1].gap,
        "parameters": sum(each.numel() for each in task.module.parameters() if each.requires_grad),
    }
    if not (recipe.watch.reader or sees_pictures(kind)):
        return facts | {"measure": "denoising loss (negative)", "prompts": {"perfect": list(looks[-1].right)}}
    readers = {kind: Path(recipe.watch.reader)} if recipe.watch.reader else {}
    judge = call_judge(kind, readers, recipe.data.watch_split)
    return facts | _scored(task, judge, spread(len(task.watched), recipe.watch.items), state.folder / DRAWN)


def _scored(task: "ControlTask", judge: "Judge", chosen: "Tensor", path: Path) -> dict[str, Any]:
    """Scores of every chosen picture under its map, by the paper's four kinds of prompts, and its floor and ceiling."""
    import torch

    from underdraw import images
    from underdraw.evaluation.trials import rebuild
    from underdraw.generation import draw, finish
    from underdraw.model import Control
    from underdraw.training.pictures import sizes
    from underdraw.training.sheets import mosaic

    maps, captions = task.hints(task.watched, chosen), [task.watched.texts[int(row)][0] for row in chosen]
    measure, score = next(iter(judge.scores.items()))
    truth = task.watched.pictures(chosen)
    wanted = maps[:, : judge.read(truth[:1]).shape[1]]

    def drawn(prompts: list[str], controlled: bool = True) -> torch.Tensor:
        controls = [Control(task.net, maps.to(task.backbone.device))] if controlled else []
        size = sizes(task.watched)[0]
        return finish(
            task.backbone, draw(task.backbone, prompts, range(len(prompts)), size, controls=controls, steps=STEPS)
        )

    count = len(captions)
    prompts = {
        "none": [""] * count,
        "insufficient": [VAGUE] * count,
        "conflicting": captions[1:] + captions[:1],
        "perfect": captions,
    }
    pictures = {name: drawn(told) for name, told in prompts.items()}
    images.write(mosaic(torch.cat([maps[:SHOWN], pictures["perfect"][:SHOWN].cpu()]), min(SHOWN, count)), path)
    scores = {name: score(judge.read(each), wanted).tolist() for name, each in pictures.items()}
    floor, ceiling = (
        score(judge.read(each), wanted).tolist() for each in (drawn(captions, False), rebuild(task.backbone, truth))
    )
    return {"measure": measure, "prompts": scores, "floor": floor, "ceiling": ceiling}


def _row(cell: "Cell") -> dict[str, Any]:
    """What all seeds of a version say together; intervals are over all watched pictures of all seeds."""
    import torch

    from underdraw.evaluation.fidelity import mean, obedience

    runs = [json.loads((Path(run.output) / FACTS).read_text(encoding="utf-8")) for run in cell.recipes]

    def together(*place: str) -> torch.Tensor:
        found: list[float] = []
        for run in runs:
            here: Any = run
            for key in place:
                here = here[key]
            found += here
        return torch.tensor(found)

    row: dict[str, Any] = {"cell": cell.values, "seeds": [run.seed for run in cell.recipes], "runs": runs}
    row["measure"] = runs[0]["measure"]
    row["prompts"] = {name: _interval(mean(together("prompts", name))) for name in runs[0]["prompts"]}
    if "ceiling" in runs[0]:
        parts = (together("prompts", "perfect"), together("floor"), together("ceiling"))
        row["obedience"] = _interval(obedience(*parts))
    row["since"] = [run["since"] for run in runs]
    row["parameters"] = runs[0]["parameters"]
    taken = [run["seconds"] for run in runs if run["seconds"] is not None]
    row["seconds"] = statistics.median(taken) if taken else None
    row["memory"] = max(run["memory"] for run in runs)
    return row


def _interval(estimate: Any) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line a version."""
    names = list(rows[0]["cell"]) or ["version"]
    prompts = list(rows[0]["prompts"])
    measure = rows[0]["measure"]
    heads = [*names, "obeys since step", *(f"{measure}, {name} prompt" for name in prompts), "floor to ceiling"]
    heads += ["parameters", "s a step", "memory"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        scores = [_told(row["prompts"][name], ".3f") for name in prompts]
        since = [str(step) if step is not None else "never" for step in row["since"]]
        cost = ["–" if row["seconds"] is None else f"{row['seconds']:.2f}", f"{row['memory'] / 2**30:.2f} GB"]
        values = [*(row["cell"].values() or ["as it is"]), ", ".join(since), *scores]
        values += [
            _told(row["obedience"], ".0f") + " %" if "obedience" in row else "–",
            f"{row['parameters']:,}",
            *cost,
        ]
        lines.append("| " + " | ".join(values) + " |")
    return "\n".join(lines)


def _told(interval: Mapping[str, float], form: str) -> str:
    value, low, high = (format(interval[name], form) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _sheet(every: "Sequence[Cell]") -> "Tensor":
    """What the first seed of each version draws, under the maps."""
    import torch

    from underdraw import images
    from underdraw.generation.sheets import Cell, Row, sheet

    rows = []
    for cell in every:
        path = Path(cell.recipes[0].output) / DRAWN
        if path.exists():
            shown = images.read(path)
            size = (min(shown.shape[-1], 960), shown.shape[-2] * min(shown.shape[-1], 960) // shown.shape[-1])
            rows.append(Row(cell.name, [Cell(images.resize(shown, size, "area")[0])]))
    if not rows:
        return torch.ones(3, 16, 16)
    width, height = (max(row.cells[0].picture.shape[place] for row in rows) for place in (-1, -2))
    return sheet(rows, title="under the maps above them", cell=(int(width), int(height)))


COMMANDS = (ablate,)
