"""The network by torch's compiler: kernels made for each part (`parts`) and size; on GPUs replayed as CUDA graphs.

The first drawing of a size waits for its kernels, a minute or more. On the CPU a C++ compiler must be there.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import config as dynamo

from underdraw.generation.parts import Graph, Parts, Whole, copied, remembered
from underdraw.model import Backbone

__all__ = ["compiled"]


def compiled(backbone: Backbone, nets: Sequence[Any]) -> Parts:
    """One drawing's engine."""
    return Parts(backbone, nets, _graph)


def _graph(module: nn.Module, part: Whole) -> Graph:
    compute, twin = _kernels(part.compute), remembered(module, "twin", lambda: copied(module, shared=True))

    def graph(*inputs: Tensor) -> list[Tensor]:
        torch.compiler.cudagraph_mark_step_begin()
        with dynamo.patch(skip_nnmodule_hook_guards=False):  # LoRAs speak through hooks
            return [each.clone() for each in compute(twin, *inputs)]  # the next replay writes where this one did

    return graph


@cache
def _kernels(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The part's compiled function, which sees by itself whether it knows a module and a size."""
    made: Callable[..., Any] = torch.compile(compute, dynamic=False, mode="reduce-overhead")
    return made
