"""An ordinary Hugging Face image folder: pictures, condition maps and `metadata.jsonl`.

`datasets.load_dataset("imagefolder", data_dir=…)` reads it: `file_name` and every `<kind>_file_name` column become
pictures, `text` and the attributes stay as they are.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from underdraw import images
from underdraw.errors import InputError
from underdraw.files import atomic, inside

__all__ = ["METADATA", "Record", "read_folder", "write_folder", "written"]

METADATA = "metadata.jsonl"
DRAFT = ".metadata.jsonl.part"
"""Of a folder that is being written, a line for each record that is there."""


@dataclass(frozen=True)
class Record:
    """One picture of a data set.

    `image` is 3×H×W RGB in [0, 1]; `maps` are C×H×W in [0, 1] by kind; `attributes` is what else is known, as JSON
    values (`split` is "train", "watch" or "report"; `text_zh` a Chinese caption).
    """

    name: str
    image: Tensor
    text: str
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


def write_folder(root: str | Path, records: Iterable[Record]) -> Iterator[Record]:
    """Write records as they pass, beside those that are there; what is yielded has been written.

    Each file is whole or absent, and `metadata.jsonl` appears when all is done. `written` names the records that a run
    which was cut off has written already: its next one need not make them again.
    """
    folder = Path(root)
    rows, draft = _rows(folder), folder / DRAFT
    if draft.exists():
        draft.write_bytes(draft.read_bytes().rpartition(b"\n")[0] + b"\n")  # the last line may have been cut off
    for record in records:
        row = {"file_name": f"images/{record.name}.png", "text": record.text}
        row |= {f"{kind}_file_name": f"{kind}/{record.name}.png" for kind in record.maps}
        pictures = {row["file_name"]: record.image} | {f"{k}/{record.name}.png": m for k, m in record.maps.items()}
        for name, picture in pictures.items():
            images.write(picture, inside(folder, name))
        rows[record.name] = json.dumps(row | dict(record.attributes), ensure_ascii=False)
        with draft.open("a", encoding="utf-8") as lines:
            lines.write(f"{rows[record.name]}\n")
        yield record
    with atomic(folder / METADATA) as whole:
        whole.write_text("".join(f"{row}\n" for row in rows.values()), encoding="utf-8")
    draft.unlink(missing_ok=True)


def written(root: str | Path) -> set[str]:
    """The names of the records that `write_folder` has written to a folder, whether it was cut off or not.

    Raises InputError naming the line of a folder's metadata that is wrong.
    """
    return set(_rows(Path(root)))


def _rows(folder: Path) -> dict[str, str]:
    """The lines of a folder by the names of their records; one that was cut off is none."""
    rows: dict[str, str] = {}
    for name in (METADATA, DRAFT):
        path = folder / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for number, line in enumerate(filter(None, text.split("\n")[: -1 if name == DRAFT else None]), start=1):
            rows[Path(_row(folder, line, number)["file_name"]).stem] = line
    return rows


def read_folder(root: str | Path, split: str | None = None, kinds: Collection[str] | None = None) -> Iterator[Record]:
    """The records of an image folder, or those of one split, with all their maps or those of some kinds.

    Raises InputError naming the line or file that is wrong.
    """
    folder = Path(root)
    try:
        lines = (folder / METADATA).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{folder} is not an image folder: {METADATA} cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        row = _row(folder, line, number)
        if split in (None, row.get("split")):
            yield _record(folder, row, kinds)


def _row(folder: Path, line: str, number: int) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
        if isinstance(row["file_name"], str) and isinstance(row["text"], str):
            return row
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{folder / METADATA}, line {number}: needs a JSON object with file_name and text")


def _record(folder: Path, row: dict[str, Any], wanted: Collection[str] | None) -> Record:
    name, text = row.pop("file_name"), row.pop("text")
    kinds = [key.removesuffix("_file_name") for key in row if key.endswith("_file_name")]
    files = {kind: inside(folder, row.pop(f"{kind}_file_name")) for kind in kinds}
    maps = {kind: images.read(path)[0] for kind, path in files.items() if wanted is None or kind in wanted}
    return Record(Path(name).stem, images.read(inside(folder, name))[0], text, maps, row)
