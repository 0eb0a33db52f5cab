"""The report on quality: what control costs, kind by kind, as JSON, a table in Markdown and a sheet a kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw import __version__, images
from underdraw.data.batches import PictureSet
from underdraw.evaluation.judges import call_judge
from underdraw.evaluation.quality import Quality, measure_quality, nearest
from underdraw.evaluation.report import write_report
from underdraw.evaluation.tables import table
from underdraw.evaluation.trials import Easel, Item, Protocol, Tell, choose, gather
from underdraw.evaluation.words import Clip
from underdraw.generation import Cell, Row, Studio, control_kinds, sheet

__all__ = ["Costs", "cost_table", "weigh"]

LEARNT = "train"
"""The split that the base and its nets learnt from."""
SHOWN = 10
"""Items on a sheet."""


@dataclass(frozen=True)
class Costs:
    """What was measured, by kind of control, and on what. learnt: how many pictures were compared with."""

    base: str
    base_hash: str
    version: str
    protocol: Mapping[str, Any]
    learnt: int
    quality: Mapping[str, Quality]


def weigh(
    base: str,
    folders: Sequence[Path],
    output: Path,
    *,
    clip: Path,
    protocol: Protocol | None = None,
    kinds: Sequence[str] | None = None,
    readers: Sequence[Path] = (),
    device: str = "auto",
    tell: Tell = lambda what, done, count: None,
) -> Costs:
    """Measure what control costs and write `report.json`, `report.md` and a sheet a kind to `output`.

    folders: with the split of the protocol, and with what was learnt from (the split "train"). The rest is as in
    `evaluate`. Raises InputError for folders without either.
    """
    protocol = protocol or Protocol()
    studio = Studio.open(base, device)
    judges = [call_judge(kind, readers, protocol.split) for kind in kinds or control_kinds(studio.folder)]
    for judge in judges:
        studio.net(judge.kind)
    easel, found = Easel(studio, protocol, tell), gather(folders, protocol.split)
    plan = [(judge, choose(found, protocol, judge)) for judge in judges]
    eye, pictures = Clip(clip, studio.backbone.device), PictureSet.load(folders, LEARNT)
    learnt = torch.cat([eye.see(pictures.pictures(rows)) for rows in torch.arange(len(pictures)).split(256)])
    quality = {}
    for judge, items in plan:
        maps = torch.cat([judge.shown(item.record) for item in items])
        bound = easel.under(items, judge.kind, maps, "under the map")
        quality[judge.kind] = measure_quality(easel, judge, eye, items, bound, learnt)
        likest = [pictures.pictures(nearest(eye.see(seen), learnt).indices) for seen in (bound[:SHOWN], _true(items))]
        shown = _sheet(judge.kind, items, (_true(items), maps, easel.free(items), bound, *likest))
        images.write(shown, output / f"quality-{judge.kind}.png")
    costs = Costs(studio.name, studio.hash, __version__, protocol.model_dump(), len(pictures), quality)
    write_report(costs, cost_table(costs), output)
    return costs


def cost_table(costs: Costs) -> str:
    """Markdown: figures with their 95 % intervals, a line a measure."""
    heads = ["control", "items", "measure", "under the map", "without control", "true pictures", "together"]
    rows = [row for kind, each in costs.quality.items() for row in _rows(kind, each)]
    told = costs.protocol
    head = (
        f"Base {costs.base} ({costs.base_hash}), {told['split']} split, {told['steps']} steps of {told['scheduler']}, "
        f"guidance {told['guidance']:g}, seeds from {told['seed']}; {costs.learnt:,} pictures were learnt from. "
        "Features are a small CLIP's. Brackets: 95 % bootstrap intervals over items."
    )
    return f"{head}\n\n{table(heads, rows)}\n"


def _rows(kind: str, each: Quality) -> list[list[str]]:
    measured = [
        ("KID", each.kid, each.kid_free, each.kid_true, f"{each.worse:+.4f} more"),
        ("variety over seeds, features", None, None, None, f"{each.variety:.0f} % of without"),
        ("variety over seeds, pixels", None, None, None, f"{each.variety_pixels:.0f} % of without"),
        ("distance to the nearest learnt from", each.nearest, each.nearest_free, each.nearest_true, ""),
        (
            "likeness to the caption",
            each.alignment,
            each.alignment_free,
            each.alignment_true,
            f"{each.kept:.1f} % kept",
        ),
    ]
    return [
        [kind, str(each.items), name, *("" if figure is None else f"{figure:.4f}" for figure in figures), together]
        for name, *figures, together in measured
    ]


def _true(items: Sequence[Item]) -> Tensor:
    return torch.stack([item.record.image for item in items[:SHOWN]])


def _sheet(kind: str, items: Sequence[Item], columns: Sequence[Tensor]) -> Tensor:
    """3×H×W: a row an item; the maps are the second column."""
    rows = [
        Row(item.record.text, [Cell(each[row].clamp(0, 1), crisp=place == 1) for place, each in enumerate(columns)])
        for row, item in enumerate(items[:SHOWN])
    ]
    heads = ["true picture", "map", "without control", "under the map", "nearest learnt from", "nearest to the truth"]
    return sheet(rows, heads, f"{kind}: drawn pictures and the likest that were learnt from")
