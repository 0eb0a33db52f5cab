"""A drawing's engine whose parts are computed as wholes, by a compiler's runtime or by torch's own compiler.

The parts are the base's first half, its second half, and each control's branch that is a copy of the first half. What
lies between (fusions, weights, masks, curves) stays in torch: so nothing that a person sets is baked in, what is reused
between steps is not computed, and a silent control costs nothing. A first half under a T2I-Adapter, a second half of a
size that does not halve evenly, and bases without text are left to torch.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from underdraw.model import (
    Backbone,
    ControlNet,
    Encoding,
    Lay,
    Site,
    Split,
    Text,
    Waist,
    attached_to,
    embed,
    overlaid,
    sites,
)
from underdraw.model.trunk import decode, descend, is_odd

__all__ = ["FIRST", "SECOND", "SIGNALS", "Graph", "Parts", "Whole", "copied", "remembered"]

Graph = Callable[..., Sequence[Tensor]]
"""A part as somebody computes it: from its inputs to what it gives."""


@dataclass(frozen=True)
class Whole:
    """A part of a module (a U-Net, or a branch): what it computes, and what it may be asked with to see how.

    compute: (module, inputs …) → what it gives. example: module → inputs.
    """

    compute: Callable[..., tuple[Tensor, ...]]
    example: Callable[[Any], tuple[Tensor, ...]]


class Parts:
    """One drawing's engine, with a graph that `make` makes of each part."""

    def __init__(self, backbone: Backbone, nets: Sequence[Any], make: Callable[[nn.Module, Whole], Graph]) -> None:
        self.unet, self.torch = backbone.unet, Split(backbone.unet)
        self.waist: Waist = self
        self.names = [site.name for site in sites(backbone.unet)]
        self.first, self.second = (make(backbone.unet, part) for part in (FIRST, SECOND))
        copies = [net.branch for net in nets if isinstance(net, ControlNet) and hasattr(net.branch, "down_blocks")]
        self.lays: list[Lay] = [
            (branch, "forward", _Branch(branch, make(branch, SIGNALS))) for branch in dict.fromkeys(copies)
        ]

    def at(self, step: int) -> AbstractContextManager[None]:
        """A block in which control branches are computed by their graphs."""
        return overlaid(self.lays)

    def encode(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        text: Text | None,
        injections: Sequence[Tensor | None] = (),
    ) -> Encoding:
        """The first half."""
        if text is None or any(injection is not None for injection in injections):
            return self.torch.encode(sample, timestep, text, injections)
        embedding = embed(self.unet, sample, timestep, text)
        skips = self.first(sample, embedding, text.states)
        return Encoding(dict(zip(self.names, skips, strict=True)), embedding, text.states)

    def decode(self, encoding: Encoding) -> Tensor:
        """The second half."""
        if encoding.states is None or is_odd(self.unet, encoding.skips["down.0"]):
            return self.torch.decode(encoding)
        (prediction,) = self.second(encoding.embedding, encoding.states, *encoding.skips.values())
        return prediction


class _Branch:
    """A branch's `forward` by its graph."""

    def __init__(self, branch: Any, graph: Graph) -> None:
        self.branch, self.graph = branch, graph

    def __call__(self, before: Callable[..., Any]) -> Callable[..., Any]:
        def forward(
            hint: Tensor, sample: Tensor, timestep: Tensor | float, text: Text | None = None
        ) -> dict[str, Tensor]:
            if text is None:
                told: dict[str, Tensor] = before(hint, sample, timestep, text)
                return told
            embedding = embed(self.branch, sample, timestep, text)
            signals = self.graph(hint, sample, embedding, text.states)
            if self.branch.pool:
                signals = [signal.mean((2, 3), keepdim=True).expand_as(signal) for signal in signals]
            return {site.name: signal for site, signal in zip(self.branch.spoken, signals, strict=True)}

        return forward


def _first(unet: Any, sample: Tensor, embedding: Tensor, states: Tensor) -> tuple[Tensor, ...]:
    """The skips, in the order of the sites."""
    return tuple(descend(unet, sample, embedding, states).values())


def _second(unet: Any, embedding: Tensor, states: Tensor, *skips: Tensor) -> tuple[Tensor, ...]:
    """The prediction."""
    names = [site.name for site in sites(unet)]
    return (decode(unet, Encoding(dict(zip(names, skips, strict=True)), embedding, states)),)


def _signals(branch: Any, hint: Tensor, sample: Tensor, embedding: Tensor, states: Tensor) -> tuple[Tensor, ...]:
    """The signals at the sites to which a branch speaks."""
    features = descend(branch, sample, embedding, states, hint=hint)
    taps = [*branch.controlnet_down_blocks.values(), branch.controlnet_mid_block]
    return tuple(tap(features[site.name]) for site, tap in zip(branch.spoken, taps, strict=True))


def _inputs(unet: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Two samples that halve evenly, an embedding and a text of a usual length."""
    config, side = unet.config, 2 * max(site.scale for site in _sites(unet))
    embedding = torch.zeros(2, unet.time_embedding.linear_2.out_features)
    states = torch.zeros(2, 77, config["cross_attention_dim"])
    return torch.zeros(2, config["in_channels"], side, side), embedding, states


def _second_inputs(unet: Any) -> tuple[Tensor, ...]:
    sample, embedding, states = _inputs(unet)
    return embedding, states, *(_features(sample, site) for site in sites(unet))


def _signals_inputs(branch: Any) -> tuple[Tensor, ...]:
    sample, embedding, states = _inputs(branch)
    return _features(sample[:1], branch.every[0]), sample, embedding, states


def _sites(unet: Any) -> Sequence[Site]:
    return unet.every if hasattr(unet, "every") else sites(unet)


def _features(sample: Tensor, site: Site) -> Tensor:
    height, width = (side // site.scale for side in sample.shape[2:])
    return torch.zeros(len(sample), site.channels, height, width)


FIRST = Whole(_first, _inputs)
"""(sample, embedding, states) → the skips."""
SECOND = Whole(_second, _second_inputs)
"""(embedding, states, skips …) → the prediction."""
SIGNALS = Whole(_signals, _signals_inputs)
"""(hint, sample, embedding, states) → the signals."""


_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, tuple[Any, Any]]] = WeakKeyDictionary()


def remembered(module: nn.Module, key: Any, make: Callable[[], Any]) -> Any:
    """What `make` makes of a module as it is now: known from before, or anew where weights changed or LoRAs came.

    What is made must not hold the module, or it would never be let go.
    """
    known, state = _KNOWN.setdefault(module, {}), _state(module)
    if known.get(key, (None,))[0] != state:
        known.pop(key, None)  # first, so that both are not in memory
        known[key] = state, make()
    return known[key][1]


def copied(module: nn.Module, shared: bool = False) -> nn.Module:
    """A copy of a module and of what speaks through its layers (LoRAs), over the same weights where they are shared.

    What a drawing lays on the one is not laid on the other.
    """
    twin = copy.deepcopy(module, {id(weight): weight for weight in module.parameters()} if shared else {})
    for layer, other in zip(module.modules(), twin.modules(), strict=True):
        other._forward_hooks.clear()  # a plain copy's LoRAs are mute
        for hook in layer._forward_hooks.values():
            other.register_forward_hook(hook)
    return twin


def _state(module: nn.Module) -> tuple[Any, ...]:
    """What changes where weights do, or what is attached to them."""
    worn = tuple((id(each.lora), each.weight) for each in attached_to({"module": module}))
    return worn, tuple(
        (weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in module.parameters()
    )
