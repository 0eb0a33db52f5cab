"""What a reader says of each kind of map: how its raw values become a map, and how wrong they are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.annotators.keypoints import BODY
from underdraw.annotators.skeleton import DOTS
from underdraw.errors import ConfigError

__all__ = ["HEADS", "Head", "heatmaps"]

Colour = tuple[int, int, int]
EDGES = 2.0
"""How much the differences between neighbours count beside the values of a field."""
SPREAD = 1.2
"""Standard deviation of a point in its heatmap, in pixels."""
RARE = 8.0
"""How much more a pixel counts that is a point: nearly all are not."""
CLOSE = 0.02
"""Colours of a drawn skeleton that are so near are the same."""


class Head(ABC):
    """One kind of map. channels: of the raw values B×K×H×W."""

    channels: int

    @abstractmethod
    def map(self, raw: Tensor) -> Tensor:
        """B×K×H×W → the map B×C×H×W, as an annotator would give it."""

    @abstractmethod
    def target(self, maps: Tensor) -> Tensor:
        """What `error` and `loss` compare with, of condition maps B×C×H×W (one channel may be there three times)."""

    @abstractmethod
    def error(self, raw: Tensor, target: Tensor) -> Tensor:
        """How wrong each item (B) is, smoothly: what a reward asks for."""

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """The same (B), as learning wants it."""
        return self.error(raw, target)


class Nearness(Head):
    """Depth: one channel in [0, 1]."""

    channels = 1

    def map(self, raw: Tensor) -> Tensor:
        """Nearness."""
        return raw.sigmoid()

    def target(self, maps: Tensor) -> Tensor:
        """The map itself."""
        return maps[:, :1]

    def error(self, raw: Tensor, target: Tensor) -> Tensor:
        """Mean square of the difference."""
        return (self.map(raw) - target).square().mean((1, 2, 3))

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """L1 of the values, and of the differences between neighbours, so that outlines are kept."""
        found = self.map(raw)
        return (found - target).abs().mean((1, 2, 3)) + EDGES * _edges(found, target)


class Directions(Nearness):
    """Normals: unit vectors as (n + 1) / 2."""

    channels = 3

    def map(self, raw: Tensor) -> Tensor:
        """Normals."""
        return (functional.normalize(raw, dim=1) + 1) / 2

    def target(self, maps: Tensor) -> Tensor:
        """The map itself."""
        return maps


class Classes(Head):
    """Segmentation: one raw value a label, whose colours are given."""

    def __init__(self, colours: Sequence[Colour]) -> None:
        if not colours:
            raise ConfigError("a reader of segmentation must know its labels' colours; its data has no such maps")
        self.channels, self.colours = len(colours), torch.tensor(colours, dtype=torch.float32) / 255

    def map(self, raw: Tensor) -> Tensor:
        """The colour of the likeliest label."""
        return self.colours.to(raw.device)[raw.argmax(1)].movedim(-1, 1)

    def target(self, maps: Tensor) -> Tensor:
        """The label of the nearest colour, B×H×W."""
        pixels = maps.movedim(1, -1)
        return torch.cdist(pixels.flatten(1, 2), self.colours.to(maps)).argmin(-1).view(pixels.shape[:-1])

    def error(self, raw: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy."""
        return functional.cross_entropy(raw, target, reduction="none").mean((1, 2))


class Points(Head):
    """Pose: a heatmap for each of the 18 points of a body."""

    channels = len(BODY)

    def map(self, raw: Tensor) -> Tensor:
        """Heatmaps in [0, 1]."""
        return raw.sigmoid()

    def target(self, maps: Tensor) -> Tensor:
        """Heatmaps of what a drawn skeleton B×3×H×W shows: each point is a disc of its own colour."""
        dots = torch.tensor(DOTS, dtype=maps.dtype, device=maps.device)[:, :, None, None] / 255
        discs = ((maps[:, None] - dots).abs().amax(2) < CLOSE).to(maps)
        return _blurred(discs)

    def error(self, raw: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, in which points weigh more than what is none."""
        weight = 1 + (RARE - 1) * target
        each = functional.binary_cross_entropy_with_logits(raw, target, weight, reduction="none")
        return each.sum(1).mean((1, 2))


HEADS: Mapping[str, Callable[[Sequence[Colour]], Head]] = {
    "depth": lambda colours: Nearness(),
    "normal": lambda colours: Directions(),
    "segmentation": Classes,
    "pose": lambda colours: Points(),
}
"""By the kinds of maps that readers read; given the colours of a segmentation's labels."""


def heatmaps(people: Tensor, size: tuple[int, int]) -> Tensor:
    """B×K×H×W of people B×P×K×3 (x and y in pixels of a picture of `size` = (width, height); 2 is seen).

    A bell around each point that is seen; of several people the highest.
    """
    x, y, seen = people.unbind(-1)
    across, down = (
        torch.exp(-((torch.arange(length, device=people.device) + 0.5 - place[..., None]) ** 2) / (2 * SPREAD**2))
        for length, place in zip(size, (x, y), strict=True)
    )
    bells = down[..., :, None] * across[..., None, :] * (seen > 1)[..., None, None]
    return bells.amax(1) if people.shape[1] else bells.sum(1)


def _blurred(discs: Tensor) -> Tensor:
    """Each disc as a bell: blurred, and brought to 1 where it was highest."""
    reach = round(3 * SPREAD)
    places = torch.arange(-reach, reach + 1, dtype=discs.dtype, device=discs.device)
    bell = torch.exp(-(places**2) / (2 * SPREAD**2))
    planes = discs.flatten(0, 1)[:, None]
    soft = functional.conv2d(
        functional.conv2d(planes, bell.view(1, 1, 1, -1), padding="same"), bell.view(1, 1, -1, 1), padding="same"
    )
    soft = soft.view(discs.shape)
    return soft / soft.amax((2, 3), keepdim=True).clamp(min=1e-6)


def _edges(found: Tensor, wanted: Tensor) -> Tensor:
    """L1 (B) of the differences to the right and to the lower neighbour."""
    sides = [(found.diff(dim=axis) - wanted.diff(dim=axis)).abs().mean((1, 2, 3)) for axis in (-1, -2)]
    return torch.stack(sides).mean(0)
