"""What a ControlNet in training is shown: maps of the data set or of annotators with random knobs, one kind or many."""

from collections.abc import Sequence

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS, as_hint
from underdraw.data.folder import Record
from underdraw.data.known import condition_map, origin
from underdraw.data.shards import ShardSet
from underdraw.errors import InputError
from underdraw.training.pictures import Either, Pictures, subset
from underdraw.training.recipe import MapRun

__all__ = ["Hints"]


class Hints:
    """The condition maps of a recipe.

    A family is one net for many kinds: each sample shows one of them that its picture can show, and the map tells its
    own kind. A stack shows all kinds at once, one above the other in the channels. What is dropped (a family's map;
    each of a stack's by itself) is black: the net learns to do without.
    """

    def __init__(self, config: MapRun) -> None:
        self.kinds, self.stacked, self.drop = config.kinds, config.join == "stack", config.condition_drop

    @property
    def channels(self) -> int:
        """Of the maps."""
        return sum(_channels(kind) for kind in self.kinds) if self.stacked else 3

    def able(self, pictures: Either) -> Either:
        """The pictures that can show at least one of the kinds. Raises InputError where there are none."""
        rows = self.rows(pictures)
        if not len(rows):
            raise InputError(f"no picture has a map of {', '.join(self.kinds)}; name the maps of the data in data.maps")
        return pictures if len(rows) == len(pictures) else subset(pictures, rows)

    def rows(self, pictures: Pictures, kind: str | None = None) -> Tensor:
        """Which pictures can show a kind, or any of the kinds."""
        wanted = {kind} if kind else set(self.kinds)
        return torch.tensor([row for row in range(len(pictures)) if wanted & set(self.kinds_of(pictures, row))]).long()

    def kinds_of(self, pictures: Pictures, index: int) -> list[str]:
        """The kinds that a picture can show."""
        known = _known(pictures, index)
        return [kind for kind in self.kinds if origin(kind, known.maps, known.attributes) is not None]

    def __call__(
        self,
        pictures: Pictures,
        indices: Tensor,
        draws: Sequence[torch.Generator] | None = None,
        kind: str | None = None,
    ) -> Tensor:
        """B×C×H×W for the chosen pictures: with `draws` as training sees them, otherwise with the usual knobs.

        Without draws nothing is dropped, and a family shows one kind: `kind`, or the first that each picture can show.
        """
        shown = [
            self._sample(pictures, index, draws[place] if draws else None, kind)
            for place, index in enumerate(indices.tolist())
        ]
        return torch.cat(shown).contiguous()

    def _sample(self, pictures: Pictures, index: int, draw: torch.Generator | None, kind: str | None) -> Tensor:
        if self.stacked:
            return torch.cat([self._kept(self._map(pictures, index, each, draw), draw) for each in self.kinds], 1)
        kinds = [kind] if kind else self.kinds_of(pictures, index) or self.kinds
        several = draw is not None and len(kinds) > 1
        chosen = kinds[int(torch.randint(len(kinds), (), generator=draw)) if several else 0]
        return self._kept(as_hint(self._map(pictures, index, chosen, draw)), draw)

    def _kept(self, shown: Tensor, draw: torch.Generator | None) -> Tensor:
        dropped = self.drop and draw is not None and bool(torch.rand((), generator=draw) < self.drop)
        return torch.zeros_like(shown) if dropped else shown

    def _map(self, pictures: Pictures, index: int, kind: str, draw: torch.Generator | None) -> Tensor:
        """1×C×H×W of one picture; black where it has none."""
        known, row = _known(pictures, index), torch.tensor([index])
        source, picture = origin(kind, known.maps, known.attributes), pictures.pictures(row)
        if source is None:
            return torch.zeros(1, _channels(kind), *picture.shape[-2:])
        maps = {source: _stored(pictures, row, source, draw)} if source else {}
        return condition_map(Record("", picture[0], "", maps, known.attributes), kind, draw)


def _known(pictures: Pictures, index: int) -> Record:
    """What is known of a picture, without its pixels. Body points are in pixels of the picture as it was.

    Prepared pictures were cut and resized; their poses are maps.
    """
    maps = {kind: torch.empty(0) for kind in pictures.maps if bool(pictures.has[kind][index])}
    return Record("", torch.empty(0), "", maps, {} if isinstance(pictures, ShardSet) else pictures.attributes[index])


def _stored(pictures: Pictures, row: Tensor, kind: str, draw: torch.Generator | None) -> Tensor:
    """C×H×W; where a picture has several maps of a kind, one of them."""
    if isinstance(pictures, ShardSet):
        return pictures.map(kind, row, draws=None if draw is None else [draw])[0]
    return pictures.map(kind, row)[0]


def _channels(kind: str) -> int:
    return ANNOTATORS[kind].meaning.channels if kind in ANNOTATORS else 3
