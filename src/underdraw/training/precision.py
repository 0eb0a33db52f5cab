"""Where the numbers are kept while a model learns: what was measured to be faster on a CPU, and nothing else."""

from functools import partial
from typing import Any, TypeVar

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from underdraw.training.recipe import Recipe

__all__ = ["Float32Attention", "channels_last", "computing", "fit", "recomputed", "use_float32_attention"]

M = TypeVar("M", bound=nn.Module)


HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What layers compute in while their weights are float32."""


def computing(recipe: Recipe, device: str) -> torch.autocast:
    """Within it layers compute as the recipe says. device: the type of the device."""
    return torch.autocast(device, HALF.get(recipe.precision), enabled=recipe.precision in HALF)


def fit(module: nn.Module, recipe: Recipe) -> None:
    """Lay a network out, and set its precision, attention and memory, as the recipe and the device want them."""
    if recipe.precision != "fp32" and recipe.device == "cpu":
        use_float32_attention(module)
    if recipe.precision == "bf16-weights":
        module.to(torch.bfloat16)
    if recipe.checkpointing:
        recomputed(module)
    channels_last(module)


def channels_last(module: M) -> M:
    """The module with its convolutions laid out for oneDNN and cuDNN."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def recomputed(module: nn.Module) -> None:
    """Keep only what enters the blocks of diffusers in this module, and compute their insides again on the way back."""
    for part in module.modules():
        if hasattr(part, "gradient_checkpointing"):
            part._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # type: ignore[assignment]
            part.gradient_checkpointing = True  # type: ignore[assignment]


def use_float32_attention(module: nn.Module) -> None:
    """Set `Float32Attention` wherever diffusers' attention is."""
    for part in module.modules():
        if hasattr(part, "set_processor"):
            part.set_processor(Float32Attention())  # type: ignore[operator]


class Float32Attention:
    """Diffusers' attention with the softmax product in fp32, whatever the layers around it compute in.

    The backward pass of bf16 attention on CPUs is several times slower than that of fp32.
    """

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """B×L×C → B×L×C; the text (or the states themselves) gives keys and values."""
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            project(states).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for project, states in (
                (attention.to_q, hidden_states),
                (attention.to_k, source),
                (attention.to_v, source),
            )
        )
        with torch.autocast(hidden_states.device.type, enabled=False):
            mixed = functional.scaled_dot_product_attention(query.float(), key.float(), value.float())
        out: Tensor = attention.to_out[0](mixed.transpose(1, 2).flatten(2).to(query.dtype))
        return out
