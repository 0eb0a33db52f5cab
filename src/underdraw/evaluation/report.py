"""The whole evaluation of a base and its ControlNets: figures as JSON, a table in Markdown, a contact sheet."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw import __version__, images
from underdraw.evaluation.judges import call_judge
from underdraw.evaluation.suites import measure, measure_vae
from underdraw.evaluation.tables import Report, contact_sheet, tables
from underdraw.evaluation.trials import Easel, Item, Protocol, Tell, choose, gather, rebuild
from underdraw.evaluation.words import Clip, ask, prefer
from underdraw.files import atomic
from underdraw.generation import Studio, control_kinds

__all__ = ["evaluate", "write_report"]


def evaluate(
    base: str,
    folders: Sequence[Path],
    output: Path,
    *,
    protocol: Protocol | None = None,
    kinds: Sequence[str] | None = None,
    readers: Sequence[Path] = (),
    clip: Path | None = None,
    device: str = "auto",
    tell: Tell = lambda what, done, count: None,
) -> Report:
    """Measure a base on one split of image folders and write `report.json`, `report.md` and a sheet a kind to `output`.

    base: "embedded", or a folder in diffusers layout with its ControlNets beside it. kinds: those to measure (all that
    the nets beside the base take). readers: files of those who judge what no annotator sees in a picture (the one that
    ships). clip: a CLIP's folder; without one, captions are not asked about. tell: hears of the progress.
    Raises ConfigError for a kind without a ControlNet or a judge, InputError for folders without pictures of the split.
    """
    protocol = protocol or Protocol()
    studio = Studio.open(base, device)
    chosen = list(kinds) if kinds is not None else control_kinds(studio.folder)
    for kind in chosen:
        studio.net(kind)
    judges = [call_judge(kind, readers, protocol.split) for kind in chosen]
    listener = Clip(clip, studio.backbone.device) if clip else None
    easel, found = Easel(studio, protocol, tell), gather(folders, protocol.split)
    plan, measured = [(judge, choose(found, protocol, judge)) for judge in judges], {}
    for judge, items in plan:
        trial = easel.trial(judge, items)
        measured[judge.kind] = measure(trial, judge, protocol.seed)
        images.write(contact_sheet(trial, judge), output / f"sheet-{judge.kind}.png")
    items = choose(found, protocol)
    report = Report(
        base=studio.name,
        base_hash=studio.hash,
        version=__version__,
        protocol=protocol.model_dump(),
        folders={world: sum(item.world == world for item in items) for world in sorted({i.world for i in items})},
        judges={judge.kind: judge.told for judge in judges},
        obedience=measured,
        vae=measure_vae(items, rebuild(studio.backbone, _truth(items)), protocol.seed),
        preference=prefer(listener, items, easel.free(items)) if listener else {},
        known=ask(listener, items, protocol.seed) if listener else {},
    )
    write_report(report, tables(report), output)
    return report


def _truth(items: Sequence[Item]) -> Tensor:
    return torch.stack([item.record.image for item in items])


def write_report(report: Any, text: str, output: Path) -> None:
    """A dataclass as `report.json` (what is not a number is null), its text as `report.md`, each whole or absent."""
    with atomic(output / "report.json") as draft:
        draft.write_text(json.dumps(_plain(asdict(report)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic(output / "report.md") as draft:
        draft.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON has no word for what is not a number."""
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
