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

__all__ = ["METADATA", "Record", "read_folder", "write_folder"]

METADATA = "metadata.jsonl"


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
    """Write records as they pass; what is yielded has been written.

    Each file is whole or absent, and `metadata.jsonl` appears when all is done; after a run that was cut off, the next
    one over the same records keeps the pictures that are there.
    """
    folder = Path(root)
    lines: list[str] = []
    for record in records:
        line = {"file_name": f"images/{record.name}.png", "text": record.text}
        line |= {f"{kind}_file_name": f"{kind}/{record.name}.png" for kind in record.maps}
        pictures = {line["file_name"]: record.image} | {f"{k}/{record.name}.png": m for k, m in record.maps.items()}
        for name, picture in pictures.items():
            path = inside(folder, name)
            if not path.exists():
                images.write(picture, path)
        lines.append(json.dumps(line | dict(record.attributes), ensure_ascii=False))
        yield record
    with atomic(folder / METADATA) as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")


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
