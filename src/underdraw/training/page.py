"""`report.html`: one file that shows a run, with its pictures inside it, to be opened anywhere."""

import base64
import html
import json
from pathlib import Path

from underdraw.files import atomic
from underdraw.training.convergence import verdict
from underdraw.training.obedience import LOOKS, read_looks
from underdraw.training.trainer import State
from underdraw.training.watchers import read_log

__all__ = ["Page"]

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
img{max-width:100%;image-rendering:pixelated}pre{overflow:auto;background:#8881;padding:1rem}
.said{font-size:1.3rem}table{border-collapse:collapse}td{padding:.1rem 1rem .1rem 0}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"""
SHEETS = 4
"""Of the run's sheets, evenly spaced, the first and the last among them."""


class Page:
    """Whenever a sheet is drawn, the page is written again, whole."""

    def __call__(self, state: State, figures: dict[str, float]) -> None:
        """Write when it is time."""
        if state.step % state.recipe.sheet_steps == 0 or state.step == state.recipe.steps:
            with atomic(state.folder / "report.html") as draft:
                draft.write_text(_page(state, figures), encoding="utf-8")


def _page(state: State, figures: dict[str, float]) -> str:
    folder, title = state.folder, f"{state.folder.name}: step {state.step:,} of {state.recipe.steps:,}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _verdict(folder),
        _pictures(folder),
        f"<h2>Figures</h2>{_figures(folder, figures)}",
        f"<h2>Recipe</h2><pre>{html.escape(json.dumps(state.recipe.model_dump(mode='json'), indent=1))}</pre>",
    ]
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return "\n".join([head, *(part for part in parts if part)]) + "\n"


def _verdict(folder: Path) -> str:
    """What the looks at a ControlNet's run said; nothing for other runs."""
    if not (folder / LOOKS).exists():
        return ""
    looks = read_looks(folder / LOOKS)
    found = verdict(looks)
    said = (
        str(found) if found else "does not obey yet: pictures under the right map are no nearer to it than under others"
    )
    means = [sum(scores) / len(scores) for scores in (looks[-1].right, looks[-1].none, looks[-1].shuffled)]
    told = "right map {:.3f}, no map {:.3f}, another's map {:.3f}".format(*means)
    return f'<p class="said">{html.escape(said)}</p><p>{told}</p>{_image(folder / "obedience.png")}'


def _pictures(folder: Path) -> str:
    found = sorted((folder / "sheets").glob("*.png"))
    places = sorted({round(k * (len(found) - 1) / (SHEETS - 1)) for k in range(SHEETS)}) if found else []
    shown = [f"<h3>step {int(found[k].stem):,}</h3>{_image(found[k])}" for k in places]
    return "".join(["<h2>Sheets</h2>", *shown, _image(folder / "losses.png")])


def _image(path: Path) -> str:
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}">'


def _figures(folder: Path, figures: dict[str, float]) -> str:
    lines = read_log(folder / "log.jsonl")
    now = {name: value for name, value in lines[-1].items() if name != "step"} if lines else figures
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{value:.5f}</td></tr>" for name, value in now.items())
    return f"<table>{rows}</table>"
