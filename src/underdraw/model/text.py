"""Prompts as the U-Net hears them: one frozen value, and the exact trick of projecting it once a prompt."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from underdraw.errors import InputError


@dataclass(frozen=True, eq=False)
class Text:
    """A batch of encoded prompts.

    states: B×L×C token states (L = 77 for CLIP, a multiple of it for long prompts; C = 768 in SD 1.5, 1024 in SD 2.1,
    2048 in SDXL).
    pooled: B×P, one vector a prompt (SDXL only).
    time_ids: B×6, SDXL's (original height, width, crop top, left, target height, width) in pixels; see `sized`.
    """

    states: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, items: slice | Tensor) -> "Text":
        """The chosen prompts, still a batch: a slice, or an index tensor."""
        return _gather(lambda part: part[items], [self])

    def to(self, *args: Any, **kwargs: Any) -> "Text":
        """Every tensor moved or cast, as Tensor.to does."""
        return _gather(lambda part: part.to(*args, **kwargs), [self])

    def where(self, keep: Tensor, other: "Text") -> "Text":
        """Prompt dropout: this text where `keep` (B booleans) holds, else `other` (of 1 or B prompts)."""

        def choose(mine: Tensor, others: Tensor) -> Tensor:
            return torch.where(keep.to(mine.device).reshape(-1, *[1] * (mine.ndim - 1)), mine, others)

        return _gather(choose, [self, other])

    def sized(self, width: int, height: int) -> "Text":
        """The text of an uncropped picture of this many pixels, as SDXL wants to be told."""
        ids = torch.tensor([[height, width, 0, 0, height, width]], device=self.states.device, dtype=self.states.dtype)
        return replace(self, time_ids=ids.repeat(len(self), 1))


def join(texts: Sequence[Text]) -> Text:
    """One batch of several."""
    if not texts:
        raise InputError("there is no text to join; give at least one prompt")
    return _gather(lambda *parts: torch.cat(parts), texts)


def _gather(change: Callable[..., Tensor], texts: Sequence[Text]) -> Text:
    """`change` applied to each kind of part that all texts have."""

    def changed(name: str) -> Tensor | None:
        parts = [getattr(text, name) for text in texts]
        return None if any(part is None for part in parts) else change(*parts)

    return Text(change(*(text.states for text in texts)), changed("pooled"), changed("time_ids"))


@contextmanager
def projected_once(*modules: nn.Module) -> Iterator[None]:
    """Inside the block, every cross-attention in `modules` projects each text once instead of once a step.

    Exact: keys and values depend on the prompt alone. A text is known by its `states` object, so pass the same
    Text at every step. For drawing, not for training: the projections of every text seen are kept until the end.
    """
    memories = [_Memory(layer) for module in modules for layer in _text_projections(module)]
    try:
        yield
    finally:
        for memory in memories:
            memory.close()


def _text_projections(module: nn.Module) -> Iterator[nn.Module]:
    """The key and value layers of diffusers' cross-attentions (`attn2` of every transformer block)."""
    for name, layer in module.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            yield layer


class _Memory:
    """A layer's `forward` that answers for a text it has seen; `close` puts back what was there before.

    Drawings may take turns, so a memory may be closed while another lies on top of it: that one then finds, below the
    closed one, what it has to put back.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.before, self.project = layer, vars(layer).get("forward"), layer.forward
        self.known: dict[int, tuple[Tensor, Tensor]] = {}
        self.open = True
        layer.forward = self

    def __call__(self, states: Tensor) -> Tensor:
        if not self.open:
            return cast(Tensor, self.project(states))
        # The states are kept beside the answer, so that their id can't pass to another tensor.
        if id(states) not in self.known:
            self.known[id(states)] = (states, self.project(states))
        return self.known[id(states)][1]

    def close(self) -> None:
        self.open = False
        self.known.clear()
        if vars(self.layer).get("forward") is self:
            below = self.before
            while isinstance(below, _Memory) and not below.open:
                below = below.before
            vars(self.layer).pop("forward") if below is None else setattr(self.layer, "forward", below)
