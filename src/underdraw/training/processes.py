"""Several processes, each with its share of every batch; `accelerate launch` starts them.

Every process holds all weights and takes the same steps: each computes the gradients of its share, and all go on with
their mean (data parallelism). What a step sees is a function of the step, so no process needs to be told anything. The
first one alone writes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState
from torch import distributed, nn

__all__ = ["begin", "count", "either", "first", "in_turn", "mean_figures", "mean_gradients", "place"]


def begin(device: str) -> None:
    """Find the other processes, if there are any; on GPUs "cuda" is then each one's own."""
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


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient becomes its mean over all processes."""
    if count() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
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
