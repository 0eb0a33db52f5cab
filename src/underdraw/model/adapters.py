"""What a LoRA adds to one layer: a change of its weight that is kept as small factors.

    LowRank     ΔW = (α/r)·B·A                  A: in → r, B: r → out (Hu et al. 2021); on convolutions "LoCon"
    Hadamard    ΔW = (α/r)·(B₁A₁) ⊙ (B₂A₂)      "LoHa" (Hyeon-Woo et al. 2022)
    Kronecker   ΔW = (α/r)·W₁ ⊗ W₂              "LoKr"

Each may carry DoRA's magnitude m (Liu et al. 2024): then W + ΔW is scaled to the norm m, row by row or column by
column, and what is added is that minus W. Only LowRank without a magnitude is trained here; all are drawn with.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Layer = nn.Linear | nn.Conv2d
"""What an adapter can change."""


class Adapter(nn.Module, ABC):
    """The factors of one layer under the names of `needed` and `optional`, exactly as a file has them.

    alpha: a scalar of any dtype, or None where the file has none (then the scale is 1).
    Loaded factors don't train; `LowRank.fresh` makes those that do.
    """

    needed: ClassVar[frozenset[str]]
    optional: ClassVar[frozenset[str]]

    def __init__(self, factors: Mapping[str, Tensor]) -> None:
        super().__init__()
        # Neither parameter nor buffer: it never trains, and a scalar on the CPU costs no synchronisation.
        self.alpha = factors.get("alpha")
        for name in (self.needed | self.optional) - {"alpha"}:
            factor = factors.get(name)
            self.register_parameter(name, None if factor is None else nn.Parameter(factor, requires_grad=False))

    @property
    @abstractmethod
    def rank(self) -> int | None:
        """r, or None where nothing was factored."""

    @property
    def scale(self) -> float:
        """α/r."""
        return 1.0 if self.alpha is None or self.rank is None else float(self.alpha) / self.rank

    def factors(self) -> dict[str, Tensor]:
        """All that it was made of; the inverse of the constructor."""
        alpha = {} if self.alpha is None else {"alpha": self.alpha}
        return alpha | {name: factor.detach() for name, factor in self.named_parameters()}

    def shape(self) -> torch.Size:
        """The shape of ΔW, out × in or out × in × kernel. Raises RuntimeError for factors that don't fit together."""
        return self.product({name: factor.to("meta") for name, factor in self.factors().items()}).shape

    @staticmethod
    @abstractmethod
    def product(factors: Mapping[str, Tensor]) -> Tensor:
        """ΔW without its scale."""

    def delta(self, weight: Tensor) -> Tensor:
        """ΔW in float32 and the shape of `weight`, the layer's own."""
        product = self.product({name: factor.float() for name, factor in self.named_parameters()})
        change = self.scale * product.reshape(weight.shape)
        magnitude = getattr(self, "magnitude", None)
        return change if magnitude is None else _renormed(weight.float() + change, magnitude.float()) - weight.float()

    def forward(self, x: Tensor, layer: Layer, weight: float) -> Tensor:
        """What is added to the layer's output for the input x."""
        return _apply(layer, x, (weight * self.delta(layer.weight)).to(x.dtype))

    def misfit(self, layer: nn.Module) -> str | None:
        """Why it can't change this layer, in words; None when it can."""
        if not isinstance(layer, Layer):
            return f"changes a {type(layer).__name__}, which is neither linear nor a convolution"
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            return "changes a grouped convolution, which is not supported"
        try:
            shape = self.shape()
        except RuntimeError:
            return "has factors that don't fit together"
        wanted, magnitude = layer.weight.shape, getattr(self, "magnitude", None)
        if (shape[0], math.prod(shape[1:])) != (wanted[0], math.prod(wanted[1:])):
            return f"changes weights of {tuple(shape)}, and the base has {tuple(wanted)}"
        if magnitude is not None and magnitude.numel() not in wanted[:2]:
            return f"has {magnitude.numel()} magnitudes for weights of {tuple(wanted)}"
        return None


