"""T2I-Adapters as controls: features of the map alone, which enter the U-Net at the ends of its blocks.

    h_b ← h_b + w · time(t) · curve_b · m · k · f_b(map)          (Mou et al. 2023)

They see neither sample nor timestep, so one pass a drawing is enough.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from underdraw.model.control import Control, again, cut_mask
from underdraw.model.text import Text
from underdraw.model.trunk import Encoding


@dataclass(frozen=True, eq=False)
class Injection(Control):
    """A control whose net is an adapter: it has `sites`, and `injections(map)` gives one feature a site.

    The knobs are those of `Control`. features: B×C×h×w a site, once `prepared` has made them.
    """

    net: Any
    features: tuple[Tensor, ...] = ()

    def prepared(self) -> Self:
        """The same control with the features of its map."""
        return replace(self, features=self.net.injections(self.condition))

    def repeated(self, count: int, batch: int) -> Self:
        """The control for a batch that is there `count` times, the conditional one last."""
        features = tuple(again(each, count) for each in self.features)
        return replace(super().repeated(count, batch), features=features)

    def cut(self, window: tuple[slice, slice], size: tuple[int, int]) -> Self:
        """The control for a window (rows, columns) of a sample of size = (h, w): the adapter looks at its piece."""
        factor = self.condition.shape[-1] // size[1]
        rows, columns = (slice(factor * each.start, factor * each.stop) for each in window)
        piece = replace(self, condition=self.condition[..., rows, columns], mask=cut_mask(self.mask, window, size))
        return piece.prepared()

    def deltas(
        self, encoding: Encoding, sample: Tensor, timestep: Tensor | float, text: Text | None = None
    ) -> dict[str, Tensor]:
        """Nothing: it has spoken before the skips were made."""
        return {}

    def injections(self) -> tuple[Tensor, ...]:
        """What it adds at the end of each block."""
        features = self.features or self.net.injections(self.condition)
        curve = self.curve or [1.0] * len(features)
        return tuple(self._masked(each, self.scale * level) for each, level in zip(features, curve, strict=True))
