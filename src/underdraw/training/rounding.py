"""Weights kept in bfloat16 while they learn: each new one is rounded up or down at random, right on average.

A step of Adam moves a weight by about the learning rate, which is far less than what lies between two neighbours in
bfloat16 (2⁻⁸ of the weight); rounded to the nearest, most weights would never move. Rounded up with the probability of
what is cut off, the mean is exact (Gupta et al. 2015, "Deep learning with limited numerical precision"):

    x = ⌊x⌋ + f·ε   →   ⌊x⌋ + ε with probability f, else ⌊x⌋

bfloat16 is the upper half of a float32, so that is: add 16 random bits to the lower half, and cut it off.
"""

import hashlib
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.training.processes import own

__all__ = ["RoundedAdamW", "rounded"]

CHUNK = 2**17
"""Numbers that are worked on at once: the float32 beside the bfloat16 then stay in a processor's cache."""
LOWER = 2**16 - 1


def rounded(exact: Tensor, bits: Tensor) -> Tensor:
    """float32 to bfloat16, up or down as 16 random bits (int32, 0 to 65,535, of the same shape) will."""
    return (exact.view(torch.int32) + bits).bitwise_and_(~LOWER).view(torch.float32).to(torch.bfloat16)


class RoundedAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019) whose weights and moments are kept in the precision of the weights.

    Those in bfloat16 are rounded at random, by bits that seed, step and place say; so a resumed run rounds as one that
    was not stopped. The bits are drawn once a step, for one chunk, and turned (XOR) by a number of each chunk's own:
    they are as random for each weight, and to draw them for all took longer than the rest. Those in float32 learn as
    with torch's.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
        seed: int = 0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps})
        self.seed = seed

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        assert closure is None, "the gradients are there already"
        drawn: dict[tuple[int, torch.device], Tensor] = {}
        for group in self.param_groups:
            for place, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._learn(parameter, group, place, drawn)

    def _learn(
        self, parameter: nn.Parameter, group: dict[str, Any], place: int, drawn: dict[tuple[int, torch.device], Tensor]
    ) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] = step = int(state["step"]) + 1
        assert parameter.grad is not None
        held = [own(each.detach()) for each in (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])]
        held[1] = _alike(held[1], held[0])
        key = (step, held[0].device)
        if parameter.dtype == torch.bfloat16 and key not in drawn:
            drawn[key] = _bits(self.seed, *key)
        turns = Random(f"{self.seed} {step} {place}")
        for weights, slope, mean, square in zip(*(_flat(each).split(CHUNK) for each in held), strict=True):
            exact, squared = _moved(weights, slope.float(), mean, square, group, step)
            if parameter.dtype == torch.bfloat16:
                bits = drawn[key][: len(weights)] ^ (turns.getrandbits(32) - 2**31)
                exact, squared = rounded(exact, bits & LOWER), rounded(squared, (bits >> 16) & LOWER)
            weights.copy_(exact)
            square.copy_(squared)


def _moved(
    weights: Tensor, slope: Tensor, mean: Tensor, square: Tensor, group: dict[str, Any], step: int
) -> tuple[Tensor, Tensor]:
    """Some weights and their second moments after Adam's step, in float32. Their means are moved where they are.

    A mean moves by a tenth a step, which bfloat16 can keep as it is.
    """
    first, second = group["betas"]
    moved = mean.float().lerp_(slope, 1 - first)
    mean.copy_(moved)
    squared = square.float().mul_(second).addcmul_(slope, slope, value=1 - second)
    scale = (squared / (1 - second**step)).sqrt_().add_(group["eps"])
    exact = weights.float().mul_(1 - group["lr"] * group["weight_decay"])
    return exact.addcdiv_(moved, scale, value=-group["lr"] / (1 - first**step)), squared


def _bits(seed: int, step: int, device: torch.device) -> Tensor:
    """32 random bits for each number of a chunk."""
    digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=8).digest()
    draw = torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)
    return torch.empty(CHUNK, dtype=torch.int32, device=device).random_(-(2**31), 2**31 - 1, generator=draw)


def _alike(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient, laid out in memory as its parameter."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _flat(tensor: Tensor) -> Tensor:
    """All numbers in the order in which they lie in memory: a view, whichever way its sides are laid out."""
    return tensor.as_strided((tensor.numel(),), (1,))
