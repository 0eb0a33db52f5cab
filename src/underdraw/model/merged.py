"""Token merging (Bolya & Hoffman 2023): where a network attends at its widest, places that look alike attend as one.

    destinations   one place of every 2×2 window, another one at every step
    sources        all others; those that resemble a destination most, `share` of all places, are averaged into it
    afterwards     what self-attention says of a destination is said of all that went into it

Which place of a window it is depends on the step alone, and who resembles whom on the item alone: so a batch gives each
item what it gets by itself. Approximate; what else a block does (text, the layers behind) still sees every place.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from underdraw.model.once import encoders
from underdraw.model.overlay import Lay

__all__ = ["MOST", "Merge", "match", "merged"]

MOST = 0.75
"""The share of the places that are sources: no more can be merged."""


def merged(share: float, clock: list[int], *modules: nn.Module) -> list[Lay]:
    """What to lay on modules so that `share` of the places (up to `MOST`) are merged where they attend to themselves.

    clock: one number, the step that it is.
    """
    lays: list[Lay] = []
    for transformer in _widest(*modules):
        size = [0, 0]
        lays.append((transformer, "forward", _Sight(size)))
        lays += [(block.attn1, "forward", _Attention(share, size, clock)) for block in transformer.transformer_blocks]
    return lays


def _widest(*modules: nn.Module) -> Iterator[Any]:
    """The transformers at the widest level of each U-Net, or of each copy of a first half, that has any."""
    for network in encoders(*modules):
        levels = [level for level, block in enumerate(network.down_blocks) if getattr(block, "attentions", None)]
        if levels:
            blocks = [network.down_blocks[levels[0]], *[*getattr(network, "up_blocks", ())][-1 - levels[0] :][:1]]
            there = (each for block in blocks for each in getattr(block, "attentions", ()))
            yield from (each for each in there if hasattr(each, "transformer_blocks"))


@dataclass(frozen=True)
class _Sight:
    """A transformer's `forward` that notes how high and wide it is what it sees."""

    size: list[int]

    def __call__(self, before: Callable[..., Any]) -> Callable[..., Any]:
        def forward(features: Tensor, *rest: Any, **named: Any) -> Any:
            self.size[:] = features.shape[2:]
            return before(features, *rest, **named)

        return forward


@dataclass(frozen=True)
class _Attention:
    """A self-attention's `forward` over fewer places; one that hears something else is left as it is."""

    share: float
    size: list[int]
    clock: list[int]

    def __call__(self, before: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(
            states: Tensor,
            encoder_hidden_states: Tensor | None = None,
            attention_mask: Tensor | None = None,
            **named: Any,
        ) -> Tensor:
            if encoder_hidden_states is not None or attention_mask is not None or min(self.size) < 2:
                return before(states, encoder_hidden_states, attention_mask, **named)
            merge = match(states, (self.size[0], self.size[1]), self.share, self.clock[0])
            return merge.spread(before(merge.gather(states), None, None, **named))

        return forward


@dataclass(frozen=True, eq=False)
class Merge:
    """Which places of B×L×C features are one.

    kept: B×K places that are nobody's; destinations: D places; moved: B×R places, each with the number of its
    destination in `into` B×R. K + D + R = L.
    """

    kept: Tensor
    destinations: Tensor
    moved: Tensor
    into: Tensor

    def gather(self, features: Tensor) -> Tensor:
        """B×(K + D)×C: the kept places, and the mean of what is in each destination."""
        whole = features[:, self.destinations]
        moved = features.gather(1, _wide(self.moved, features))
        whole = whole.scatter_reduce(1, _wide(self.into, features), moved, "mean", include_self=True)
        return torch.cat([features.gather(1, _wide(self.kept, features)), whole], dim=1)

    def spread(self, told: Tensor) -> Tensor:
        """B×L×C from B×(K + D)×C: every place gets what is said of where it went."""
        own, whole = told.split([self.kept.shape[1], len(self.destinations)], dim=1)
        spread = told.new_empty(len(told), own.shape[1] + whole.shape[1] + self.moved.shape[1], told.shape[2])
        spread[:, self.destinations] = whole
        spread.scatter_(1, _wide(self.kept, told), own)
        return spread.scatter_(1, _wide(self.moved, told), whole.gather(1, _wide(self.into, told)))


def match(features: Tensor, size: tuple[int, int], share: float, step: int) -> Merge:
    """What to merge of features B×L×C of size = (height, width) at a step: the likest, by the cosine between them."""
    destinations, sources = (part.to(features.device) for part in _parted(*size, step))
    unit = functional.normalize(features, dim=-1)
    likeness, nearest = (unit[:, sources] @ unit[:, destinations].transpose(1, 2)).max(-1)
    order = likeness.argsort(dim=-1, descending=True, stable=True)
    moved, kept = order.tensor_split([min(len(sources), int(share * features.shape[1]))], dim=1)
    return Merge(sources[kept], destinations, sources[moved], nearest.gather(1, moved))


@lru_cache(maxsize=64)
def _parted(height: int, width: int, step: int) -> tuple[Tensor, Tensor]:
    """The places that are destinations at a step, and those that are sources."""
    rows, columns = height // 2, width // 2
    chosen = torch.randint(4, (rows, columns), generator=torch.Generator().manual_seed(step))
    here = torch.zeros(height, width, dtype=torch.bool)
    here[2 * torch.arange(rows)[:, None] + chosen // 2, 2 * torch.arange(columns) + chosen % 2] = True
    return here.flatten().nonzero().flatten(), (~here).flatten().nonzero().flatten()


def _wide(places: Tensor, features: Tensor) -> Tensor:
    return places[..., None].expand(-1, -1, features.shape[-1])
