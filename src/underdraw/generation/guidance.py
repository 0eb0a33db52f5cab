"""Classifier-free guidance (Ho & Salimans 2022) as a ladder: each rung sees more, and has a scale for what that adds.

    ε = ε_0 + Σ_k s_k · (ε_k - ε_(k-1))

Two rungs, without and with the prompt, are the usual ε_uc + β·(ε_c - ε_uc); InstructPix2Pix has three (nothing, the
picture, picture and prompt). All rungs are one batch; a rung that cannot matter is not computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.errors import InputError
from underdraw.model import Control, Text, join

__all__ = ["Guidance", "Predict"]

Predict = Callable[[Tensor, Tensor, Text | None, Sequence[Control]], Tensor]
"""The network: (sample, timestep, text, controls) → prediction."""


@dataclass(frozen=True)
class Rung:
    """One prediction: whether it hears the prompt and sees the picture beside, and the scale of the step up to it."""

    prompt: bool
    picture: bool
    scale: float


@dataclass(frozen=True, eq=False)
class Guidance:
    """What pulls the prediction towards the prompts.

    text: B prompts, or None for a base without text. empty: B negative prompts; None where `scale` is 1, which asks
    for no unconditional pass. picture: the scale of the picture beside the latents (InstructPix2Pix); None where it is
    no matter of guidance. interval: the share of the steps in which there is guidance (Kynkäänniemi et al. 2024).
    rescale: how far the guided prediction gets the deviation of the conditional one (Lin et al. 2023, 3.4).
    parallel: what is kept of the part of the difference that is parallel to the conditional prediction, which makes
    pictures garish (Sadat et al. 2024, adaptive projected guidance); 1 is all.
    """

    text: Text | None
    empty: Text | None = None
    scale: float = 1.0
    picture: float | None = None
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0
    parallel: float = 1.0
    _joined: dict[tuple[Rung, ...], Text] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        start, end = self.interval
        if not 0 <= start <= end <= 1:
            raise InputError(f"guidance interval {start:g}..{end:g} makes no sense; give 0 <= start <= end <= 1")

    def at(self, step: int, steps: int) -> Self:
        """The guidance as it is at a step of a drawing: none outside the interval, in which the whole step must lie."""
        start, end = self.interval
        inside = step / steps >= start and (step + 1) / steps <= end
        return self if inside else replace(self, scale=1.0, picture=None if self.picture is None else 1.0)

    def __call__(
        self,
        predict: Predict,
        sample: Tensor,
        timestep: Tensor,
        controls: Sequence[Control] = (),
        beside: Tensor | None = None,
    ) -> Tensor:
        """The guided prediction for B×C×h×w, float32; `beside` B×C'×h×w is what the network sees beside the sample."""
        rungs = self._ladder(beside is not None)
        seen = torch.cat([_beside(sample, beside, rung.picture) for rung in rungs])
        heard = [control.repeated(len(rungs), len(sample)) for control in controls]
        parts = predict(seen, timestep, self._text(rungs), heard).float().chunk(len(rungs))
        return self._combined(parts, rungs)

    def _ladder(self, sees: bool) -> tuple[Rung, ...]:
        """The rungs that matter, the lowest first."""
        scale = self.picture if sees else None
        rungs = [Rung(prompt=True, picture=True, scale=self.scale)]
        if self.empty is not None:
            rungs.insert(0, Rung(prompt=False, picture=True, scale=1.0 if scale is None else scale))
        if scale is not None:
            rungs.insert(0, Rung(prompt=False, picture=False, scale=1.0))
        # The share of rung k in the sum is s_k - s_(k+1), and the lowest one's scale is 1.
        return (*(low for low, high in pairwise(rungs) if low.scale != high.scale), rungs[-1])

    def _text(self, rungs: tuple[Rung, ...]) -> Text | None:
        """The text of all rungs as one batch, made once so that its projections can be kept."""
        if self.text is None:
            return None
        if len(rungs) == 1:
            return self.text
        if rungs not in self._joined:
            texts = (self.text if rung.prompt or self.empty is None else self.empty for rung in rungs)
            self._joined[rungs] = join(list(texts))
        return self._joined[rungs]

    def _combined(self, parts: Sequence[Tensor], rungs: Sequence[Rung]) -> Tensor:
        guided = parts[0]
        for before, here, rung in zip(parts, parts[1:], rungs[1:], strict=False):
            difference = here - before
            if self.parallel != 1 and rung is rungs[-1]:
                difference = difference - (1 - self.parallel) * _parallel(difference, here)
            guided = guided + rung.scale * difference
        if self.rescale and len(parts) > 1:
            guided = guided * (1 - self.rescale + self.rescale * _deviation(parts[-1]) / _deviation(guided))
        return guided


def _beside(sample: Tensor, beside: Tensor | None, sees: bool) -> Tensor:
    if beside is None:
        return sample
    beside = beside.to(sample).expand(len(sample), -1, -1, -1)
    return torch.cat([sample, beside if sees else torch.zeros_like(beside)], dim=1)


def _parallel(difference: Tensor, direction: Tensor) -> Tensor:
    """The part of each item's difference that is parallel to a direction."""
    wide = torch.float32 if direction.device.type == "mps" else torch.float64  # which knows no float64
    unit = functional.normalize(direction.to(wide).flatten(1), dim=1)
    along = (difference.to(wide).flatten(1) * unit).sum(1, keepdim=True) * unit
    return along.reshape(difference.shape).to(difference)


def _deviation(part: Tensor) -> Tensor:
    return part.flatten(1).std(1).reshape(-1, *[1] * (part.ndim - 1))
