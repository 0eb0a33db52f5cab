"""Self-attention in bfloat16 on the CPU as plain products, some queries at a time.

torch's own kernel computes it at the rate of float32; bfloat16 products are faster where there are hundreds of queries
and heads are wide. The scores and shares are then rounded to bfloat16, as all else is in a drawing of that precision.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from underdraw.model.overlay import Lay

__all__ = ["attend", "chunked"]

_QUERIES, _SCORES = 256, 2**21
"""At a time: the scores of so many queries, of as many heads as fit, stay in the processor's cache."""
_WIDTH, _LENGTH = 32, 256
"""Narrower heads, and fewer queries, are left to torch: nothing is gained there."""


def chunked(*modules: nn.Module) -> list[Lay]:
    """What to lay on the self-attentions of modules in bfloat16 on the CPU."""
    return [
        (layer, "processor", _Processor)
        for module in modules
        for name, layer in module.named_modules()
        if name.endswith("attn1") and _plain(layer) and layer.to_q.out_features // layer.heads >= _WIDTH
    ]


def _plain(layer: Any) -> bool:
    """Whether it is nothing but queries, keys and values, and where it can gain."""
    weight = layer.to_q.weight
    extras = (layer.spatial_norm, layer.group_norm, layer.norm_q, layer.norm_k, layer.added_kv_proj_dim)
    plain = all(extra is None for extra in extras) and not layer.residual_connection
    return plain and layer.rescale_output_factor == 1 and weight.dtype == torch.bfloat16 and weight.device.type == "cpu"


class _Processor:
    """What diffusers calls in place of its own; masks and texts are left to that one."""

    def __init__(self, before: Callable[..., Tensor]) -> None:
        self.before = before

    def __call__(
        self,
        attn: Any,
        states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **named: Any,
    ) -> Tensor:
        if encoder_hidden_states is not None or attention_mask is not None or states.ndim != 3:
            return self.before(attn, states, encoder_hidden_states, attention_mask, **named)
        batch, length, _ = states.shape
        layers = (attn.to_q, attn.to_k, attn.to_v)
        heads = [layer(states).view(batch, length, attn.heads, -1).transpose(1, 2) for layer in layers]
        heard = attend(*heads).transpose(1, 2).reshape(batch, length, -1)
        projection, dropout = attn.to_out
        told: Tensor = dropout(projection(heard))
        return told


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q·Kᵀ/√d)·V of B×heads×L×d; by torch's kernel where there are few queries."""
    length, width = query.shape[2:]
    if length < _LENGTH:
        return functional.scaled_dot_product_attention(query, key, value)
    queries, keys, values = ((query * width**-0.5).flatten(0, 1), key.flatten(0, 1).mT, value.flatten(0, 1))
    heard = torch.empty_like(values)
    heads = max(1, _SCORES // (_QUERIES * length))
    for head, start in product(range(0, len(heard), heads), range(0, length, _QUERIES)):
        some, part = slice(head, head + heads), slice(start, start + _QUERIES)
        torch.bmm(torch.bmm(queries[some, part], keys[some]).softmax(-1), values[some], out=heard[some, part])
    told: Tensor = heard.unflatten(0, query.shape[:2])
    return told
