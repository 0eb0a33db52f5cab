"""`ShardSet`: prepared data, read at random through the index, in bounded memory.

It offers what trainings use of a `PictureSet`; and since its pictures have several sizes, batches of its own, each from
one bucket.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw.annotators.keypoint_files import from_openpose
from underdraw.data.batches import PictureSet
from underdraw.data.buckets import Size, bucket_batch
from underdraw.data.encoding import pixels_of, to_bytes
from underdraw.data.mirrors import draw_people, mirror_map, mirror_poses
from underdraw.data.prepare import is_prepared
from underdraw.data.sources import POSE
from underdraw.data.stored import Attributes, Recent, Stored, stored_samples
from underdraw.errors import InputError

__all__ = ["ShardSet", "load_pictures"]

MEMORY = 256
"""Megabytes of decoded pictures and maps that are kept."""


@dataclass(frozen=True, eq=False)
class ShardSet:
    """Prepared pictures with their captions, maps and attributes.

    kinds: the maps that may be asked for. memory: megabytes of decoded pictures that are kept.
    """

    samples: Sequence[Stored]
    kinds: tuple[str, ...] = ()
    memory: int = MEMORY

    @classmethod
    def load(
        cls,
        folders: Sequence[str | Path],
        split: str | None = None,
        kinds: Sequence[str] = (),
        memory: int = MEMORY,
        mirror: bool = False,
    ) -> "ShardSet":
        """Read the indices of prepared folders, keeping one split; with `mirror`, everything mirrored as well.

        Raises InputError for a folder that is not prepared or not whole, is empty, or in which no picture has a map of
        one of the kinds.
        """
        samples = [
            sample for folder in folders for sample in stored_samples(Path(folder)) if split in (None, sample.split)
        ]
        where = ", ".join(map(str, folders))
        if not samples:
            raise InputError(f"no pictures of split {split!r} in {where}")
        for kind in kinds:
            if not any(sample.draws(kind) for sample in samples):
                raise InputError(f"no picture of {where} has a {kind} map; prepare it with --annotator {kind}")
        mirrored = [sample.mirror_image for sample in samples] if mirror else []
        return cls([*samples, *mirrored], tuple(kinds), memory)

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def texts(self) -> list[list[str]]:
        """The captions of each picture; one empty caption where there is none."""
        return [list(sample.texts) or [""] for sample in self.samples]

    @cached_property
    def attributes(self) -> Sequence[dict[str, Any]]:
        """What is known of each picture besides."""
        return Attributes(self.samples)

    @cached_property
    def maps(self) -> Mapping[str, Sequence[int]]:
        """How many maps of each kind (draws of the knobs) each picture has."""
        return {kind: [len(sample.draws(kind)) for sample in self.samples] for kind in self.kinds}

    @cached_property
    def has(self) -> dict[str, Tensor]:
        """Which pictures have a map of each kind."""
        return {kind: torch.tensor(counts) > 0 for kind, counts in self.maps.items()}

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """The (width, height) of each bucket."""
        return tuple(sorted({sample.size for sample in self.samples}))

    @cached_property
    def buckets(self) -> list[Tensor]:
        """The pictures of each bucket."""
        place = {size: number for number, size in enumerate(self.sizes)}
        numbers = torch.tensor([place[sample.size] for sample in self.samples])
        return [(numbers == number).nonzero().flatten() for number in range(len(self.sizes))]

    @cached_property
    def content_key(self) -> str:
        """A digest of all pictures in their order: what caches of latents are keyed by."""
        digests = "".join(each.files[each.picture][2] + "mirrored" * each.mirrored for each in self.samples)
        return hashlib.blake2b(digests.encode(), digest_size=8).hexdigest()

    def batch(self, seed: int, step: int, size: int) -> Tensor:
        """The pictures of one step, all from one bucket; see `bucket_batch`."""
        return bucket_batch(seed, step, size, self.buckets)

    def pictures(self, indices: Tensor, mirror: Tensor | None = None) -> Tensor:
        """B×3×H×W RGB in [0, 1] of pictures from one bucket, those of `mirror` (B booleans) mirrored.

        Captions are left alone when a picture is mirrored: whoever mirrors must know that none says left or right.
        """
        return self._stacked([(int(i), self.samples[int(i)].picture, "") for i in indices], mirror)

    def map(
        self, kind: str, indices: Tensor, mirror: Tensor | None = None, draws: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        """B×C×H×W in [0, 1]; zeros where a picture has no such map. Mirrored as `mirror_map` says. What is transparent
        in the file, as the masked parts of inpaint maps are, is −1.

        draws: where pictures have several maps of a kind, each generator chooses one; otherwise it is the first.
        """
        wanted = []
        for place, index in enumerate(indices.tolist()):
            found = self.samples[index].draws(kind)
            chosen = int(torch.randint(len(found), (), generator=draws[place])) if draws and found else 0
            wanted.append((index, found[chosen] if found else "", kind))
        maps = self._stacked(wanted, mirror)
        return torch.where(maps[:, 3:] > 0.5, maps[:, :3], -1.0) if maps.shape[1] == 4 else maps

    def gathered(self) -> PictureSet:
        """All of it in memory, for sets of one bucket that fit. Raises InputError for several buckets."""
        if len(self.sizes) > 1:
            told = ", ".join(f"{width}×{height}" for width, height in self.sizes[:4])
            raise InputError(f"pictures of {len(self.sizes)} sizes ({told} …); prepare them with --no-bucket")
        everything = torch.arange(len(self))
        parts = everything.split(256)
        maps = {kind: torch.cat([to_bytes(self.map(kind, part)) for part in parts]) for kind in self.kinds}
        pixels = torch.cat([to_bytes(self.pictures(part)) for part in parts])
        return PictureSet(pixels, self.texts, maps, self.has, self.attributes[:])

    def verify(self) -> Iterator[str]:
        """What is not as it was written, file by file; nothing where all is well. Reads everything."""
        for sample in self.samples:
            for ending in sample.files:
                try:
                    sample.read(ending, check=True)
                except InputError as error:
                    yield str(error)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: not what is kept in memory."""
        return {key: value for key, value in vars(self).items() if key != "_recent"}

    @cached_property
    def _channels(self) -> dict[str, int]:
        """Of the maps of each kind; "" is the picture."""
        first = {kind: next(i for i, count in enumerate(counts) if count) for kind, counts in self.maps.items()}
        return {"": 3} | {kind: len(self._pixels(i, f"{kind}.png", kind, flip=False)) for kind, i in first.items()}

    @cached_property
    def _recent(self) -> Recent:
        return Recent(self.memory * 2**20)

    def _stacked(self, wanted: Sequence[tuple[int, str, str]], mirror: Tensor | None) -> Tensor:
        """(index, ending, kind) each; kind "" is the picture."""
        if len({self.samples[index].size for index, _, _ in wanted}) > 1:
            raise InputError("these pictures are of several buckets; take the indices of one batch")
        flips = mirror.tolist() if mirror is not None else [False] * len(wanted)
        found = [
            self._pixels(*each, flip != self.samples[each[0]].mirrored)
            for each, flip in zip(wanted, flips, strict=True)
        ]
        width, height = self.samples[wanted[0][0]].size
        blank = torch.zeros(self._channels[wanted[0][2]], height, width, dtype=torch.uint8)
        return torch.stack([each if each.numel() else blank for each in found]).float() / 255

    def _pixels(self, index: int, ending: str, kind: str, flip: bool) -> Tensor:
        """C×H×W uint8; empty where there is none."""
        sample = self.samples[index]
        if not ending:
            return torch.zeros(0, dtype=torch.uint8)
        if flip and kind == POSE and f"{POSE}.json" in sample.files:
            (poses,) = from_openpose(json.loads(sample.read(f"{POSE}.json")), sample.key)
            return draw_people(mirror_poses(poses))
        name = f"{sample.tar.name}: {sample.key}.{ending}"
        pixels = self._recent.get((index, ending), lambda: pixels_of(sample.read(ending), name))
        return pixels if not flip else mirror_map(kind, pixels) if kind else pixels.flip(-1)


def load_pictures(folders: Sequence[str | Path], split: str | None = None, kinds: Sequence[str] = ()) -> PictureSet:
    """Pictures of one size in memory, from prepared folders or image folders. Raises InputError as both do, and for a
    mixture of them.
    """
    prepared = [is_prepared(folder) for folder in folders]
    if not any(prepared):
        return PictureSet.load(folders, split, kinds)
    if not all(prepared):
        raise InputError(f"{folders[prepared.index(False)]} is not prepared, and other folders are; prepare it too")
    return ShardSet.load(folders, split, kinds).gathered()
