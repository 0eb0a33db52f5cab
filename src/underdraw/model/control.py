"""Controls as a person sets them, and the forward pass under any number of them.

    h'_i = h_i + Σ_controls  w · time(t) · curve_i · m · δ_i(h_i, k · s_i)

Every control sees the locked skips, so their order says nothing; one control is a tuple of one. What is silent is not
computed: neither a control of weight 0 or outside its span, nor those items of a batch in which it is not heard.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import zip_longest
from operator import add
from typing import Any, Literal, Self, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.errors import ConfigError, InputError
from underdraw.model.controlnet import ControlNet
from underdraw.model.text import Text
from underdraw.model.trunk import Deltas, Encoding, Trunk
from underdraw.model.waist import Split, Waist

Side = Literal["both", "conditional"]
Rows = slice | Tensor
"""Some items of a batch."""

_ITEMS = ("condition", "weight", "mask", "hint")
"""What a control may tell for each item of a batch."""


@dataclass(frozen=True, eq=False)
class Control:
    """One control: a network, a condition map, and the knobs of how it is heard.

    net: what steers; condition: its map B×C×H×W (B is 1 or the batch), as large as the picture.
    weight: how loud, one number or one for each item of the batch (a tensor of B; keep it on the CPU).
    span: from and until which share of the drawing's steps, within [0, 1].
    mask: B×1×H×W in [0, 1] of any size, where it is heard (resized to each site by area; keep it on the CPU); None is
    everywhere.
    side: the CFG halves on which it rides: "both", "conditional" only, or how loud it is on the unconditional half.
    curve: one more weight for each of the net's sites, widest first and the middle last; empty is flat.
    times: one more weight for moments spread evenly over the drawing, straight lines between them; empty is flat.
    scale: how loud its signal enters its fusion (the weight of add and residual; attention grows sharper by it).
    hint: the embedded map, once `prepared` has made it.

    Raises InputError for values that make no sense.
    """

    net: ControlNet
    condition: Tensor
    weight: float | Tensor = 1.0
    span: tuple[float, float] = (0.0, 1.0)
    mask: Tensor | None = None
    side: Side | float = "both"
    curve: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    scale: float = 1.0
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
        if isinstance(self.side, str) and self.side not in get_args(Side):
            known = ", ".join(get_args(Side))
            raise ConfigError(f"control side {self.side!r} is not known; choose one of: {known}, or give a factor")
        if self.curve and len(self.curve) != len(self.net.sites):
            raise InputError(f"the layer curve needs {len(self.net.sites)} numbers for this control, not {self.curve}")
        if not all(map(math.isfinite, (*self.curve, *self.times, self.scale, self.unconditional))):
            raise InputError(f"curve {self.curve}, times {self.times}, scale and side of a control must be numbers")
        if self.mask is not None and (self.mask.ndim != 4 or self.mask.shape[1] != 1):
            raise InputError(f"a control mask is B×1×H×W, not {'×'.join(map(str, self.mask.shape))}; give one channel")

    @property
    def unconditional(self) -> float:
        """How loud it is on the unconditional half of guidance, where 1 is as loud as on the conditional one."""
        return {"both": 1.0, "conditional": 0.0}[self.side] if isinstance(self.side, str) else float(self.side)

    @property
    def silent(self) -> bool:
        """Whether nothing of it could be heard at any step."""
        parts = (self.weight, 1.0 if self.mask is None else self.mask, self.curve or 1.0, self.times or 1.0, self.scale)
        return not all(bool(torch.as_tensor(part).any()) for part in parts)

    def active(self, step: int, steps: int) -> bool:
        """Whether step `step` of `steps` (from 0) lies within its span: diffusers' rule, the whole step must."""
        start, end = self.span
        return step / steps >= start and (step + 1) / steps <= end

    def at(self, step: int, steps: int) -> Self:
        """The control as it is at a step of a drawing: its time curve is in its weight."""
        if not self.times:
            return self
        place = (len(self.times) - 1) * (step / max(1, steps - 1))
        before = min(int(place), len(self.times) - 1)
        after = min(before + 1, len(self.times) - 1)
        level = self.times[before] + (place - before) * (self.times[after] - self.times[before])
        return replace(self, weight=self.weight * level, times=())

    def prepared(self) -> Self:
        """The same control with its map embedded, which neither the timestep nor the text can change."""
        return replace(self, hint=self._embedded())

    def repeated(self, count: int, batch: int) -> Self:
        """The control for a batch that is there `count` times, the conditional one last."""
        parts = {name: again(getattr(self, name), count) for name in _ITEMS}
        if count > 1 and self.unconditional != 1:
            weight = torch.as_tensor(self.weight).expand(batch)
            parts["weight"] = torch.cat([*[self.unconditional * weight] * (count - 1), weight])
        return replace(self, side="both", **parts)

    def cut(self, window: tuple[slice, slice], size: tuple[int, int]) -> Self:
        """The part of a prepared control for a window (rows, columns) of a sample of size = (h, w)."""
        assert self.hint is not None, "a control is prepared before it is cut"
        return replace(self, hint=self.hint[..., window[0], window[1]], mask=cut_mask(self.mask, window, size))

    def injections(self) -> tuple[Tensor, ...]:
        """What it adds at the end of each block of the encoder: nothing, unless it is an adapter (`Injection`)."""
        return ()

    def deltas(
        self, encoding: Encoding, sample: Tensor, timestep: Tensor | float, text: Text | None = None
    ) -> dict[str, Tensor]:
        """What it adds at each site: w · curve · m · δ; nothing at all where no item of the batch hears it."""
        rows = self._heard(len(sample))
        if rows is None:
            return self._scaled(self._spoken(encoding, sample, timestep, text))
        if isinstance(rows, Tensor) and not len(rows):
            return {}
        part = replace(self, **{name: _rows(getattr(self, name), rows) for name in _ITEMS})
        said = part.deltas(
            replace(encoding, skips={name: skip[rows] for name, skip in encoding.skips.items()}),
            sample[rows],
            timestep[rows] if isinstance(timestep, Tensor) and timestep.numel() > 1 else timestep,
            _text_rows(text, rows),
        )
        return {name: _laid(delta, rows, len(sample)) for name, delta in said.items()}

    def _spoken(self, encoding: Encoding, sample: Tensor, timestep: Tensor | float, text: Text | None) -> Deltas:
        # A base for inpainting sees more beside the latents than a branch that was made for its plain twin.
        seen = sample[:, : self.net.branch.config["in_channels"]]
        hint = self._embedded()
        if self.scale == 1:
            deltas: Deltas = self.net(encoding, hint, seen, timestep, text)
            return deltas
        signals = self.net.branch(hint, seen, timestep, text)
        return {
            site.name: self.net.fusions[site.key](encoding.skips[site.name], self.scale * signals[site.name])
            for site in self.net.sites
        }

    def _embedded(self) -> Tensor:
        return self.net.embed(self.condition) if self.hint is None else self.hint

    def _heard(self, batch: int) -> Rows | None:
        """The items of a batch in which it is heard; None for all."""
        weights = torch.as_tensor(self.weight)
        heard = (weights != 0).expand(batch)
        if self.mask is not None:
            heard = heard & (self.mask != 0).flatten(1).any(1).expand(batch).to(heard.device)
        if bool(heard.all()):
            return None
        rows = heard.nonzero().flatten()
        whole = len(rows) and int(rows[-1] - rows[0]) + 1 == len(rows)
        return slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows

    def _scaled(self, deltas: Deltas) -> dict[str, Tensor]:
        curve = self.curve or [1.0] * len(deltas)
        return {name: self._masked(delta, level) for (name, delta), level in zip(deltas.items(), curve, strict=True)}

    def _masked(self, delta: Tensor, level: float) -> Tensor:
        weight = self.weight * level
        if isinstance(weight, Tensor):
            weight = weight.to(delta.device, torch.float32).reshape(-1, 1, 1, 1)
        scaled = delta * weight
        if self.mask is not None:
            scaled = scaled * functional.interpolate(self.mask.to(scaled), size=delta.shape[2:], mode="area")
        return scaled.to(delta.dtype)


