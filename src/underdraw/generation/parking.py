"""Parts that wait beside the device, in the computer's own memory, and come over only while they work.

Every part keeps its own tensors where they are and works with copies, so nothing is ever carried back, and its bits
stay what they were. Text encoders, the autoencoder and control nets can wait; the U-Net is at work all the time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.errors import ConfigError
from underdraw.model import Backbone

__all__ = ["check_parking", "park", "park_base"]

_UNCALLED = (nn.ModuleList, nn.ModuleDict)


def check_parking(device: torch.device) -> None:
    """Raises ConfigError where the device is the CPU: there is nothing to be spared."""
    if device.type == "cpu":
        raise ConfigError("offload spares the memory of a GPU, and everything is drawn on the CPU here; leave it out")


def park_base(backbone: Backbone, device: torch.device) -> None:
    """Bring a base's U-Net to the device, and let all else wait."""
    backbone.unet.to(device)
    for module in (*backbone.text_encoders, *([] if backbone.vae is None else [backbone.vae])):
        park(module, device)


def park(module: nn.Module, device: torch.device) -> None:
    """Let a module wait on the CPU from now on; each of its parts comes to the device while it is called."""
    module.to("cpu")
    for part in _parts(module):
        berth = _Berth(part, device)
        part.register_forward_pre_hook(berth.enter, with_kwargs=True)
        part.register_forward_hook(berth.leave, always_call=True)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The parts that are called one by one: a model's children, of lists what they hold.

    A control's branch, an adapter's network and a text model are looked into: their parts are also called by others.
    """
    for name, part in module.named_children():
        if isinstance(part, _UNCALLED) or name in ("branch", "net", "text_model"):
            yield from _parts(part)
        else:
            yield part


class _Berth:
    """Where one part's own tensors are, while copies of them work elsewhere."""

    def __init__(self, part: nn.Module, device: torch.device) -> None:
        self.device = device
        tables: list[dict[str, Any]] = [
            table for module in part.modules() for table in (module._parameters, module._buffers)
        ]
        self.own = [(table, name, own) for table in tables for name, own in table.items() if own is not None]

    def enter(self, part: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        for table, name, own in self.own:
            copy = own.detach().to(self.device, non_blocking=True)
            table[name] = nn.Parameter(copy, requires_grad=False) if isinstance(own, nn.Parameter) else copy
        return _moved(given, self.device), _moved(named, self.device)

    def leave(self, part: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        for table, name, own in self.own:
            table[name] = own


def _moved(given: Any, device: torch.device) -> Any:
    """What a part is called with, on the device."""
    if isinstance(given, Tensor):
        return given.to(device)
    if isinstance(given, Mapping):
        return {name: _moved(each, device) for name, each in given.items()}
    return type(given)(_moved(each, device) for each in given) if type(given) in (tuple, list) else given
