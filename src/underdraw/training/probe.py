"""What a computation would hold in memory and how long it would take, found without doing it.

Modules and inputs are hollow: they have shapes and strides, but no numbers. A computation on them runs through the same
operations as a real one, forward and backward. Every operation's results are counted while they live; afterwards each
different operation is done a few times for itself, with numbers, to see how long it takes here.
"""

import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Probe", "Sketched", "hollow", "probing"]

ROUNDS = 3
"""How often each different operation is timed; the quickest counts. It is the processor's time, not the clock's, for
others may be at work beside it; threads that wait for each other take it, too."""


@dataclass(frozen=True)
class Sketched:
    """A tensor without numbers, to be made when it is needed."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def made(self) -> Tensor:
        """With small random numbers; whole ones are 0, which is a place in anything."""
        length = 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        flat = torch.zeros(max(0, length) if 0 not in self.shape else 0, dtype=self.dtype)
        if self.dtype.is_floating_point:
            flat.normal_(0, 0.1)
        return flat.as_strided(self.shape, self.stride)


Call = tuple[Any, Any, tuple[tuple[str, Any], ...]]


@dataclass
class Probe(TorchDispatchMode):
    """Counts bytes while they live, floating point operations, and how often each different operation is done."""

    live: int = 0
    peak: int = 0
    calls: Counter[Call] = field(default_factory=Counter)
    weight: int = 0
    """How many times each operation that is done now counts."""

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Any, types: Any, given: tuple[Any, ...] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        """One operation."""
        named = named or {}
        if self.weight:
            call = function, _frozen(given), tuple((name, _frozen(each)) for name, each in named.items())
            self.calls[call] += self.weight
        made = function(*given, **named)
        for each in tree_leaves(made):
            if isinstance(each, Tensor):
                self._hold(each)
        return made

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen.add(storage)
            size = storage.nbytes()
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.live -= size

    @contextmanager
    def peaking(self) -> Iterator[Callable[[], int]]:
        """How many bytes were held at most within the block, all that was there before included."""
        self.peak = self.live
        most = [0]
        try:
            yield lambda: most[0] or self.peak
        finally:
            most[0] = self.peak

    def seconds(self) -> float:
        """How long all counted operations take on this CPU, with the threads that torch has now and nobody beside."""
        return sum(times * _seconds(call) for call, times in self.calls.items()) / torch.get_num_threads()

    def operations(self) -> int:
        """Floating point operations of products, convolutions and attention among those counted."""
        with FakeTensorMode(), FlopCounterMode(display=False) as counter:
            total = 0
            for call, times in self.calls.items():
                before = counter.get_total_flops()
                _run(call)
                total += times * (counter.get_total_flops() - before)
        return int(total)


@contextmanager
def probing() -> Iterator[Probe]:
    """All tensors made in the block are hollow, and counted."""
    with FakeTensorMode(), Probe() as probe:
        yield probe


def hollow(module: nn.Module) -> None:
    """Bring a module from the meta device among the hollow ones, on the CPU; what is there already stays."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, each in held.items():
                if each is not None and each.device.type == "meta":
                    held[name] = _hollowed(each)  # type: ignore[assignment]


def _hollowed(meta: Tensor) -> Tensor:
    made = torch.empty_strided(meta.shape, meta.stride(), dtype=meta.dtype)
    return nn.Parameter(made, meta.requires_grad) if isinstance(meta, nn.Parameter) else made


def _frozen(given: Any) -> Any:
    """Arguments that can be compared and kept: tensors become what is known of them."""
    if isinstance(given, Tensor):
        return Sketched(tuple(given.shape), tuple(given.stride()), given.dtype)
    if isinstance(given, list | tuple):
        return tuple(_frozen(each) for each in given)
    if isinstance(given, torch.Generator):
        return None
    return str(given) if isinstance(given, torch.device) else given


STATISTICS = {
    torch.ops.aten.native_group_norm_backward.default: (2, 3),
    torch.ops.aten.native_layer_norm_backward.default: (3, 4),
}
"""Arguments that are float32 on a CPU although the shapes' own rules say they are as the features."""


def _run(call: Call) -> Callable[[], Any]:
    """Does a call once, with new numbers, and gives what does it again."""
    function, given, named = call
    exact = STATISTICS.get(function, ())
    given = [replace(each, dtype=torch.float32) if place in exact else each for place, each in enumerate(given)]
    places, names = [_made(each) for each in given], {name: _made(each) for name, each in named}

    def run() -> Any:
        return function(*places, **names)

    run()
    return run


def _made(each: Any) -> Any:
    if isinstance(each, tuple):
        return [_made(part) for part in each]
    return each.made() if isinstance(each, Sketched) else each


@torch.no_grad()
def _seconds(call: Call) -> float:
    run, taken = _run(call), []
    for _ in range(ROUNDS):
        begun = time.process_time()
        run()
        taken.append(time.process_time() - begun)
    return min(taken)
