"""What both halves of guidance have in common, and what the schedule alone decides, is computed once.

Both halves see the same sample at the same time, and differ in the text only: so all that comes before the first
cross-attention is the same for both, in the base and in the copy that a control is. Whether it is the same is not
assumed, it is looked at: a layer whose two halves differ (other pictures beside, pooled text as in SDXL) computes both.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.model.overlay import Lay

__all__ = ["encoders", "halved", "timed"]


def encoders(*modules: nn.Module) -> list[Any]:
    """The U-Nets and first halves of U-Nets among modules and what is in them."""
    parts = ("conv_in", "down_blocks", "time_embedding")
    return [each for module in modules for each in module.modules() if all(hasattr(each, part) for part in parts)]


def halved(*modules: nn.Module) -> list[Lay]:
    """What to lay on modules, so that a batch of twice the same is computed once up to the first cross-attention."""
    near = (each for each in encoders(*modules) if each.conv_in.weight.device.type == "cpu")  # a GPU would have to wait
    return [(layer, "forward", _once) for encoder in near for layer in _before_text(encoder)]


def _before_text(encoder: Any) -> Iterator[nn.Module]:
    """The layers through which a sample passes before it hears the text."""
    yield encoder.conv_in
    for block in encoder.down_blocks:
        if not getattr(block, "has_cross_attention", False):
            yield block
            continue
        yield block.resnets[0]
        first = block.attentions[0]
        yield from (first.norm, first.proj_in, first.transformer_blocks[0].norm1, first.transformer_blocks[0].attn1)
        return


def _once(before: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*parts: Any, **named: Any) -> Any:
        told = [part for part in (*parts, *named.values()) if isinstance(part, Tensor)]
        if not all(_twice(part) for part in told):
            return before(*parts, **named)
        half = [_first(part) for part in parts]
        return _doubled(before(*half, **{name: _first(part) for name, part in named.items()}))

    return forward


def _twice(part: Tensor) -> bool:
    half = len(part) // 2
    return 2 * half == len(part) and torch.equal(part[:half], part[half:])


def _first(part: Any) -> Any:
    return part[: len(part) // 2] if isinstance(part, Tensor) else part


def _doubled(result: Any) -> Any:
    """A result, or each of several, for both halves."""
    if isinstance(result, tuple):
        return tuple(map(_doubled, result))
    return torch.cat([result, result]) if isinstance(result, Tensor) else result


class _Table:
    """What a layer gives at each step of a schedule; `step` says which one it is."""

    def __init__(self, rows: Tensor, clock: list[int]) -> None:
        self.rows, self.clock = rows, clock

    def __call__(self, before: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(sample: Tensor, *_: Any) -> Tensor:
            return self.rows[self.clock[0]].expand(len(sample), -1)

        return forward


def timed(timesteps: Tensor, clock: list[int], dtype: torch.dtype, *modules: nn.Module) -> list[Lay]:
    """What to lay on modules that will be asked at `timesteps` only: the time's embedding and its projections.

    clock: one number, the step that it is. dtype: of the samples. Hooks on the layers (LoRAs) speak at every step.
    """
    lays: list[Lay] = []
    for encoder in encoders(*modules):
        device = encoder.conv_in.weight.device
        rows: Tensor = encoder.time_embedding.forward(encoder.time_proj(timesteps.to(device)).to(dtype))
        lays.append((encoder.time_embedding, "forward", _Table(rows, clock)))
        if getattr(encoder, "add_embedding", None) is None:
            lays += [
                (layer.time_emb_proj, "forward", _Table(layer.time_emb_proj.forward(_active(layer, rows)), clock))
                for layer in _listeners(encoder)
            ]
    return lays


def _listeners(encoder: Any) -> Sequence[Any]:
    return [layer for layer in encoder.modules() if getattr(layer, "time_emb_proj", None) is not None]


def _active(layer: Any, rows: Tensor) -> Tensor:
    active: Tensor = rows if layer.skip_time_act else layer.nonlinearity(rows)
    return active
