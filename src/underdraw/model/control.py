"""Controls as a person sets them, and the forward pass under any number of them.

    h'_i = h_i + Σ_controls  w · curve_i · m · δ_i(h_i, s_i)

Every control sees the locked skips, so their order says nothing; one control is a tuple of one. A control that is
silent (weight 0, or outside its span) is not computed at all.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.errors import ConfigError, InputError
from underdraw.model.controlnet import ControlNet
from underdraw.model.text import Text
from underdraw.model.trunk import Deltas, Encoding, Trunk, decode, encode

Side = Literal["both", "conditional"]


@dataclass(frozen=True, eq=False)
class Control:
    """One control: a network, a condition map, and the knobs of how it is heard.

    net: what steers; condition: its map B×C×H×W (B is 1 or the batch), as large as the picture.
    weight: how loud, one number or one for each item of the batch (a tensor of B; keep it on the CPU).
    span: from and until which share of the drawing's steps, within [0, 1].
    mask: B×1×H×W in [0, 1] of any size, where it is heard (resized to each site by area); None is everywhere.
    side: the CFG halves on which it rides: "both", or "conditional" only.
    curve: one more weight for each of the net's sites, widest first and the middle last; empty is flat.
    hint: the embedded map, once `prepared` has made it.

    Raises InputError for values that make no sense.
    """

    net: ControlNet
    condition: Tensor
    weight: float | Tensor = 1.0
    span: tuple[float, float] = (0.0, 1.0)
    mask: Tensor | None = None
    side: Side = "both"
    curve: tuple[float, ...] = ()
    hint: Tensor | None = None

    def __post_init__(self) -> None:
        weights = torch.as_tensor(self.weight)
        if weights.ndim > 1 or not bool(weights.isfinite().all()):
            raise InputError(
                f"control weight {self.weight} is not a number, or one number a picture; 1 is the usual one"
            )
        start, end = self.span
        if not 0 <= start <= end <= 1:
            raise InputError(f"control span {start}..{end} makes no sense; give 0 <= start <= end <= 1")
        if self.side not in get_args(Side):
            raise ConfigError(f"control side {self.side!r} is not known; choose one of: {', '.join(get_args(Side))}")
        if self.curve and (len(self.curve) != len(self.net.sites) or not all(map(math.isfinite, self.curve))):
            raise InputError(f"the layer curve needs {len(self.net.sites)} numbers for this control, not {self.curve}")
        if self.mask is not None and (self.mask.ndim != 4 or self.mask.shape[1] != 1):
            raise InputError(f"a control mask is B×1×H×W, not {'×'.join(map(str, self.mask.shape))}; give one channel")

    @property
    def silent(self) -> bool:
        """Whether nothing of it could be heard at any step."""
        return not bool((torch.as_tensor(self.weight) != 0).any()) or (bool(self.curve) and not any(self.curve))

    def active(self, step: int, steps: int) -> bool:
        """Whether step `step` of `steps` (from 0) lies within its span: diffusers' rule, the whole step must."""
        start, end = self.span
        return step / steps >= start and (step + 1) / steps <= end

    def prepared(self) -> Self:
        """The same control with its map embedded, which neither the timestep nor the text can change."""
        return replace(self, hint=self._embedded())

    def deltas(
        self, encoding: Encoding, sample: Tensor, timestep: Tensor | float, text: Text | None = None
    ) -> dict[str, Tensor]:
        """What it adds at each site: w · curve · m · δ."""
        deltas = self.net(encoding, self._embedded(), sample, timestep, text)
        curve = self.curve or [1.0] * len(deltas)
        return {name: self._scaled(delta, level) for (name, delta), level in zip(deltas.items(), curve, strict=True)}

    def _embedded(self) -> Tensor:
        return self.net.embed(self.condition) if self.hint is None else self.hint

    def _scaled(self, delta: Tensor, level: float) -> Tensor:
        weight = self.weight * level
        if isinstance(weight, Tensor):
            weight = weight.to(delta).reshape(-1, 1, 1, 1)
        delta = delta * weight
        if self.mask is None:
            return delta
        return delta * functional.interpolate(self.mask.to(delta), size=delta.shape[2:], mode="area")


def speaking(controls: Iterable[Control], step: int, steps: int, conditional: bool = True) -> tuple[Control, ...]:
    """The controls to compute at a step of a drawing, on the conditional or the unconditional half of guidance."""
    return tuple(
        control
        for control in controls
        if control.active(step, steps) and (conditional or control.side == "both") and not control.silent
    )


def predict(
    unet: Trunk,
    sample: Tensor,
    timestep: Tensor | float,
    text: Text | None = None,
    controls: Sequence[Control] = (),
    injections: Sequence[Tensor | None] = (),
) -> Tensor:
    """The prediction of a U-Net under any number of controls: encode, branch, fuse, decode.

    Shapes as in `encode`; B×C×h×w comes back. Silent controls are not computed; spans are the caller's (`speaking`).
    """
    encoding = encode(unet, sample, timestep, text, injections)
    deltas: list[Deltas] = [
        control.deltas(encoding, sample, timestep, text) for control in controls if not control.silent
    ]
    return decode(unet, encoding.plus(*deltas))
