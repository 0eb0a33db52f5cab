"""The network by OpenVINO's runtime, on the CPU: the extra `openvino`.

The base is converted straight from torch as it is cut at its waist, and so is each control that is a copy of its first
half; what lies between (fusions, weights, masks, curves) stays in torch. So nothing that a person sets is baked in,
what is reused between steps is not computed here either, and a silent control costs nothing.

The graphs are made once for a base and its nets, and compiled once for each size of batch and picture, in the precision
of the drawing (the runtime would otherwise take bfloat16 wherever the processor has it). They are made anew where
weights change or LoRAs come and go.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from underdraw.errors import ConfigError, MissingExtra
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

__all__ = ["Compiled", "Graph"]

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class Compiled:
    """One drawing's engine. Raises MissingExtra without OpenVINO, ConfigError for what it can't compute."""

    def __init__(self, backbone: Backbone, nets: Sequence[Any], timesteps: Tensor) -> None:
        _check(backbone)
        self.unet, self.torch = backbone.unet, Split(backbone.unet)
        names = [site.name for site in sites(backbone.unet)]
        self.waist: Waist = self
        self.first, self.second = (Graph.of(backbone.unet, make, backbone.dtype) for make in (_First, _Second))
        copies = [net.branch for net in nets if isinstance(net, ControlNet) and hasattr(net.branch, "down_blocks")]
        self.names = names
        self.lays: list[Lay] = [
            (branch, "forward", _Branch(branch, Graph.of(branch, _Signals, backbone.dtype)))
            for branch in dict.fromkeys(copies)
        ]

    def at(self, step: int) -> AbstractContextManager[None]:
        """A block in which control branches are computed here."""
        return overlaid(self.lays)

    def encode(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        text: Text | None,
        injections: Sequence[Tensor | None] = (),
    ) -> Encoding:
        """The first half; one with features of T2I-Adapters laid in is left to torch."""
        if text is None or any(injection is not None for injection in injections):
            return self.torch.encode(sample, timestep, text, injections)
        embedding = embed(self.unet, sample, timestep, text)
        skips = self.first(sample, embedding, text.states)
        return Encoding(dict(zip(self.names, skips, strict=True)), embedding, text.states)

    def decode(self, encoding: Encoding) -> Tensor:
        """The second half; one of a size that does not halve evenly is left to torch."""
        if encoding.states is None or is_odd(self.unet, encoding.skips["down.0"]):
            return self.torch.decode(encoding)
        (prediction,) = self.second(encoding.embedding, encoding.states, *encoding.skips.values())
        return prediction


def _check(backbone: Backbone) -> None:
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the openvino backend", "openvino") from error
    if backbone.device.type != "cpu" or backbone.dtype not in PRECISIONS:
        raise ConfigError("the openvino backend draws on the CPU in float32 or bfloat16; give --device cpu")
    if not backbone.unet.config.get("cross_attention_dim"):
        raise ConfigError("the openvino backend draws with bases that hear text; leave --backend out")


class _First(nn.Module):
    """The base's first half, and what it may be asked with to see how it computes."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def example(self) -> tuple[Tensor, ...]:
        """Two samples, an embedding and a text."""
        return _example(self.unet)

    def forward(self, sample: Tensor, embedding: Tensor, states: Tensor) -> tuple[Tensor, ...]:
        """The skips, in the order of the sites."""
        return tuple(descend(self.unet, sample, embedding, states).values())


