"""Picture sets in memory and the order in which they are seen.

The order is a permutation keyed by (seed, epoch), and every draw (noise, timestep, crop, dropped prompt) is keyed by
(seed, step, sample); so a run that was cut off goes on with the same bits, and two processes with half a batch each see
what one process with a whole batch sees (laws 5 and 6).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from underdraw.data.folder import METADATA, Record, read_folder
from underdraw.errors import InputError

__all__ = ["PictureSet", "batch_indices", "generators", "permutation"]


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one size with their captions, maps and attributes, kept as bytes.

    `pixels` is N×3×H×W uint8; `maps[kind]` is N×C×H×W uint8, `has[kind]` says which pictures have that map.
    """

    pixels: Tensor
    texts: Sequence[Sequence[str]]
    maps: dict[str, Tensor]
    has: dict[str, Tensor]
    attributes: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.pixels)

    def pictures(self, indices: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1]."""
        return self.pixels[indices].float() / 255

    def map(self, kind: str, indices: Tensor) -> Tensor:
        """B×C×H×W in [0, 1]; zeros where a picture has no such map."""
        return self.maps[kind][indices].float() / 255

    @classmethod
    def load(cls, folders: Sequence[str | Path], split: str | None = None, kinds: Sequence[str] = ()) -> "PictureSet":
        """Read image folders whose pictures are all of one size, keeping one split and the named maps.

        Raises InputError for a folder that cannot be read, is empty, or holds pictures of several sizes.
        """
        where = ", ".join(map(str, folders))
        rows = [_row(record) for folder in folders for record in read_folder(folder, split, kinds)]
        if not rows:
            raise InputError(f"no pictures of split {split!r} in {where}")
        if len(sizes := {row.pixels.shape for row in rows}) > 1:
            raise InputError(f"pictures of {len(sizes)} sizes in {where}; make them one size")
        return cls(
            torch.stack([row.pixels for row in rows]),
            [row.texts for row in rows],
            {kind: _stacked(kind, rows) for kind in kinds},
            {kind: torch.tensor([kind in row.maps for row in rows]) for kind in kinds},
            [row.attributes for row in rows],
        )


class _Row(NamedTuple):
    """One picture of the set, a quarter of its record's size."""

    pixels: Tensor
    texts: list[str]
    maps: dict[str, Tensor]
    attributes: dict[str, Any]


def _row(record: Record) -> _Row:
    maps = {kind: _bytes(found) for kind, found in record.maps.items()}
    return _Row(_bytes(record.image), _texts(record), maps, dict(record.attributes))


def _texts(record: Record) -> list[str]:
    """The caption, and the Chinese one where there is one."""
    return [record.text, *(text for text in [record.attributes.get("text_zh")] if text)]


def _bytes(picture: Tensor) -> Tensor:
    return (picture * 255).round().to(torch.uint8)


def _stacked(kind: str, rows: Sequence[_Row]) -> Tensor:
    like = next((row.maps[kind] for row in rows if kind in row.maps), None)
    if like is None:
        raise InputError(f"no picture has a {kind} map; it must be a column {kind}_file_name of {METADATA}")
    return torch.stack([row.maps.get(kind, torch.zeros_like(like)) for row in rows])


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """The order of `count` pictures in one epoch."""
    return torch.randperm(count, generator=_generator("order", seed, epoch))


def batch_indices(seed: int, step: int, size: int, count: int) -> Tensor:
    """The pictures of one step: `size` indices below `count`; epochs follow each other without a gap."""
    places = range(step * size, (step + 1) * size)
    return torch.stack([permutation(seed, place // count, count)[place % count] for place in places])


def generators(seed: int, step: int, samples: Sequence[int]) -> list[torch.Generator]:
    """One source of randomness for each sample of a step, by its place in the whole batch."""
    return [_generator("draws", seed, step, sample) for sample in samples]


def _generator(*key: str | int) -> torch.Generator:
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
