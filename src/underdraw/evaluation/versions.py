"""Versions of one recipe beside each other: what the runs of each say together, a table, and a chart.

A row is a version as JSON: `version` its name, `cell` the values in which it differs, `seeds`, `runs` (what each found,
see `finished`), and over all of them `measure`, `prompts`, `obedience`, `errors`, `since`, `parameters`, `seconds`,
`memory`. Intervals are over all pictures of all seeds.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw.evaluation.fidelity import Estimate, bootstrap, mean, obedience
from underdraw.files import atomic

__all__ = ["chart", "difference", "merged", "row", "table"]

Row = Mapping[str, Any]

HEADS = {
    "none": "no prompt",
    "insufficient": "insufficient",
    "conflicting": "conflicting",
    "perfect": "perfect prompt",
}
"""The paper's four kinds of prompts, as the table calls them."""


def row(name: str, values: Mapping[str, str], seeds: Sequence[int], runs: Sequence[Row]) -> dict[str, Any]:
    """What the runs of a version say together; where not all are done, there are more seeds than runs."""
    taken = [run["seconds"] for run in runs if run["seconds"] is not None]
    told: dict[str, Any] = {"version": name, "cell": dict(values), "seeds": list(seeds[: len(runs)])}
    if all("prompts" in run for run in runs):
        told["measure"] = runs[0]["measure"]
        told["prompts"] = {prompt: _interval(mean(_items(runs, "prompts", prompt))) for prompt in HEADS}
        parts = (_items(runs, "prompts", "perfect"), _items(runs, "floor"), _items(runs, "ceiling"))
        told["obedience"] = _interval(obedience(*parts))
    told["errors"] = {name: _interval(mean(_items(runs, "errors", name))) for name in ("right", "none")}
    told["since"] = [run["since"] for run in runs]
    told["parameters"], told["memory"] = runs[0]["parameters"], max(run["memory"] for run in runs)
    told["seconds"] = statistics.median(taken) if taken else None
    return told | {"runs": list(runs)}


def _items(runs: Sequence[Row], *place: str) -> Tensor:
    """The figures of all items of all runs, found under the same keys in each."""
    found: list[float] = []
    for run in runs:
        here: Any = run
        for key in place:
            here = here[key]
        found += here
    return torch.tensor(found)


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def merged(before: Sequence[Row], now: Sequence[Row]) -> list[Row]:
    """The rows of earlier calls with those of this one in their places, or behind them."""
    rows = {each["version"]: each for each in before} | {each["version"]: each for each in now}
    return list(rows.values())


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line a version.

    The difference is the way from floor to ceiling less that of the recipe as it is, on the same pictures and seeds.
    """
    plain = next((each for each in rows if not each["cell"]), None)
    scored = [each for each in rows if "prompts" in each]
    measures = [f"{scored[0]['measure']}, {HEADS['none']}", *list(HEADS.values())[1:]] if scored else []
    heads = ["version", "seeds", "obeys since step", *measures, *(["floor to ceiling", "difference"] if scored else [])]
    heads += ["error × 1000, with map", "without", "parameters", "s a step", "memory of a step"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(_values(each, plain, bool(scored))) + " |" for each in rows)])


def _values(row: Row, plain: Row | None, scored: bool) -> list[str]:
    since = ", ".join(str(step) if step is not None else "never" for step in row["since"])
    values = [row["version"], str(len(row["seeds"])), since]
    if "prompts" in row:
        values += [_told(row["prompts"][name], ".3f") for name in HEADS]
        values += [
            _told(row["obedience"], ".0f") + " %",
            "–" if plain in (None, row) else f"{difference(row, plain):+.0f}",
        ]
    elif scored:
        values += ["–"] * (len(HEADS) + 2)
    values += [_told(error, ".1f", 1000) for error in row["errors"].values()]
    seconds = "–" if row["seconds"] is None else f"{row['seconds']:.2f}"
    return [*values, f"{row['parameters']:,}", seconds, f"{row['memory'] / 2**20:,.0f} MB"]


def difference(row: Row, plain: Row) -> Estimate:
    """By how many points of the way from floor to ceiling a version is beyond another, over the seeds that both ran."""
    pairs = list(zip(row["runs"], plain["runs"], strict=False))
    ours, others = ([pair[place] for pair in pairs] for place in (0, 1))
    scores = [_items(runs, "prompts", "perfect") for runs in (ours, others)]
    items = torch.stack([*scores, _items(others, "floor"), _items(others, "ceiling")], 1)
    return bootstrap(items, lambda means: 100 * (means[:, 0] - means[:, 1]) / (means[:, 3] - means[:, 2]))


def _told(interval: Mapping[str, float], form: str, times: int = 1) -> str:
    value, low, high = (format(times * interval[name], form) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def chart(rows: Sequence[Row], path: Path) -> None:
    """Scores under the right map over the steps as PNG: a panel a group of axes, in each the recipe as it is in black.

    A curve is the mean of a version's seeds; the dotted one is what the recipe as it is draws under another's map.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plain = [each for each in rows if not each["cell"]]
    groups: dict[str, list[Row]] = {}
    for each in rows:
        if each["cell"]:
            groups.setdefault(", ".join(each["cell"]), []).append(each)
    panels = groups or {"": plain}
    columns = min(3, len(panels))
    deep = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.5 * columns, 3.6 * deep), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(deep, columns, squeeze=False, sharex=True, sharey=True)
    for place, (name, members) in enumerate(panels.items()):
        axes = grid[place // columns][place % columns]
        for each in plain:
            axes.plot(*_curve(each, "right"), color="black", label=each["version"], marker=".")
            axes.plot(*_curve(each, "shuffled"), color="black", linestyle=":", linewidth=1)
        for each in members if groups else ():
            axes.plot(*_curve(each, "right"), label=each["version"], marker=".")
        axes.set(title=name, xlabel="step", ylabel=(plain or members)[0].get("measure", "minus the denoising error"))
        axes.legend(fontsize="small")
    for place in range(len(panels), deep * columns):
        grid[place // columns][place % columns].axis("off")
    with atomic(path) as draft:
        figure.savefig(draft, format="png", dpi=100)


def _curve(row: Row, name: str) -> tuple[list[int], list[float]]:
    """The steps at which every seed was looked at, and the means of a score there."""
    looks: dict[int, list[float]] = {}
    for run in row["runs"]:
        for look in run["looks"]:
            looks.setdefault(look["step"], []).append(look[name])
    steps = [step for step, found in looks.items() if len(found) == len(row["runs"])]
    return steps, [statistics.fmean(looks[step]) for step in steps]