class _Second(nn.Module):
    """The base's second half."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def example(self) -> tuple[Tensor, ...]:
        """An embedding, a text, and the skips of two samples."""
        sample, embedding, states = _example(self.unet)
        return embedding, states, *(_features(sample, site) for site in sites(self.unet))

    def forward(self, embedding: Tensor, states: Tensor, *skips: Tensor) -> Tensor:
        """The prediction."""
        names = [site.name for site in sites(self.unet)]
        return decode(self.unet, Encoding(dict(zip(names, skips, strict=True)), embedding, states))


class _Signals(nn.Module):
    """A control's branch that is a copy of the first half."""

    def __init__(self, branch: Any) -> None:
        super().__init__()
        self.branch = branch

    def example(self) -> tuple[Tensor, ...]:
        """A hint, two samples, an embedding and a text."""
        sample, embedding, states = _example(self.branch)
        return _features(sample[:1], self.branch.every[0]), sample, embedding, states

    def forward(self, hint: Tensor, sample: Tensor, embedding: Tensor, states: Tensor) -> tuple[Tensor, ...]:
        """The signals at the sites to which it speaks."""
        features = descend(self.branch, sample, embedding, states, hint=hint)
        taps = [*self.branch.controlnet_down_blocks.values(), self.branch.controlnet_mid_block]
        spoken = zip(self.branch.spoken, taps, strict=True)
        return tuple(tap(features[site.name]) for site, tap in spoken)


def _example(unet: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Samples that halve evenly, an embedding and a text of a usual length."""
    config, side = unet.config, 2 * max(site.scale for site in _sites(unet))
    width = config["cross_attention_dim"]
    embedding = torch.randn(2, unet.time_embedding.linear_2.out_features)
    return torch.randn(2, config["in_channels"], side, side), embedding, torch.randn(2, 77, width)


def _sites(unet: Any) -> Sequence[Site]:
    return unet.every if hasattr(unet, "every") else sites(unet)


def _features(sample: Tensor, site: Site) -> Tensor:
    height, width = (side // site.scale for side in sample.shape[2:])
    return torch.randn(len(sample), site.channels, height, width)


_GRAPHS: WeakKeyDictionary[nn.Module, dict[Any, "Graph"]] = WeakKeyDictionary()


class Graph:
    """A part as OpenVINO computes it, compiled for each shape of its inputs that has been seen."""

    def __init__(self, part: Any, dtype: torch.dtype) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        self.dtype, self.core, self.known = dtype, openvino.Core(), dict[Any, Any]()
        # Not by convert_model: that one reports to its maker over the network, unless it was told not to.
        reader = FrontEndManager().load_by_framework("pytorch")
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # what diffusers asserts of shapes holds for all that are traced
            decoder = TorchScriptPythonDecoder(part, example_input=part.example())  # the reader asks it to the end
            self.model = reader.convert(reader.load(decoder))

    @classmethod
    def of(cls, module: nn.Module, make: Callable[[Any], Any], dtype: torch.dtype) -> "Graph":
        """The graph of a part of a module as it is now: the one that is known, or a new one."""
        graphs, key = _GRAPHS.setdefault(module, {}), (make, dtype, _state(module))
        if key not in graphs:
            for old in [old for old in graphs if old[0] is make]:
                del graphs[old]
            wide = module if dtype == torch.float32 else copy.deepcopy(module).float()
            graphs[key] = cls(make(wide), dtype)
        return graphs[key]

    def __call__(self, *parts: Tensor) -> list[Tensor]:
        """What the part gives."""
        shapes = tuple(tuple(part.shape) for part in parts)
        if shapes not in self.known:
            self.known[shapes] = self._compiled(shapes)
        told = self.known[shapes]([part.float().contiguous().numpy() for part in parts], share_inputs=True)
        return [torch.from_numpy(told[place]).to(self.dtype) for place in range(len(told))]

    def _compiled(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        model = self.model.clone()
        model.reshape({place: list(shape) for place, shape in enumerate(shapes)})
        how = {"INFERENCE_PRECISION_HINT": PRECISIONS[self.dtype], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        return self.core.compile_model(model, "CPU", how)


def _state(module: nn.Module) -> tuple[Any, ...]:
    """What changes where weights do, or what is attached to them."""
    worn = tuple((id(each.lora), each.weight) for each in attached_to({"module": module}))
    return worn, tuple(
        (weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in module.parameters()
    )


class _Branch:
    """A branch's `forward` that is computed here."""

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
