"""A report for people: tables in Markdown, and contact sheets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from underdraw.evaluation.judges import Judge
from underdraw.evaluation.suites import Obedience, Rebuilt
from underdraw.evaluation.trials import Trial
from underdraw.evaluation.words import Known, Preference
from underdraw.generation import Cell, Row, sheet

__all__ = ["Report", "contact_sheet", "table", "tables"]


@dataclass(frozen=True)
class Report:
    """What was measured, and on what. Figures by kind of control, by folder, by attribute or question."""

    base: str
    base_hash: str
    version: str
    protocol: Mapping[str, Any]
    folders: Mapping[str, int]
    judges: Mapping[str, Mapping[str, object]]
    obedience: Mapping[str, Mapping[str, Sequence[Obedience]]]
    vae: Mapping[str, Rebuilt]
    preference: Mapping[str, Preference]
    known: Mapping[str, Known]


def tables(report: Report) -> str:
    """All figures as Markdown, means with their 95 % bootstrap intervals."""
    told = report.protocol
    counts = ", ".join(f"{count} of {world}" for world, count in report.folders.items())
    head = (
        f"Base {report.base} ({report.base_hash}), {told['split']} split ({counts}), {told['steps']} steps of "
        f"{told['scheduler']}, guidance {told['guidance']:g}, seeds from {told['seed']}. "
        "Brackets: 95 % bootstrap intervals over items. Limit: two standard errors from the figure without control. "
        "The judge on the truth: what it gets wrong itself."
    )
    parts = [head, _obedience(report.obedience), _vae(report.vae), _preference(report.preference), _known(report.known)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; nothing for no rows."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def _obedience(found: Mapping[str, Mapping[str, Sequence[Obedience]]]) -> str:
    heads = ("control", "pictures", "measure", "items", "without control", "under the map", "VAE of the truth")
    more = ("judge on the truth", "obedience %", "another's map: obedience %", "another's map: against the truth")
    rows = [
        [kind, world, each.measure, str(each.items), *_figures(each)]
        for kind, by_world in found.items()
        for world, measures in by_world.items()
        for each in measures
    ]
    return table([*heads, *more], rows)


def _figures(each: Obedience) -> list[str]:
    scores = [f"{score:.3f}" for score in (each.floor, each.ours, each.ceiling, each.own)]
    ways = [f"**{each.obedience:.1f}**", f"{each.crossed_obedience:.1f}"]
    verdict = "within" if each.ignores_truth else "beyond"
    return [*scores, *ways, f"{each.against_truth:.3f}, {verdict} the limit {each.limit:.3f}"]


def _vae(found: Mapping[str, Rebuilt]) -> str:
    rows = [
        [world, str(each.items), f"{each.psnr:.2f}", f"{each.near:.3f}", f"{each.exact:.3f}"]
        for world, each in found.items()
    ]
    return table(["VAE", "items", "PSNR dB", "edge F1 at 1 px", "edge F1 at 0 px"], rows)


def _preference(found: Mapping[str, Preference]) -> str:
    rows = [[name, str(each.items), f"{each.drawn:.3f}", f"{each.true:.3f}"] for name, each in found.items()]
    return table(["CLIP prefers the right caption", "captions", "drawn pictures", "true pictures"], rows)


def _known(found: Mapping[str, Known]) -> str:
    rows = [
        [about, str(each.items), str(each.options), f"{each.right:.3f}", f"{each.guess:.3f}", f"{each.usual:.3f}"]
        for about, each in found.items()
    ]
    return table(["CLIP, zero-shot", "pictures", "options", "right", "by guessing", "always the usual"], rows)


def contact_sheet(trial: Trial, judge: Judge, count: int = 12) -> Tensor:
    """The first measure's figure under each picture of `count` items: 3×H×W."""
    chosen = [place * len(trial.items) // min(count, len(trial.items)) for place in range(min(count, len(trial.items)))]
    name, score = next(iter(judge.scores.items()))
    maps, others = trial.maps[chosen].clamp(0, 1), trial.maps[trial.order[chosen]].clamp(0, 1)
    own, theirs = trial.wanted[chosen], trial.wanted[trial.order[chosen]]
    columns = [
        (getattr(trial, part)[chosen], score(judge.read(getattr(trial, part)[chosen]), against).tolist())
        for part, against in (("rebuilt", own), ("free", own), ("bound", own), ("crossed", theirs))
    ]
    rows = [
        Row(
            trial.items[place].record.text,
            [
                Cell(trial.truth[place]),
                Cell(maps[row], crisp=True),
                *(Cell(pictures[row], f"{figures[row]:.2f}") for pictures, figures in columns[:3]),
                Cell(others[row], crisp=True),
                *(Cell(pictures[row], f"{figures[row]:.2f}") for pictures, figures in columns[3:]),
            ],
        )
        for row, place in enumerate(chosen)
    ]
    heads = ["true picture", "map", "VAE", "without control", "under the map", "another's map", "under that map"]
    return sheet(rows, heads, f"{trial.kind}: {name}")
