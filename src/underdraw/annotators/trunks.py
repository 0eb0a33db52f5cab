"""The trunks of readers: two quite different ways to look at a picture. Both give one feature vector a pixel.

unet      a U-Net that works at half the picture's size, level below level
dilated   one level at half the picture's size, whose convolutions reach farther and farther and then nearer again
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from underdraw.registry import Registry

__all__ = ["TRUNKS", "Trunk"]

DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)
"""Of the second kind's blocks."""


class Trunk(nn.Module):
    """Pictures B×3×H×W in [0, 1] of any size → features B×width×H×W.

    What is seen coarsely (B×width×H/2×W/2) is laid over the picture's own pixels at the end.
    """

    step: int
    """What both sides of a picture are padded to a multiple of."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.detail = nn.Conv2d(width + 3, width, 3, padding=1)

    @abstractmethod
    def coarse(self, seen: Tensor) -> Tensor:
        """B×3×H×W in [-1, 1] → B×width×(H/2)×(W/2)."""

    def forward(self, pictures: Tensor) -> Tensor:
        """B×3×H×W in [0, 1] → B×width×H×W."""
        height, width = pictures.shape[-2:]
        seen = functional.pad(2 * pictures - 1, (0, -width % self.step, 0, -height % self.step), mode="replicate")
        coarse = _enlarged(self.coarse(seen))
        fine: Tensor = functional.silu(self.detail(torch.cat([coarse, seen], 1))) + coarse
        return fine[..., :height, :width]


TRUNKS: Registry[Callable[[Sequence[int]], Trunk]] = Registry("reader trunk")


@TRUNKS.register("unet")
class Unet(Trunk):
    """channels: the widths from the finest level down."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels[0])
        self.step = 2 ** len(channels)
        self.stem = nn.Conv2d(3, channels[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList(Block(wide, wide) for wide in channels)
        self.shrink = nn.ModuleList(nn.Conv2d(wide, deep, 3, stride=2, padding=1) for wide, deep in pairwise(channels))
        deepest = channels[-1]
        self.middle = nn.Sequential(Block(deepest, deepest), Whole(deepest), Block(deepest, deepest))
        self.up = nn.ModuleList(
            Block(deep + wide, wide) for wide, deep in zip(channels, (*channels[1:], deepest), strict=True)
        )

    def coarse(self, seen: Tensor) -> Tensor:
        """Down, through the middle, and up again."""
        state: Tensor = self.stem(seen)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            state = block(state)
            skips.append(state)
            if level < len(self.shrink):
                state = self.shrink[level](state)
        state = self.middle(state)
        for level in reversed(range(len(self.up))):
            state = state if level == len(self.up) - 1 else _enlarged(state)
            state = self.up[level](torch.cat([state, skips[level]], 1))
        return state


@TRUNKS.register("dilated")
class Dilated(Trunk):
    """channels: its one width."""

    step = 2

    def __init__(self, channels: Sequence[int]) -> None:
        (width,) = channels
        super().__init__(width)
        self.stem = nn.Conv2d(3, width, 4, stride=2, padding=1)
        half = len(DILATIONS) // 2
        self.blocks = nn.Sequential(
            *(Far(width, reach) for reach in DILATIONS[: half + 1]),
            Whole(width),
            *(Far(width, reach) for reach in DILATIONS[half + 1 :]),
        )

    def coarse(self, seen: Tensor) -> Tensor:
        """Block after block at one size."""
        state: Tensor = self.blocks(self.stem(seen))
        return state


class Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1×1 convolution on x where the width changes."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(8, before), nn.GroupNorm(8, after)])
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)]
        )
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, state: Tensor) -> Tensor:
        """B×before×H×W → B×after×H×W."""
        out = state
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            out = convolution(functional.silu(norm(out)))
        mixed: Tensor = self.skip(state) + out
        return mixed


class Far(nn.Module):
    """x + mix(silu(conv(silu(norm(x))))): a 3×3 convolution whose pixels lie `reach` apart, then a 1×1."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.look = nn.Conv2d(width, width, 3, padding=reach, dilation=reach)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, state: Tensor) -> Tensor:
        """B×width×H×W → the same."""
        out: Tensor = self.mix(functional.silu(self.look(functional.silu(self.norm(state)))))
        return state + out


class Whole(nn.Module):
    """Tells every place what the whole picture looks like: its mean, through a small network, is added everywhere."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tell = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, state: Tensor) -> Tensor:
        """B×C×H×W → B×C×H×W."""
        told: Tensor = self.tell(state.mean((2, 3)))
        return state + told[..., None, None]


def _enlarged(state: Tensor) -> Tensor:
    return functional.interpolate(state, scale_factor=2.0, mode="nearest")
