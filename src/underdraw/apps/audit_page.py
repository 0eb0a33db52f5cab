"""What an audit leaves behind: contact sheets, a list of all findings, and one page that holds everything."""

import base64
import html
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import as_hint
from underdraw.data.audit import Audit, facts, sorts
from underdraw.data.looking import Finding
from underdraw.data.sources import Entry, Piece, Source
from underdraw.errors import InputError
from underdraw.files import atomic
from underdraw.generation import Cell, Row, sheet

__all__ = ["write_audit"]

EXAMPLES = 8
"""Samples of each sort of finding that are shown."""
PAIRS = 10
"""Samples that are shown whatever was found."""
CELL = (176, 176)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em } img { max-width: 100%; border: 1px solid #ddd }
table { border-collapse: collapse } td, th { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: left }
.fault { color: #b00020 } .note { color: #666 } code { font-size: .9em }
"""


def write_audit(found: Audit, source: Source, folder: Path) -> list[Path]:
    """Write `findings.jsonl`, `pairs.png`, a sheet for each sort of finding and `report.html`; what was written."""
    entries = {entry.name: entry for entry in source}
    sheets = {"pairs.png": (f"{PAIRS} samples at random", pairs_sheet(found, source))}
    for number, (_, what, findings) in enumerate(sorts(found)):
        drawn = fault_sheet(what, findings, entries)
        if drawn is not None:
            sheets[f"finding-{number + 1:02}.png"] = (f"{len(findings)} × {what}", drawn)
    with atomic(folder / "findings.jsonl") as draft:
        lines = [json.dumps(asdict(finding), ensure_ascii=False) for finding in found.findings]
        draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for name, (_, picture) in sheets.items():
        images.write(picture, folder / name)
    with atomic(folder / "report.html") as draft:
        draft.write_text(page(found, {name: title for name, (title, _) in sheets.items()}, folder), encoding="utf-8")
    return [folder / name for name in ("report.html", "findings.jsonl", *sheets)]


def pairs_sheet(found: Audit, source: Source) -> Tensor:
    """Samples at random (the same ones each time) with all their maps and captions."""
    chosen = random.Random(0).sample(range(len(source)), min(PAIRS, len(source)))
    rows = [
        _row(entry, found.kinds, entry.texts[0] if entry.texts else "")
        for entry in map(source.entries.__getitem__, sorted(chosen))
    ]
    return sheet(rows, headings=["picture", *found.kinds], title=f"{found.source}: {len(source)} samples", cell=CELL)


def fault_sheet(what: str, findings: Sequence[Finding], entries: dict[str, Entry]) -> Tensor | None:
    """The first samples of one sort of finding, a map also over its picture; None where there is nothing to see."""
    shown = [(each, entries[each.name]) for each in findings if each.name in entries][:EXAMPLES]
    rows = []
    for finding, entry in shown:
        kinds = [finding.kind] if finding.kind else sorted(entry.maps)
        row = _row(entry, kinds, finding.detail or entry.name)
        if finding.kind and len(row.cells) == 2:
            row = Row(
                row.label, [*row.cells, Cell(_over(row.cells[0].picture, row.cells[1].picture), "one over the other")]
            )
        rows.append(row)
    return sheet(rows, title=f"{len(findings)} × {what}", cell=CELL) if rows else None


def _row(entry: Entry, kinds: Sequence[str], words: str) -> Row:
    cells = [Cell(_shown(entry.picture), Path(entry.name).name)]
    cells += [Cell(_shown(entry.maps[kind]) if kind in entry.maps else _shown(None), kind) for kind in kinds]
    return Row(words[:160], cells)


def _shown(piece: Piece | None) -> Tensor:
    """3×H×W; grey where there is nothing to be seen."""
    try:
        if piece is not None:
            return as_hint(images.decode(piece.read(), "", background=(0.0, 0.0, 0.0)))[0]
    except InputError:
        pass
    return torch.full((3, 16, 16), 0.8)


def _over(picture: Tensor, found: Tensor) -> Tensor:
    """The picture in grey with the map in red: what does not lie where it belongs catches the eye."""
    size = (picture.shape[-1], picture.shape[-2])
    grey = picture.mean(0, keepdim=True).expand(3, -1, -1)
    ink = images.resize(images.crop(found[None], size), size)[0].mean(0, keepdim=True)
    return torch.lerp(grey, torch.tensor([1.0, 0.1, 0.1]).view(3, 1, 1).expand_as(grey), 0.6 * ink)


def page(found: Audit, sheets: dict[str, str], folder: Path) -> str:
    """One HTML page with everything in it."""
    parts = [
        f"<title>Audit: {_text(found.source)}</title><style>{STYLE}</style>",
        f"<h1>Audit: {_text(found.source)}</h1>",
    ]
    parts += ["<table>", *_rows(facts(found)), "</table>", "<h2>What was found</h2>"]
    lines = [f'<li class="{light}">{len(findings)} × {_text(what)}</li>' for light, what, findings in sorts(found)]
    parts.append(f"<ul>{''.join(lines)}</ul>" if lines else "<p>Nothing.</p>")
    for name, title in sheets.items():
        data = base64.b64encode((folder / name).read_bytes()).decode("ascii")
        parts.append(f'<h2>{_text(title)}</h2><img alt="{_text(title)}" src="data:image/png;base64,{data}">')
    return f'<!doctype html><html lang="en"><meta charset="utf-8">{"".join(parts)}</html>\n'


def _rows(table: dict[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        told = (
            value
            if not isinstance(value, dict)
            else ", ".join(f"{key}: {_short(each)}" for key, each in [*value.items()][:24])
        )
        yield f"<tr><th>{_text(name)}</th><td>{_text(told)}</td></tr>"


def _short(value: Any) -> str:
    return (
        f"{value['count']} ({value['laid over pictures by'] or 'not comparable'})"
        if isinstance(value, dict)
        else str(value)
    )


def _text(value: object) -> str:
    return html.escape(str(value))
