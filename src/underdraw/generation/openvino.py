"""The network by OpenVINO's runtime, on the CPU: the extra `openvino`.

The parts (`parts`) are converted straight from torch as they lie in memory, once for a base and its nets, and compiled
once for each size of batch and picture, in the precision of the drawing (the runtime would otherwise take bfloat16
wherever the processor has it). They are made anew where weights change or LoRAs come and go.

In 8 bits (`compiled_int8`) what the layers multiply is rounded to integers: approximate. The ranges of what passes
through them come from drafts (`drafts`) that depend on the base and its nets alone: so the same recipe gives the same
picture, in any company.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.errors import ConfigError, MissingExtra
from underdraw.generation.drafts import ranges_of
from underdraw.generation.parts import Parts, Whole, copied, remembered
from underdraw.model import Backbone, overlaid
from underdraw.model.rounded import Ranges, rounded

__all__ = ["Converted", "compiled", "compiled_int8"]

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


def compiled(backbone: Backbone, nets: Sequence[Any]) -> Parts:
    """One drawing's engine. Raises MissingExtra without OpenVINO, ConfigError for what it can't compute."""
    _check(backbone)
    return Parts(backbone, nets, partial(_graph, dtype=backbone.dtype))


def compiled_int8(backbone: Backbone, nets: Sequence[Any]) -> Parts:
    """The same in 8 bits."""
    _check(backbone)
    owners = {net.branch: net for net in nets if hasattr(net, "branch")}

    def make(module: nn.Module, part: Whole) -> "Converted":
        return _graph(module, part, backbone.dtype, lambda: ranges_of(backbone, owners.get(module)))

    return Parts(backbone, nets, make)


def _check(backbone: Backbone) -> None:
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the openvino backend", "openvino") from error
    if backbone.device.type != "cpu" or backbone.dtype not in PRECISIONS:
        raise ConfigError("the openvino backend draws on the CPU in float32 or bfloat16; give --device cpu")
    if not backbone.unet.config.get("cross_attention_dim"):
        raise ConfigError("the openvino backend draws with bases that hear text; leave --backend out")


def _graph(
    module: nn.Module, part: Whole, dtype: torch.dtype, ranges: Callable[[], Ranges] | None = None
) -> "Converted":
    """A part of a module as it is now; in 8 bits where there are ranges."""

    def make() -> Converted:
        wide = module if dtype == torch.float32 else copied(module).float()
        with overlaid([] if ranges is None else rounded(wide, ranges())):
            return Converted(wide, part, dtype)

    made: Converted = remembered(module, (part, dtype, ranges is None), make)
    return made


class _Traceable(nn.Module):
    """A part as a module, which is what the converter takes."""

    def __init__(self, module: nn.Module, part: Whole) -> None:
        super().__init__()
        self.module, self.part = module, part

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.part.compute(self.module, *inputs)


class Converted:
    """A part in float32 as OpenVINO computes it in a precision, compiled for each shape of its inputs that it sees."""

    def __init__(self, module: nn.Module, part: Whole, dtype: torch.dtype) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
        from openvino.passes import ConstantFolding, Manager

        self.dtype, self.core, self.known = dtype, openvino.Core(), dict[Any, Any]()
        # Not by convert_model: that one reports to its maker over the network, unless it was told not to.
        reader = FrontEndManager().load_by_framework("pytorch")
        traceable = _Traceable(module, part)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # what diffusers asserts of shapes holds for all that are traced
            # The reader asks the decoder to the end.
            decoder = TorchScriptPythonDecoder(traceable, example_input=part.example(module))
            self.model = reader.convert(reader.load(decoder))
        folding = Manager()
        folding.register_pass(ConstantFolding())  # the runtime multiplies integers where their ranges are plain numbers
        folding.run_passes(self.model)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """What the part gives."""
        shapes = tuple(tuple(each.shape) for each in inputs)
        if shapes not in self.known:
            self.known[shapes] = self._compiled(shapes)
        told = self.known[shapes]([each.float().contiguous().numpy() for each in inputs], share_inputs=True)
        return [torch.from_numpy(told[place]).to(self.dtype) for place in range(len(told))]

    def _compiled(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        model = self.model.clone()
        model.reshape({place: list(shape) for place, shape in enumerate(shapes)})
        how = {"INFERENCE_PRECISION_HINT": PRECISIONS[self.dtype], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        return self.core.compile_model(model, "CPU", how)
