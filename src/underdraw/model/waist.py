"""A U-Net in two halves as a value, so that others may compute them: a compiler's runtime, or one that remembers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from underdraw.model.text import Text
from underdraw.model.trunk import Encoding, Trunk, decode, encode

__all__ = ["Split", "Waist"]


class Waist(Protocol):
    """A U-Net in two halves, however they are computed."""

    def encode(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        text: Text | None,
        injections: Sequence[Tensor | None] = (),
    ) -> Encoding:
        """The first half, as `encode`."""

    def decode(self, encoding: Encoding) -> Tensor:
        """The second half, as `decode`."""


@dataclass(frozen=True, eq=False)
class Split:
    """A U-Net in two halves, computed here and now."""

    unet: Trunk

    def encode(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        text: Text | None,
        injections: Sequence[Tensor | None] = (),
    ) -> Encoding:
        """The first half."""
        return encode(self.unet, sample, timestep, text, injections)

    def decode(self, encoding: Encoding) -> Tensor:
        """The second half."""
        return decode(self.unet, encoding)
