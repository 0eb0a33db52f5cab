"""Several processes, each with its share of every batch; `accelerate launch` starts them.

Every process holds all weights and takes the same steps: each computes the gradients of its share, and all go on with
their mean (data parallelism). What a step sees is a function of the step, so no process needs to be told anything. The
first one alone writes.

With accelerate's FSDP each holds only its part of what learns, of its gradients and of the optimizer's states
(Rajbhandari et al. 2020, "ZeRO"), and gathers a block's weights while that block is at work. What is locked is whole in
each.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from underdraw.errors import ConfigError
from underdraw.model import Branch
from underdraw.model.controlnet import ControlNet

__all__ = [
    "begin",
    "count",
    "divide",
    "divided",
    "either",
    "first",
    "in_turn",
    "mean_figures",
    "mean_gradients",
    "own",
    "parted",
    "place",
    "whole",
]

NEVER_CALLED = (AutoencoderKL, Branch, ControlNet, UNet2DConditionModel)
"""Networks that are run part by part, beside all modules without a `forward`."""


def begin(device: str) -> None:
    """Find the other processes, if there are any; on GPUs "cuda" is then each one's own.

    Raises ConfigError where DeepSpeed was asked for.
    """
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        raise ConfigError("DeepSpeed takes the steps by itself and is not supported; use FSDP, which divides the same")
    PartialState(cpu=device == "cpu")


def count() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def place() -> int:
    """Which one this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def first() -> bool:
    """Whether this is the one that writes."""
    return place() == 0


@contextmanager
def in_turn() -> Iterator[None]:
    """The first process does what is in the block, and then the others."""
    if count() == 1:
        yield
        return
    with PartialState().main_process_first():
        yield


def divided() -> bool:
    """Whether each process holds but a part of what learns."""
    return count() > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP")


def divide(module: nn.Module) -> None:
    """Leave each process its part of a module's weights; those that are in no part that is called stay whole."""
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(_device().type, (count(),))
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for part in _blocks(module):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts of a module that are called as wholes."""
    called = type(module).forward is not nn.Module.forward and not isinstance(module, NEVER_CALLED)
    if called:
        yield module
        return
    for child in module.children():
        yield from _blocks(child)


def own(tensor: Tensor) -> Tensor:
    """This process's part of a divided tensor; another one as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a divided tensor, which every process must ask for; another one as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def parted(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `whole`: each tensor divided as the one of its name and shape is."""
    found = dict(tensors)
    for name, tensor in tensors.items():
        model = like.get(name)
        if isinstance(model, DTensor) and model.shape == tensor.shape:
            found[name] = distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements)
    return found


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient becomes its mean over all processes; those of divided weights are that already."""
    if count() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad and not isinstance(parameter, DTensor):
            if parameter.grad is None:  # not touched in this share, but perhaps in another one
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
            parameter.grad /= count()


def mean_figures(figures: dict[str, float]) -> dict[str, float]:
    """The means over all processes, of figures that all have."""
    if count() == 1:
        return figures
    together = torch.tensor(list(figures.values()), dtype=torch.float64, device=_device())
    distributed.all_reduce(together)
    return dict(zip(figures, (together / count()).tolist(), strict=True))


def either(wish: bool) -> bool:
    """Whether it is so in any process."""
    if count() == 1:
        return wish
    found = torch.tensor(int(wish), device=_device())
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return bool(found)


def _device() -> torch.device:
    return torch.device(PartialState().device)
