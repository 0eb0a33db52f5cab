"""Samples as they lie in shards: where their bytes are, read and checked one at a time."""

import hashlib
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from underdraw.data.buckets import Size
from underdraw.data.packing import SHARDS, read_index
from underdraw.data.prepare import DATASET, VERSION
from underdraw.errors import InputError

__all__ = ["Attributes", "Recent", "Stored", "stored_samples"]


SIDES = re.compile(r"\b(left|right)\b|[左右]", re.IGNORECASE)
"""Words that are wrong of a mirrored picture."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A line of the index. files: offset, size and SHA-256 by ending. mirrored: whether it stands for what a mirror
    shows of its picture and maps.
    """

    tar: Path
    key: str
    files: Mapping[str, tuple[int, int, str]]
    texts: tuple[str, ...]
    size: Size
    split: str
    mirrored: bool = False

    @property
    def mirror_image(self) -> "Stored":
        """What a mirror shows of it; captions that say left or right are left out."""
        texts = tuple(text for text in self.texts if not SIDES.search(text))
        return replace(self, texts=texts, mirrored=not self.mirrored)

    @property
    def picture(self) -> str:
        """The ending of its picture."""
        return "jpg" if "jpg" in self.files else "png"

    def draws(self, kind: str) -> list[str]:
        """The endings of its maps of a kind, the usual one first."""
        found = [ending for ending in self.files if ending.endswith(".png") and ending.split(".")[0] == kind]
        return sorted(found, key=lambda ending: (ending.count("."), len(ending), ending))

    def read(self, ending: str, check: bool = False) -> bytes:
        """The bytes of one of its files. Raises InputError where they are gone, or (if asked) changed."""
        offset, size, digest = self.files[ending]
        try:
            with self.tar.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise InputError(f"cannot read {self.tar}: {error.strerror or error}") from error
        if len(data) < size or (check and hashlib.sha256(data).hexdigest() != digest):
            raise InputError(f"{self.tar.name}: {self.key}.{ending} is not what was written; prepare the data again")
        return data


class Recent:
    """The most recently used tensors, up to a number of bytes; several threads may ask."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self.kept: OrderedDict[tuple[int, str], Tensor] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: tuple[int, str], make: Callable[[], Tensor]) -> Tensor:
        """The tensor that is kept under a key, or that `make` gives."""
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        made = make()
        with self.lock:
            if key not in self.kept:
                self.kept[key] = made
                self.bytes += made.nbytes
            while self.bytes > self.limit and len(self.kept) > 1:
                self.bytes -= self.kept.popitem(last=False)[1].nbytes
        return made


class Attributes(Sequence[dict[str, Any]]):
    """What is known of each picture besides, read from its tar when it is asked for."""

    def __init__(self, samples: Sequence[Stored]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return dict(json.loads(self.samples[index].read("json")))


def stored_samples(folder: Path) -> Iterator[Stored]:
    """The samples of a prepared folder. Raises InputError where it is not prepared, or something is missing."""
    try:
        about = json.loads((folder / DATASET).read_bytes())
        shards, version = about["shards"], about["version"]
    except OSError as error:
        raise InputError(f"{folder} is not prepared data: {DATASET} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / DATASET} cannot be read; prepare the data again") from error
    if version != VERSION:
        raise InputError(f"{folder} was prepared in version {version} of the format; this program reads {VERSION}")
    for shard in shards:
        tar = folder / SHARDS / shard["name"]
        index = read_index(tar.with_suffix(".jsonl"))
        if not tar.is_file() or tar.stat().st_size != shard["bytes"] or index.sha256 != shard["sha256"]:
            raise InputError(f"{tar} is missing or not the one that was written; prepare the data again")
        yield from (_stored(tar, line) for line in index.samples)


def _stored(tar: Path, line: Mapping[str, Any]) -> Stored:
    files = {ending: (int(place[0]), int(place[1]), str(place[2])) for ending, place in line["files"].items()}
    width, height = line["size"]
    return Stored(tar, line["key"], files, tuple(line["texts"]), (width, height), line["split"])
