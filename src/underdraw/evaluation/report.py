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
from underdraw.evaluation.trials import Item, Protocol, Tell, Trial, choose, draw_items, draw_trial, rebuild
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
    readers: Mapping[str, Path] | None = None,
    clip: Path | None = None,
    device: str = "auto",
    tell: Tell = lambda what, done, count: None,
) -> Report:
    """Measure a base on one split of image folders and write `report.json`, `report.md` and a sheet a kind to `output`.

    base: "embedded", or a folder in diffusers layout with its ControlNets beside it. kinds: those to measure (all that
    lie beside the base). readers: by kind, for every kind but canny. clip: a CLIP's folder; without one, captions are
    not asked about. tell: hears of the progress.
    Raises ConfigError for a kind without a ControlNet or a judge, InputError for folders without pictures of the split.
    """
    protocol = protocol or Protocol()
    studio = Studio.open(base, device)
    chosen = list(kinds) if kinds is not None else control_kinds(studio.folder)
    for kind in chosen:
        studio.net(kind)
    judges = {kind: call_judge(kind, readers or {}, protocol.split) for kind in chosen}
    listener = Clip(clip, studio.backbone.device) if clip else None
    trials = [draw_trial(studio, kind, choose(folders, protocol, kind), protocol, tell) for kind in chosen]
    items = choose(folders, protocol)
    report = Report(
        base=studio.name,
        base_hash=studio.hash,
        version=__version__,
        protocol=protocol.model_dump(),
        folders={world: sum(item.world == world for item in items) for world in sorted({i.world for i in items})},
        judges={kind: judge.told for kind, judge in judges.items()},
        obedience={trial.kind: measure(trial, judges[trial.kind], protocol.seed) for trial in trials},
        vae=measure_vae(items, rebuild(studio.backbone, _truth(items)), protocol.seed),
        preference=prefer(listener, items, _by_caption(studio, items, trials, protocol, tell)) if listener else {},
        known=ask(listener, items, protocol.seed) if listener else {},
    )
    write_report(report, output)
    for trial in trials:
        images.write(contact_sheet(trial, judges[trial.kind]), output / f"sheet-{trial.kind}.png")
    return report


def _truth(items: Sequence[Item]) -> Tensor:
    return torch.stack([item.record.image for item in items])


def _by_caption(
    studio: Studio, items: Sequence[Item], trials: Sequence[Trial], protocol: Protocol, tell: Tell
) -> Tensor:
    """N×3×H×W drawn by captions alone; those of a trial over the same items are used again."""
    for trial in trials:
        if [item.key for item in trial.items] == [item.key for item in items]:
            return trial.free
    return draw_items(studio, items, protocol, tell=lambda done: tell("by caption", done, len(items)))


def write_report(report: Report, output: Path) -> None:
    """`report.json` (what is not a number is null) and `report.md`, each whole or absent."""
    with atomic(output / "report.json") as draft:
        draft.write_text(json.dumps(_plain(asdict(report)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic(output / "report.md") as draft:
        draft.write_text(tables(report), encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON has no word for what is not a number."""
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
