"""Depth: how near things are. White is near."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from underdraw import images
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.annotators.regions import spread
from underdraw.errors import InputError
from underdraw.files import atomic

__all__ = ["Depth", "DepthLayers", "Field", "measured", "nearness", "read_depth", "stretch", "write_depth"]


@dataclass(frozen=True, kw_only=True)
class Field(Annotator):
    """What the annotators of given depth fields share: what they read, and how it becomes nearness."""

    suffixes: ClassVar[tuple[str, ...]] = (*images.SUFFIXES, ".npy")

    distance: bool = knob(False, help="the given values are distances (far is large, 0 not measured), not nearness")

    def read(self, path: str | Path) -> Tensor:
        """A field of numbers 1×1×H×W from `.npy` or a grey picture (16-bit: 65535 = 1); a picture 1×3×H×W otherwise."""
        if Path(path).suffix.lower() == ".npy":
            return read_depth(path)
        picture = images.read(path)
        grey = bool((picture == picture[:, :1]).all())
        return picture[:, :1] if grey else picture

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×1×H×W of nearness in any unit, or of distances → B×C×H×W in [0, 1]. Raises InputError for photographs."""
        return self.seen(self.inverse(pictures))

    def map(self, source: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """As every annotator's; distances are turned into nearness before anything is averaged."""
        size = size or self.extent(source)
        near = _resized(images.crop(self.inverse(source), size), self.native(size))
        return images.resize(self.seen(near), size, self.meaning.reduction)

    @abstractmethod
    def seen(self, near: Tensor) -> Tensor:
        """Nearness B×1×H×W in any unit → the map B×C×H×W in [0, 1]."""

    def inverse(self, pictures: Tensor) -> Tensor:
        """A given field B×1×H×W as nearness in its own unit. Raises InputError for photographs."""
        if pictures.shape[1] != 1:
            form = "depth=FILE,map" if self.kind == "depth" else "a grey picture or .npy"
            raise InputError(
                "depth cannot be seen in a photograph without a learned annotator; "
                f"give a depth map (near = white): {form}"
            )
        return 1 / measured(pictures) if self.distance else pictures


@annotator("depth")
class Depth(Field):
    """Nearness, stretched over each picture: the nearest point is 1, the farthest 0 (as MiDaS' inverse depth).

    Takes a given field B×1×H×W; what is near in a photograph takes a learned annotator.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="near is white", reduction="area", differentiable=True)

    def seen(self, near: Tensor) -> Tensor:
        """Nearness B×1×H×W in any unit → B×1×H×W in [0, 1]."""
        return stretch(near)


@annotator("depth_layers")
class DepthLayers(Field):
    """Nearness in a few flat layers, as of cut paper: black the farthest, white the nearest.

    Says what lies before what and leaves the shapes free. Takes a given field, as `depth` does.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="near is white, in flat layers", reduction="nearest")

    count: int = knob(4, 2, 64, "how many layers, at most", usual=(3, 8))
    method: str = knob("equal", help="layers of equal depth, or each of an equal share", choices=("equal", "quantile"))

    def seen(self, near: Tensor) -> Tensor:
        """Nearness B×1×H×W in any unit → B×1×H×W in [0, 1]."""
        near = stretch(near.detach())
        shares = near if self.method == "equal" else torch.stack([_ranks(field) for field in near])
        return stretch((shares * self.count).floor().clamp(max=self.count - 1))


def _resized(field: Tensor, size: tuple[int, int]) -> Tensor:
    """A field in any unit at `size` = (width, height), averaged as pictures are, which lie in [0, 1]."""
    if field.shape[-2:] == (size[1], size[0]):
        return field
    low, high = field.aminmax()
    span = (high - low).clamp(min=torch.finfo(field.dtype).tiny)
    return low + span * images.resize((field - low) / span, size, "area")


def _ranks(field: Tensor) -> Tensor:
    """For each value of 1×H×W the share of the others that are less, and of half of those that are equal."""
    _, where, counts = field.unique(return_inverse=True, return_counts=True)
    below = counts.cumsum(0) - counts
    ranks: Tensor = ((below + counts / 2) / field.numel())[where]
    return ranks


def nearness(distances: Tensor) -> Tensor:
    """Distances B×1×H×W in any unit → inverse distances stretched to [0, 1] per picture; infinite = nothing there."""
    return stretch(1 / measured(distances))


def measured(distances: Tensor) -> Tensor:
    """B×1×H×W; where nothing was measured (0 or less, or not a number), the distance of the nearest pixel that has one.

    Raises InputError for a picture without any.
    """
    known = distances > 0
    if bool(known.all()):
        return distances
    return torch.stack([_without_holes(*pair) for pair in zip(distances, known, strict=True)])


def _without_holes(distances: Tensor, known: Tensor) -> Tensor:
    """1×H×W with the value of the nearest known pixel where there is none."""
    if not bool(known.any()):
        raise InputError("a depth field has no distances: all are 0 or less; should it be read as nearness?")
    places = np.arange(known.numel()).reshape(known.shape[1:])
    return distances.flatten()[torch.from_numpy(spread(places, known[0].cpu().numpy())).to(known.device)][None]


def stretch(values: Tensor) -> Tensor:
    """B×C×H×W with each picture's least value brought to 0 and its greatest to 1; a constant picture becomes 0."""
    low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
    return (values - low) / (high - low).clamp(min=1e-8)


def read_depth(path: str | Path) -> Tensor:
    """A depth field from `.npy` (H×W numbers, any unit) or from a grey picture (16-bit: 65535 = 1) as 1×1×H×W.

    Raises InputError for a file that is neither, or whose values are not finite.
    """
    if Path(path).suffix.lower() != ".npy":
        return images.read(path).mean(1, keepdim=True)
    try:
        values = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"cannot read depth {path}: it is not an array of numbers written by numpy.save") from error
    if values.ndim != 2 or values.dtype.kind not in "fiu" or min(values.shape) < images.MIN_SIDE:
        raise InputError(f"depth {path} is {values.dtype} of shape {values.shape}; it must be numbers, height × width")
    field = torch.from_numpy(values.astype(np.float32))[None, None]
    if not bool(torch.isfinite(field).all()):
        raise InputError(f"depth {path} holds values that are not finite; fill them with the farthest distance")
    return field


def write_depth(field: Tensor, path: str | Path) -> None:
    """Write 1×1×H×W in [0, 1] as a grey PNG of 16 bits (65535 = 1), whole or not at all."""
    values = (field[0, 0].detach().float().clamp(0, 1) * 65535).round().cpu().numpy().astype(np.uint16)
    with atomic(path) as draft:
        Image.fromarray(values).save(draft, "PNG")
