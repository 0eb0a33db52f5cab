"""Who computes the network: torch as it is (quickened), torch's compiler, or OpenVINO's runtime."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from underdraw.model import Backbone, Quick, Split, Waist
from underdraw.registry import Registry

__all__ = ["ENGINES", "EXACT", "Engine"]


class Engine(Protocol):
    """The two halves of a base, computed in one way, for one drawing."""

    @property
    def waist(self) -> Waist:
        """The halves."""

    def at(self, step: int) -> AbstractContextManager[None]:
        """A block in which the networks are asked at this step of the drawing's schedule."""


class Make(Protocol):
    """What begins a drawing with control networks along a schedule of timesteps."""

    def __call__(self, backbone: Backbone, nets: Sequence[Any], timesteps: Tensor) -> Engine:
        """The engine for that drawing."""


ENGINES: Registry[Make] = Registry("backend")
EXACT: Mapping[str, str] = {"openvino-int8": "openvino"}
"""By the name of an approximate engine the exact one that it approximates."""


@ENGINES.register("torch")
class Eager:
    """torch, with everything that is exact laid on."""

    def __init__(self, backbone: Backbone, nets: Sequence[Any], timesteps: Tensor) -> None:
        self.waist: Waist = Split(backbone.unet)
        self.quick = Quick(timesteps, backbone.dtype, backbone.unet, *nets)

    def at(self, step: int) -> AbstractContextManager[None]:
        """As `Quick.at`."""
        return self.quick.at(step)


@ENGINES.register("compile")
def _compile(backbone: Backbone, nets: Sequence[Any], timesteps: Tensor) -> Engine:
    from underdraw.generation.inductor import compiled

    return compiled(backbone, nets)


@ENGINES.register("openvino")
def _openvino(backbone: Backbone, nets: Sequence[Any], timesteps: Tensor) -> Engine:
    from underdraw.generation.openvino import compiled

    return compiled(backbone, nets)


@ENGINES.register("openvino-int8")
def _openvino_int8(backbone: Backbone, nets: Sequence[Any], timesteps: Tensor) -> Engine:
    from underdraw.generation.openvino import compiled_int8

    return compiled_int8(backbone, nets)
