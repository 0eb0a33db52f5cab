"""Products of 8-bit numbers: weights and features are rounded to 256 values before they are multiplied.

    weights    a scale for each output channel: the largest of them is 127
    features   a range for each layer, from what has passed through it in drawings that were `watched`

Rounded here and multiplied as floats, it shows what 8 bits cost; a runtime that knows torch's marks for it (OpenVINO)
multiplies integers. Left alone: the first and the last layer, the time's, the text's keys and values (computed once a
prompt, and with values far beyond all others), a control's hints and zero convolutions.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from underdraw.model.overlay import Lay

__all__ = ["Ranges", "rounded", "watched"]

Ranges = dict[str, tuple[float, float]]
"""By a layer's name: the smallest and the largest of its features, with 0 between them."""
_LEFT = re.compile(r"(^|\.)(conv_in|conv_out|time_\w*|add_embedding|controlnet_\w+)(\.|$)|attn2\.to_[kv]$")


def watched(module: nn.Module, ranges: Ranges) -> list[Lay]:
    """What to lay on a module so that `ranges` learns what passes through its layers."""
    return [(layer, "forward", _Watched(name, ranges)) for name, layer in _layers(module)]


def rounded(module: nn.Module, ranges: Ranges) -> list[Lay]:
    """What to lay on a module so that the layers with a range multiply 8-bit numbers."""
    return [(layer, "forward", _Rounded(layer, *ranges[name])) for name, layer in _layers(module) if name in ranges]


def _layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and not _LEFT.search(name):
            yield name, layer


@dataclass(frozen=True)
class _Watched:
    name: str
    ranges: Ranges

    def __call__(self, before: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def forward(features: Tensor) -> Tensor:
            low, high = self.ranges.get(self.name, (0.0, 0.0))
            self.ranges[self.name] = min(low, float(features.min())), max(high, float(features.max()))
            return before(features)

        return forward


class _Rounded:
    """A layer's `forward` on rounded features with rounded weights."""

    def __init__(self, layer: Any, low: float, high: float) -> None:
        self.layer = layer
        self.step = max(high - low, 1e-6) / 255
        self.zero = round(-low / self.step)
        weight: Tensor = layer.weight.detach()
        self.steps = weight.flatten(1).abs().amax(1).float().clamp(min=1e-9) / 127
        self.zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)

    def __call__(self, before: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        layer = self.layer

        def forward(features: Tensor) -> Tensor:
            features = torch.fake_quantize_per_tensor_affine(features, self.step, self.zero, 0, 255)
            weight = torch.fake_quantize_per_channel_affine(layer.weight, self.steps, self.zeros, 0, -127, 127)
            if isinstance(layer, nn.Linear):
                return functional.linear(features, weight, layer.bias)
            result: Tensor = layer._conv_forward(features, weight, layer.bias)
            return result

        return forward
