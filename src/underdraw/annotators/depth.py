"""Depth: how near things are. White is near."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from underdraw import images
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.errors import InputError
from underdraw.files import atomic

__all__ = ["Depth", "nearness", "read_depth", "stretch", "write_depth"]


@annotator("depth")
class Depth(Annotator):
    """Nearness, stretched over each picture: the nearest point is 1, the farthest 0 (as MiDaS' inverse depth).

    Takes a given field B×1×H×W; what is near in a photograph takes a learned annotator.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="near is white", reduction="area", differentiable=True)

    suffixes: ClassVar[tuple[str, ...]] = (*images.SUFFIXES, ".npy")

    distance: bool = knob(False, help="the given values are distances (far is large), not nearness")

    def read(self, path: str | Path) -> Tensor:
        """A field of numbers 1×1×H×W from `.npy`; a picture 1×3×H×W otherwise."""
        return read_depth(path) if Path(path).suffix.lower() == ".npy" else images.read(path)

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×1×H×W of nearness in any unit, or of distances → B×1×H×W in [0, 1]. Raises InputError for photographs."""
        if pictures.shape[1] != 1:
            raise InputError(
                "depth cannot be seen in a photograph without a learned annotator, which is not there yet; "
                "give a depth map (near = white): depth=FILE,map"
            )
        return nearness(pictures) if self.distance else stretch(pictures)


def nearness(distances: Tensor) -> Tensor:
    """Distances B×1×H×W (metres, > 0; infinite = nothing there) → inverse distances stretched to [0, 1] per picture."""
    return stretch(1 / distances.clamp(min=1e-3))


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