class LowRank(Adapter):
    """LoRA; with `mid`, the r×r×k×k core of a Tucker decomposition, `down` and `up` are 1×1."""

    needed = frozenset({"down", "up"})
    optional = frozenset({"alpha", "mid", "magnitude"})
    down: nn.Parameter
    up: nn.Parameter
    mid: nn.Parameter | None
    magnitude: nn.Parameter | None

    @classmethod
    def fresh(cls, layer: Layer, rank: int, alpha: float | None = None) -> Self:
        """A new one that trains and changes nothing yet: A gaussian, B zero; α is the rank if not given.

        A's deviation, 1/√(3·fan-in), is that of the uniform start of peft and kohya; float32, whatever the layer has.
        """
        out, *inner = layer.weight.shape
        down, up = torch.empty(rank, *inner), torch.zeros(out, rank, *[1] * (len(inner) - 1))
        nn.init.kaiming_normal_(down, a=math.sqrt(5))
        made = cls({"down": down, "up": up, "alpha": torch.tensor(float(rank if alpha is None else alpha))})
        return made.requires_grad_(True).to(layer.weight.device)

    @property
    def rank(self) -> int:
        """r."""
        return len(self.down)

    @staticmethod
    def product(factors: Mapping[str, Tensor]) -> Tensor:
        """B·A."""
        down, up = factors["down"], factors["up"]
        if "mid" in factors:
            whole: Tensor = torch.einsum("mn...,im,nj->ij...", factors["mid"], up.flatten(1), down.flatten(1))
            return whole
        return (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])

    def forward(self, x: Tensor, layer: Layer, weight: float) -> Tensor:
        """B(A x), which never makes the whole ΔW."""
        if self.mid is not None or self.magnitude is not None:
            return super().forward(x, layer, weight)
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        hidden = _apply(layer, x, down.reshape(self.rank, *layer.weight.shape[1:]))
        if isinstance(layer, nn.Conv2d):
            heard = functional.conv2d(hidden, up.reshape(len(up), self.rank, 1, 1))
        else:
            heard = functional.linear(hidden, up.reshape(len(up), self.rank))
        return heard * (self.scale * weight)


class Hadamard(Adapter):
    """LoHa; with `hada_t1` and `hada_t2` each product is a Tucker decomposition."""

    needed = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})
    optional = frozenset({"alpha", "hada_t1", "hada_t2", "magnitude"})

    @property
    def rank(self) -> int:
        """r."""
        return len(cast(Tensor, self.hada_w1_b))

    @staticmethod
    def product(factors: Mapping[str, Tensor]) -> Tensor:
        """(B₁A₁) ⊙ (B₂A₂)."""
        first, second = (_factored(factors, f"hada_w{side}", f"hada_t{side}") for side in (1, 2))
        return first * second


class Kronecker(Adapter):
    """LoKr; each of W₁ and W₂ is whole or factored, and without any factors α says nothing."""

    needed = frozenset[str]()
    optional = frozenset(
        {"alpha", "magnitude", "lokr_t2", *(f"lokr_w{side}{part}" for side in (1, 2) for part in ("", "_a", "_b"))}
    )

    @property
    def rank(self) -> int | None:
        """r of W₂, or else of W₁."""
        factored = [factor for factor in (self.lokr_w2_b, self.lokr_w1_b) if factor is not None]
        return len(cast(Tensor, factored[0])) if factored else None

    @staticmethod
    def product(factors: Mapping[str, Tensor]) -> Tensor:
        """W₁ ⊗ W₂."""
        first, second = (
            factors[name] if (name := f"lokr_w{side}") in factors else _factored(factors, name, f"lokr_t{side}")
            for side in (1, 2)
        )
        return torch.kron(first.reshape(*first.shape, *[1] * (second.ndim - 2)), second)


KINDS: tuple[type[Adapter], ...] = (LowRank, Hadamard, Kronecker)


def adapter(factors: Mapping[str, Tensor]) -> Adapter | None:
    """The adapter that has these factors; None if no kind has just these, or they are not all there."""
    for kind in KINDS:
        if kind.needed <= factors.keys() <= kind.needed | kind.optional and _whole(factors):
            return kind(factors)
    return None


def _whole(factors: Mapping[str, Tensor]) -> bool:
    """Whether LoKr's sides are both there; of the other kinds `needed` says it."""
    if not any(name.startswith("lokr") for name in factors):
        return not factors.keys() <= {"alpha", "magnitude"}
    return all(
        f"lokr_w{side}" in factors or {f"lokr_w{side}_a", f"lokr_w{side}_b"} <= factors.keys() for side in (1, 2)
    )


def _factored(factors: Mapping[str, Tensor], name: str, core: str) -> Tensor:
    a, b = factors[f"{name}_a"], factors[f"{name}_b"]
    if core not in factors:
        return a @ b
    whole: Tensor = torch.einsum("ij...,jr,ip->pr...", factors[core], b, a)
    return whole


def _apply(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """The layer's own map with another weight and no bias; a convolution keeps its stride and padding."""
    mapped: Tensor = (
        layer._conv_forward(x, weight, None) if isinstance(layer, nn.Conv2d) else functional.linear(x, weight)
    )
    return mapped


def _renormed(weight: Tensor, magnitude: Tensor) -> Tensor:
    """Each output's weights at the norm that `magnitude` says; or each input's, where it is 1 × in."""
    by_output = magnitude.shape[0] == weight.shape[0]
    axes = [axis for axis in range(weight.ndim) if axis != (0 if by_output else 1)]
    norm: Tensor = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
    return weight * (magnitude.reshape(norm.shape) / norm.clamp_min(torch.finfo(norm.dtype).tiny))