def speaking(controls: Iterable[Control], step: int, steps: int, conditional: bool = True) -> tuple[Control, ...]:
    """The controls to compute at a step of a drawing, on the conditional or the unconditional half of guidance."""
    now = (control.at(step, steps) for control in controls if control.active(step, steps))
    return tuple(control for control in now if not control.silent and (conditional or control.unconditional))


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
    return through(Split(unet), sample, timestep, text, controls, injections)


def through(
    waist: Waist,
    sample: Tensor,
    timestep: Tensor | float,
    text: Text | None = None,
    controls: Sequence[Control] = (),
    injections: Sequence[Tensor | None] = (),
) -> Tensor:
    """The prediction of a U-Net that is computed as its `waist` does; all else as in `predict`."""
    heard = [control for control in controls if not control.silent]
    entering = _entering([injections, *(control.injections() for control in heard)])
    encoding = waist.encode(sample, timestep, text, entering)
    deltas: list[Deltas] = [control.deltas(encoding, sample, timestep, text) for control in heard]
    return waist.decode(encoding.plus(*deltas))


def again(part: Any, count: int) -> Any:
    """What is told for each item of a batch, for a batch that is there `count` times; one thing for all stays so."""
    return torch.cat([part] * count) if isinstance(part, Tensor) and part.ndim and len(part) > 1 else part


def cut_mask(mask: Tensor | None, window: tuple[slice, slice], size: tuple[int, int]) -> Tensor | None:
    """The part of a mask for a window (rows, columns) of a sample of size = (h, w)."""
    if mask is None:
        return None
    return functional.interpolate(mask.float(), size=size, mode="area")[..., window[0], window[1]]


def _entering(told: Sequence[Sequence[Tensor | None]]) -> list[Tensor | None]:
    """Features at the end of each block, those of all who have some added up."""
    places = zip_longest(*told)
    return [reduce(add, heard) if (heard := [each for each in place if each is not None]) else None for place in places]


def _rows(part: Any, rows: Rows) -> Any:
    return part[rows] if isinstance(part, Tensor) and part.ndim and len(part) > 1 else part


def _laid(part: Tensor, rows: Rows, batch: int) -> Tensor:
    """The chosen items in their places, and zeros in the others."""
    whole = part.new_zeros(batch, *part.shape[1:])
    whole[rows] = part
    return whole


_CHOSEN: WeakKeyDictionary[Text, dict[tuple[int, ...], Text]] = WeakKeyDictionary()


def _text_rows(text: Text | None, rows: Rows) -> Text | None:
    """The text of some items: the same object at every step, so that `projected_once` knows it again."""
    if text is None:
        return None
    known: dict[tuple[int, ...], Text] = _CHOSEN.setdefault(text, {})
    key = (rows.start, rows.stop, -1) if isinstance(rows, slice) else tuple(rows.tolist())
    if key not in known:
        known[key] = text[rows]
    return known[key]
