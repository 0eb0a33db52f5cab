"""What a training will read, counted without reading the pictures."""

import json
from dataclasses import dataclass
from pathlib import Path

from underdraw import images
from underdraw.data.buckets import Size
from underdraw.data.folder import METADATA
from underdraw.data.prepare import is_prepared
from underdraw.data.shards import MEMORY, ShardSet
from underdraw.errors import InputError
from underdraw.files import inside
from underdraw.training.recipe import Data

__all__ = ["Census", "census"]


@dataclass(frozen=True)
class Census:
    """count: of pictures. size: (width, height) of the largest. captions: different ones, the empty one among them.

    bytes: of pictures and maps that are kept decoded. cached: whether latents of some pictures lie beside the run.
    """

    count: int
    size: Size
    captions: int
    bytes: int
    cached: bool


def census(data: Data, output: str) -> Census:
    """Count the pictures of a recipe. Raises InputError where there are none."""
    cached = any((Path(output).parent / "cache").glob("moments-*.safetensors"))
    if all(map(is_prepared, data.folders)):
        found = ShardSet.load(data.folders, data.split, data.maps)
        captions = {text for texts in found.texts for text in texts} | {""}
        size = max(found.sizes, key=lambda each: each[0] * each[1])
        every = _bytes(len(found), size, len(data.maps))
        return Census(len(found), size, len(captions), min(every, MEMORY * 2**20), cached)
    rows = [(Path(folder), row) for folder in data.folders for row in _rows(Path(folder))]
    learnt, looked = ([row for row in rows if row[1].get("split") == split] for split in (data.split, data.watch_split))
    if not learnt:
        raise InputError(f"no pictures of split {data.split!r} in {', '.join(data.folders)}")
    folder, first = learnt[0]
    height, width = images.read(inside(folder, first["file_name"])).shape[-2:]
    captions = {text for _, row in learnt for text in (row["text"], row.get("text_zh")) if text} | {""}
    count = min(len(learnt), data.pictures or len(learnt))
    kept = _bytes(count + len(looked), (width, height), len(data.maps))
    return Census(count, (width, height), len(captions), kept, cached)


def _bytes(count: int, size: Size, maps: int) -> int:
    return count * 3 * size[0] * size[1] * (1 + maps)


def _rows(folder: Path) -> list[dict[str, str]]:
    try:
        return [json.loads(line) for line in (folder / METADATA).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not an image folder: {METADATA} cannot be read ({error})") from error
