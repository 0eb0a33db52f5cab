"""The pictures of a training, in memory or read from shards in buckets, and which of them a step sees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from underdraw.data.batches import PictureSet, batch_indices, generators, permutation
from underdraw.data.buckets import Size
from underdraw.data.prepare import is_prepared
from underdraw.data.shards import ShardSet, load_pictures
from underdraw.errors import ConfigError, InputError
from underdraw.training.recipe import Data

__all__ = [
    "WHOLE",
    "Either",
    "Pictures",
    "Samples",
    "Share",
    "learnt",
    "samples",
    "sizes",
    "spread",
    "subset",
    "watched",
]

Pictures = PictureSet | ShardSet
"""N pictures: `texts`, `maps`, `has`, `attributes`, `pictures(indices)` and `map(kind, indices)` of either."""
Either = TypeVar("Either", bound=PictureSet | ShardSet)


@dataclass(frozen=True)
class Share:
    """A part of every batch: that of one of several processes, or one of several parts that come after each other."""

    place: int = 0
    parts: int = 1

    def of(self, count: int) -> range:
        """The places of `count` samples that are in this part. Raises ConfigError where the parts would be unequal."""
        if count % self.parts:
            raise ConfigError(
                f"batch = {count} does not divide by {self.parts} (processes · accumulate); choose another"
            )
        size = count // self.parts
        return range(self.place * size, (self.place + 1) * size)


WHOLE = Share()


@dataclass(frozen=True)
class Samples:
    """Which pictures a step sees (B indices), and a source of randomness for each."""

    indices: Tensor
    draws: list[torch.Generator]


def samples(pictures: Pictures, seed: int, step: int, batch: int, share: Share = WHOLE, first: int = 0) -> Samples:
    """The samples of a step that fall to a share: all of one size, a function of the seed, the step and the place.

    first: the place of the batch's first sample among all samples of the step.
    """
    if isinstance(pictures, ShardSet):
        whole = pictures.batch(seed, step, batch)
    else:
        whole = batch_indices(seed, step, batch, len(pictures))
    places = share.of(len(whole))
    draws = generators(seed, step, range(first + places.start, first + places.stop))
    return Samples(whole[places.start : places.stop], draws)


def learnt(data: Data, buckets: bool) -> Pictures:
    """What a training learns from; prepared data is read from its shards where the task knows of buckets.

    Raises InputError for what cannot be read, and for fewer pictures than the recipe wants; ConfigError for mirrors
    where there are none.
    """
    found: Pictures
    if buckets and all(map(is_prepared, data.folders)):
        found = ShardSet.load(data.folders, data.split, data.maps, mirror=data.mirror)
    elif data.mirror:
        raise ConfigError("data.mirror = true wants prepared data, and a ControlNet or a LoRA that learns from it")
    else:
        found = load_pictures(data.folders, data.split, data.maps)
    if data.pictures is None:
        return found
    if len(found) < data.pictures:
        raise InputError(f"data.pictures = {data.pictures}, but split {data.split!r} has {len(found)}; choose fewer")
    # The first of one fixed order: a set of 100 is a part of the set of 1,000.
    return subset(found, permutation(0, 0, len(found))[: data.pictures].sort().values)


def watched(data: Data) -> PictureSet:
    """What a training is watched by: pictures of one size; of prepared ones the largest bucket."""
    if not all(map(is_prepared, data.folders)):
        return load_pictures(data.folders, data.watch_split, data.maps)
    found = ShardSet.load(data.folders, data.watch_split, data.maps)
    rows = max(found.buckets, key=len)
    kinds = [kind for kind in data.maps if bool(found.has[kind][rows].any())]
    return replace(subset(found, rows), kinds=tuple(kinds)).gathered()


def subset(pictures: Either, rows: Tensor) -> Either:
    """The pictures of some rows, in their order."""
    chosen = rows.tolist()
    if isinstance(pictures, ShardSet):
        return replace(pictures, samples=[pictures.samples[row] for row in chosen])
    return replace(
        pictures,
        pixels=pictures.pixels[rows],
        texts=[pictures.texts[row] for row in chosen],
        maps={name: maps[rows] for name, maps in pictures.maps.items()},
        has={name: has[rows] for name, has in pictures.has.items()},
        attributes=[pictures.attributes[row] for row in chosen],
    )


def sizes(pictures: Pictures) -> Sequence[Size]:
    """The (width, height) of each bucket."""
    return (
        pictures.sizes if isinstance(pictures, ShardSet) else [(pictures.pixels.shape[-1], pictures.pixels.shape[-2])]
    )


def spread(count: int, wanted: int = 12) -> Tensor:
    """At most `wanted` of `count` rows, evenly spread."""
    return torch.arange(0, count, max(1, count // wanted))[:wanted]
