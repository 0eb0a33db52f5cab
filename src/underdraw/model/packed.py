"""Weights in the layout of the CPU's kernels, laid out once a drawing instead of at every call.

oneDNN computes convolutions and products in blocked layouts. Eager torch brings the weights into theirs at each call,
and in float32 hands products to another library, which on some processors is several times slower. Here every
convolution and linear layer keeps a laid-out copy beside its weights, made at its first call and let go after the
drawing. The arithmetic is the same; the order of its sums, and so the last bits, may differ.

It costs the memory of the copies, as much as the weights themselves: so no more is packed than half of what the machine
has free, small weights first, for these belong to layers that see many values.
"""

import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.model.overlay import Lay

__all__ = ["packable", "packed"]

_KINDS = (nn.Conv2d, nn.Linear)
_PROJECTIONS = ("attn2.to_k", "attn2.to_v")
"""Text is projected once a drawing, so nothing is gained there."""
_SPARE = 0.5
"""The share of the free memory that copies may take."""


def packed(*modules: nn.Module) -> list[Lay]:
    """What to lay on the convolutions and linear layers of modules that are on the CPU; nothing where it can't help."""
    layers = sorted((layer for module in modules for layer in packable(module)), key=_size)
    room = _SPARE * _free()
    layers = [layer for layer, taken in zip(layers, accumulate(map(_size, layers)), strict=True) if taken <= room]
    kinds: dict[type, type[_Packed]] = {nn.Conv2d: _Convolution, nn.Linear: _Linear}
    return [(layer, "forward", kinds[type(layer)](layer)) for layer in layers]


def packable(module: nn.Module) -> Iterator[Any]:
    """The layers whose weights can be packed here."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return
    halved = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    kinds = (torch.float32, torch.bfloat16) if halved else (torch.float32,)
    for name, layer in module.named_modules():
        if type(layer) in _KINDS and not name.endswith(_PROJECTIONS):
            plain = isinstance(layer, nn.Linear) or (layer.padding_mode == "zeros" and isinstance(layer.padding, tuple))
            if plain and layer.weight.device.type == "cpu" and layer.weight.dtype in kinds:
                yield layer


def _size(layer: Any) -> int:
    return int(layer.weight.numel()) * int(layer.weight.element_size())


def _free() -> int:
    """Bytes of memory that nothing needs."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)


class _Packed(ABC):
    """A layer's `forward` with its own copy of the weight, made anew where the weight has changed."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.copy: Tensor | None = None
        self.made_of: tuple[int, int] | None = None

    def __call__(self, before: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        """The packed forward, which leaves to the one `before` it what it can't do."""

        def forward(sample: Tensor) -> Tensor:
            weight: Tensor = self.layer.weight
            if sample.dtype != weight.dtype or torch.is_grad_enabled() or not sample.numel():
                return before(sample)
            here = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
            if self.copy is None or self.made_of != here:
                self.copy, self.made_of = self.pack(weight.detach(), sample), here
            return self.compute(sample, self.copy)

        return forward

    @abstractmethod
    def pack(self, weight: Tensor, sample: Tensor) -> Tensor:
        """The copy, laid out as suits samples of this size; others are computed with it as well."""

    @abstractmethod
    def compute(self, sample: Tensor, weight: Tensor) -> Tensor:
        """What the layer gives, with the packed weight."""


class _Convolution(_Packed):
    def pack(self, weight: Tensor, sample: Tensor) -> Tensor:
        layer = self.layer
        where = (layer.padding, layer.stride, layer.dilation, layer.groups, list(sample.shape))
        copy: Tensor = torch.ops.aten.mkldnn_reorder_conv2d_weight(weight.contiguous().to_mkldnn(), *where)
        return copy

    def compute(self, sample: Tensor, weight: Tensor) -> Tensor:
        layer = self.layer
        how: tuple[Any, ...] = (layer.padding, layer.stride, layer.dilation, layer.groups, "none", [], "")
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(sample, weight, layer.bias, *how)
        return result


class _Linear(_Packed):
    def pack(self, weight: Tensor, sample: Tensor) -> Tensor:
        copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), sample.shape[:-1].numel())
        return copy

    def compute(self, sample: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(sample, weight, self.layer.bias, "none", [], "")
        return result
