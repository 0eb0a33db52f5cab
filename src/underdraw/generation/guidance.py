"""Classifier-free guidance: ε = ε_uc + β·(ε_c - ε_uc) (Ho & Salimans 2022), whatever the network predicts.

Each side has its own controls: classic is the same on both; guess mode and resolution weighting keep the
unconditional side free.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from underdraw.model import Control, Text, join, predict

__all__ = ["Guidance"]


@dataclass(frozen=True, eq=False)
class Guidance:
    """What pulls the prediction towards the prompts.

    text: B prompts, or None for a base without text. empty: B negative prompts; None where `scale` is 1, which asks
    for no unconditional pass.
    """

    text: Text | None
    empty: Text | None = None
    scale: float = 1.0

    def __call__(
        self, unet: Any, sample: Tensor, timestep: Tensor, controls: Sequence[Control], free: Sequence[Control]
    ) -> Tensor:
        """The guided prediction for B×C×h×w, float32; `controls` ride on the conditional side, `free` on the other."""
        if self.scale == 1 or self._both is None:
            return predict(unet, sample, timestep, self.text, controls).float()
        if list(controls) == list(free):
            both = predict(unet, torch.cat([sample, sample]), timestep, self._both, [_twice(each) for each in controls])
            unconditional, conditional = both.chunk(2)
        else:
            unconditional = predict(unet, sample, timestep, self.empty, free)
            conditional = predict(unet, sample, timestep, self.text, controls)
        unconditional, conditional = unconditional.float(), conditional.float()
        return unconditional + self.scale * (conditional - unconditional)

    @cached_property
    def _both(self) -> Text | None:
        """Both sides as one batch, made once so that its projections can be kept."""
        return None if self.text is None or self.empty is None else join([self.empty, self.text])


def _twice(control: Control) -> Control:
    """The control for a batch that is there twice; what is told once for all items stays so."""

    def repeated(part: Any) -> Any:
        return torch.cat([part, part]) if isinstance(part, Tensor) and part.ndim and len(part) > 1 else part

    return replace(
        control,
        weight=repeated(control.weight),
        mask=repeated(control.mask),
        hint=repeated(control.hint),
        condition=repeated(control.condition),
    )
