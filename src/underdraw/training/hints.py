"""What a ControlNet in training is shown: maps of the data set or of annotators with random knobs, one kind or many."""

from collections.abc import Sequence

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS, as_hint, build, draw_knobs
from underdraw.data.shards import ShardSet
from underdraw.training.pictures import Pictures
from underdraw.training.recipe import ControlRun

__all__ = ["Hints"]


class Hints:
    """The condition maps of a recipe.

    A family is one net for many kinds: each sample shows one of them, and the map tells its own kind. A stack shows all
    kinds at once, one above the other in the channels. What is dropped (a family's map; each of a stack's by itself) is
    black: the net learns to do without.
    """

    def __init__(self, config: ControlRun) -> None:
        self.kinds, self.stacked, self.drop = config.kinds, config.join == "stack", config.condition_drop

    @property
    def channels(self) -> int:
        """Of the maps."""
        return sum(_channels(kind) for kind in self.kinds) if self.stacked else 3

    def __call__(self, pictures: Pictures, indices: Tensor, draws: Sequence[torch.Generator] | None = None) -> Tensor:
        """B×C×H×W for the chosen pictures: with `draws` as training sees them, otherwise with the usual knobs.

        Without draws nothing is dropped, and a family shows its first kind.
        """
        shown = [
            self._sample(pictures, index, draws[place] if draws else None)
            for place, index in enumerate(indices.split(1))
        ]
        return torch.cat(shown).contiguous()

    def _sample(self, pictures: Pictures, index: Tensor, draw: torch.Generator | None) -> Tensor:
        if self.stacked:
            return torch.cat([self._kept(_map(kind, pictures, index, draw), draw) for kind in self.kinds], 1)
        several = draw is not None and len(self.kinds) > 1
        kind = self.kinds[int(torch.randint(len(self.kinds), (), generator=draw)) if several else 0]
        return self._kept(as_hint(_map(kind, pictures, index, draw)), draw)

    def _kept(self, shown: Tensor, draw: torch.Generator | None) -> Tensor:
        dropped = self.drop and draw is not None and bool(torch.rand((), generator=draw) < self.drop)
        return torch.zeros_like(shown) if dropped else shown


def _map(kind: str, pictures: Pictures, index: Tensor, draw: torch.Generator | None) -> Tensor:
    """1×C×H×W of one picture."""
    if kind not in pictures.maps:
        look = build(kind) if draw is None else draw_knobs(kind, draw)
        return look(pictures.pictures(index))
    if isinstance(pictures, ShardSet):
        found = pictures.map(kind, index, draws=None if draw is None else [draw])
    else:
        found = pictures.map(kind, index)
    return found.mean(1, keepdim=True) if _channels(kind) == 1 and found.shape[1] == 3 else found


def _channels(kind: str) -> int:
    return ANNOTATORS[kind].meaning.channels if kind in ANNOTATORS else 3
