"""The tables in the pages of the ablations, from what `underdraw ablate` measured: `make docs` fills them.

python -m docs.ablated runs/ablation     bring the figures, the chart and the sheet of a folder of runs here, and fill

A page says `<!-- versions: policy=decoder,all pictures -->`, and up to `<!-- end -->` stands the table of the recipe as
it is and of all versions that differ from it in these axes alone (in some of their values, where it names them), and
what it says.
"""

import argparse
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from underdraw.evaluation.versions import difference, table

HERE = Path(__file__).parent
FOLDER = HERE / "ablations"
TABLE = "ablation.json"
BROUGHT = (TABLE, "ablation.png", "drawings.png")
BLOCK = re.compile(r"(<!-- versions:(.*?)-->\n).*?(<!-- end -->)", re.DOTALL)

Row = Mapping[str, Any]


def pages() -> dict[Path, str]:
    """What each page should say."""
    rows = json.loads((FOLDER / TABLE).read_text(encoding="utf-8"))["cells"]

    def filled(block: re.Match[str]) -> str:
        chosen = [row for row in rows if _is_among(row["cell"], block[2].split())]
        return f"{block[1]}\n{table(chosen)}\n\n{_verdicts(chosen)}\n\n{block[3]}"

    there = [HERE / "ablations.md", *sorted(FOLDER.glob("*.md"))]
    return {page: BLOCK.sub(filled, page.read_text(encoding="utf-8")) for page in there}


def _verdicts(rows: Sequence[Row]) -> str:
    """A line a version: whether it obeys as well as the recipe as it is."""
    plain = next(row for row in rows if not row["cell"])
    lines = []
    for row in (row for row in rows if row is not plain):
        found, seeds = difference(row, plain), len(row["seeds"])
        word = "better" if found.low > 0 else "worse" if found.high < 0 else "no difference that so few pictures show"
        lines.append(f"- `{row['version']}`: {found:+.0f} points, {word} ({seeds} seed{'s' * (seeds > 1)})")
    return "\n".join(lines) or "No version of this kind has been run yet."


def _is_among(cell: Mapping[str, str], axes: Sequence[str]) -> bool:
    """Whether a version differs in nothing but these axes, and there in their values; without axes all are."""
    told = dict(axis.partition("=")[::2] for axis in axes)
    return not told or all(
        axis in told and (not told[axis] or value in told[axis].split(",")) for axis, value in cell.items()
    )


def main() -> None:
    """Bring the figures, and fill the pages."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("runs", type=Path, nargs="?", help="the folder of `underdraw ablate`")
    if runs := told.parse_args().runs:
        for name in BROUGHT:
            shutil.copyfile(runs / name, FOLDER / name)
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
