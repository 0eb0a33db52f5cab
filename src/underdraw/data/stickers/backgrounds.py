"""What a sticker lies on: solid named colours, soft gradients of two, white."""

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from underdraw.errors import InputError


@dataclass(frozen=True)
class Tint:
    """A background colour with its names; a sticker with much of the colour `family` would drown in it."""

    name: str
    name_zh: str
    family: str
    rgb: tuple[float, float, float]


WHITE = Tint("white", "白色", "white", (1.0, 1.0, 1.0))
GREY = Tint("grey", "灰色", "grey", (0.55, 0.56, 0.57))
TINTS = (
    WHITE,
    Tint("light grey", "浅灰色", "white", (0.86, 0.86, 0.87)),
    GREY,
    Tint("black", "黑色", "black", (0.06, 0.06, 0.07)),
    Tint("light blue", "浅蓝色", "blue", (0.72, 0.87, 0.97)),
    Tint("blue", "蓝色", "blue", (0.20, 0.46, 0.86)),
    Tint("dark blue", "深蓝色", "black", (0.07, 0.13, 0.36)),
    Tint("light green", "浅绿色", "green", (0.76, 0.92, 0.74)),
    Tint("green", "绿色", "green", (0.20, 0.60, 0.32)),
    Tint("pink", "粉色", "pink", (0.98, 0.73, 0.82)),
    Tint("red", "红色", "red", (0.82, 0.15, 0.17)),
    Tint("orange", "橙色", "orange", (0.97, 0.58, 0.20)),
    Tint("yellow", "黄色", "yellow", (0.99, 0.86, 0.25)),
    Tint("cream", "米色", "white", (0.98, 0.94, 0.82)),
    Tint("light purple", "浅紫色", "purple", (0.84, 0.77, 0.95)),
    Tint("purple", "紫色", "purple", (0.50, 0.27, 0.66)),
    Tint("brown", "棕色", "brown", (0.46, 0.31, 0.20)),
)
JITTER = 0.025  # a tint's channels vary by this much; white stays white


@dataclass(frozen=True)
class Background:
    """One tint, or two that run into each other from side to side along `angle` (in turns)."""

    tints: tuple[Tint, ...]
    rgb: tuple[tuple[float, float, float], ...]
    angle: float = 0.0

    @property
    def name(self) -> str:
        """ "light blue" or "pink to yellow gradient"."""
        return " to ".join(tint.name for tint in self.tints) + " gradient" * (len(self.tints) - 1)

    @property
    def name_zh(self) -> str:
        """ "浅蓝色" or "粉色到黄色渐变"."""
        return "到".join(tint.name_zh for tint in self.tints) + "渐变" * (len(self.tints) - 1)

    def paint(self, size: tuple[int, int]) -> Tensor:
        """3×H×W at size = (width, height)."""
        width, height = size
        first, last = (torch.tensor(rgb).view(3, 1, 1) for rgb in (self.rgb[0], self.rgb[-1]))
        direction = torch.tensor(self.angle * 2 * torch.pi)
        x, y = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height).unsqueeze(1)
        way = x * direction.cos() + y * direction.sin()
        return first + (last - first) * ((way / way.abs().amax().clamp(min=1e-6) + 1) / 2)


def choose_background(random: Random, avoid: Collection[str], fixed: str | None = None) -> Background:
    """White in two of five, else one tint, one in six a gradient; none whose family is one of the colours to `avoid`.

    `fixed` names the tint instead.
    """
    if fixed is not None:
        return Background((named(fixed),), (named(fixed).rgb,))
    fitting = [tint for tint in TINTS if tint.family not in avoid] or [WHITE, GREY]
    kind = random.random()
    if kind < 0.4 and WHITE in fitting:
        return Background((WHITE,), (WHITE.rgb,))
    tints = random.sample(fitting, 2 if kind > 0.84 else 1)
    return Background(tuple(tints), tuple(_vary(tint, random) for tint in tints), random.randrange(8) / 8)


def named(name: str) -> Tint:
    """The tint of that name. Raises InputError naming them all."""
    for tint in TINTS:
        if tint.name == name:
            return tint
    raise InputError(f"no background is called {name!r}; there are: {', '.join(tint.name for tint in TINTS)}")


def _vary(tint: Tint, random: Random) -> tuple[float, float, float]:
    if tint is WHITE:
        return tint.rgb
    red, green, blue = (min(1.0, max(0.0, channel + random.uniform(-JITTER, JITTER))) for channel in tint.rgb)
    return red, green, blue
