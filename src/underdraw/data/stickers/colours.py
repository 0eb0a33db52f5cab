"""Named colours: which of them a sticker has."""

import torch
from torch import Tensor

COLOURS = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
    "pink": "粉色",
    "brown": "棕色",
    "black": "黑色",
    "grey": "灰色",
    "white": "白色",
}
UNNAMED = len(COLOURS)  # index of what lies between the names: skin, cream, tan, teal, steel
NEIGHBOURS = (("red", "pink"), ("orange", "yellow"), ("orange", "red"), ("blue", "purple"), ("grey", "white"))
HUES = (  # from each hue, in degrees, to the next
    (0, "red"),
    (17, "orange"),
    (36, "yellow"),
    (66, "green"),
    (160, None),
    (185, "blue"),
    (243, "purple"),
    (300, "pink"),
    (339, "red"),
)

MAJORITY = 0.5  # share of the opaque pixels that a dominant colour has at least …
RIVAL = 0.5  # … and what any other may have of it


def palette(rgba: Tensor) -> dict[str, float]:
    """The share of every named colour in a 4×H×W picture with straight alpha; pixels count by their alpha."""
    shares = _shares(rgba, rgba[3])
    return {name: float(shares[index]) for index, name in enumerate(COLOURS)}


def dominant(rgba: Tensor) -> str | None:
    """The one colour of a 4×H×W picture with straight alpha, or None where several compete.

    A colour dominates with at least MAJORITY of the pixels, all others at most RIVAL of its share. Two neighbours
    (a red that is shaded towards pink) count as one, named after the one with more saturated pixels.
    """
    shares, vivid = _shares(rgba, rgba[3]), _shares(rgba, rgba[3] * hsv(rgba[:3])[1])
    for members in ([index] for index in range(UNNAMED)):
        if _dominates(shares, members):
            return list(COLOURS)[members[0]]
    for names in NEIGHBOURS:
        if _dominates(shares, [_index(name) for name in names]):
            return max(names, key=lambda name: float(vivid[_index(name)]))
    return None


def _dominates(shares: Tensor, members: list[int]) -> bool:
    share, others = shares[members].sum(), shares.clone().index_fill_(0, torch.tensor(members), 0)
    return bool(share >= MAJORITY and others.amax() <= RIVAL * share)


def _shares(rgba: Tensor, weight: Tensor) -> Tensor:
    """Of every name, and last of UNNAMED, the share in the H×W weight."""
    counted = torch.zeros(UNNAMED + 1).index_add_(0, classify(rgba[:3]).flatten(), weight.flatten())
    return counted / weight.sum().clamp(min=1e-6)


def classify(rgb: Tensor) -> Tensor:
    """The index in COLOURS of every pixel of a 3×… picture, or UNNAMED; limits set by eye on the shipped sets."""
    hue, saturation, value = hsv(rgb)
    edges = torch.tensor([float(start) for start, _ in HUES])
    index = torch.tensor([_index(name) for _, name in HUES])[torch.bucketize(hue, edges, right=True) - 1]
    reddish, warm = (hue < 8) | (hue >= 330), (hue >= 12) & (hue < 66)
    index[reddish & (value > 0.75) & (saturation < 0.6)] = _index("pink")
    index[warm & (value < 0.72)] = _index("brown")
    index[reddish & ((value < 0.45) | ((value < 0.75) & (saturation < 0.6)))] = _index("brown")
    index[(hue >= 8) & (hue < 15) & (value < 0.65)] = _index("brown")
    index[(hue >= 12) & (hue < 42) & (value >= 0.72) & (saturation < 0.65)] = UNNAMED  # skin and tan
    index[(hue >= 42) & (hue < 66) & (saturation < 0.4)] = UNNAMED  # cream
    index[(hue >= 185) & (hue < 243) & (saturation < 0.4) & (value < 0.8)] = UNNAMED  # steel
    colourless = saturation < 0.14
    index[colourless] = _index("grey")
    index[colourless & (value > 0.86)] = _index("white")
    index[(value < 0.22) | ((value < 0.34) & (saturation < 0.5))] = _index("black")
    return index


def hsv(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in degrees [0, 360), saturation and value in [0, 1] of a 3×… picture."""
    red, green, blue = rgb
    value, spread = rgb.amax(0), (rgb.amax(0) - rgb.amin(0)).clamp(min=1e-6)
    from_green, from_blue = 2 + (blue - red) / spread, 4 + (red - green) / spread
    sixths = torch.where(value == red, (green - blue) / spread, torch.where(value == green, from_green, from_blue))
    return 60 * sixths % 360, (value - rgb.amin(0)) / value.clamp(min=1e-6), value


def _index(name: str | None) -> int:
    return UNNAMED if name is None else list(COLOURS).index(name)
