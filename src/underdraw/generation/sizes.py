"""Sizes in pixels that a base can draw: multiples of its unit, the VAE's factor times what the U-Net halves."""

import math
from collections.abc import Callable

from underdraw.errors import InputError
from underdraw.model import Backbone, sites

__all__ = [
    "LARGEST",
    "check_size",
    "enlarged",
    "fitting_size",
    "native_size",
    "nearest_size",
    "reduced",
    "rounded",
    "unit",
]

LARGEST = 4096
"""Longest side in pixels that is drawn."""


def unit(backbone: Backbone) -> int:
    """What widths and heights are multiples of: 64 for Stable Diffusion (8 · 2³)."""
    return backbone.factor * sites(backbone.unet)[-1].scale


def native_size(backbone: Backbone) -> tuple[int, int]:
    """The (width, height) that the base was trained at."""
    sample = backbone.unet.config["sample_size"] or 64
    height, width = (sample, sample) if isinstance(sample, int) else sample
    return width * backbone.factor, height * backbone.factor


def nearest_size(backbone: Backbone, size: tuple[int, int]) -> tuple[int, int]:
    """The rule for odd sizes: each side becomes the nearest multiple of the unit, at least one unit."""
    step = unit(backbone)
    width, height = (max(1, math.floor(side / step + 0.5)) * step for side in size)
    return width, height


def fitting_size(backbone: Backbone, like: tuple[int, int]) -> tuple[int, int]:
    """The size that keeps best both the proportions of `like` and the number of pixels that the base was trained at."""
    step, (width, height) = unit(backbone), native_size(backbone)
    area, shape = width * height, math.log(like[0] / like[1])
    sides = range(step, 2 * max(width, height) + 1, step)

    def strain(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] / size[1]) - shape) + abs(math.log(size[0] * size[1] / area)) / 2

    return min(((across, down) for across in sides for down in sides), key=strain)


def check_size(backbone: Backbone, size: tuple[int, int]) -> None:
    """Raises InputError for a size that is not a multiple of the unit, or too large."""
    nearest = nearest_size(backbone, size)
    if max(size) > LARGEST:
        raise InputError(f"size {size[0]}x{size[1]} is too large; at most {LARGEST} pixels a side are drawn")
    if nearest != size:
        raise InputError(
            f"size {size[0]}x{size[1]} does not divide by {unit(backbone)}; the nearest is {nearest[0]}x{nearest[1]}"
        )


def rounded(backbone: Backbone, wanted: tuple[int, int], tell: Callable[[str], None]) -> tuple[int, int]:
    """The size asked for in multiples of the base's unit, told where it changes. Raises InputError for a large one."""
    size = nearest_size(backbone, wanted)
    check_size(backbone, size)
    if size != wanted:
        tell(f"size {wanted[0]}x{wanted[1]} becomes {size[0]}x{size[1]}: multiples of {unit(backbone)}")
    return size


def enlarged(backbone: Backbone, size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The size of a second pass that is `scale` times as large. Raises InputError for one that is too large."""
    large = nearest_size(backbone, (round(size[0] * scale), round(size[1] * scale)))
    check_size(backbone, large)
    return large


def reduced(backbone: Backbone, size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The size of the first pass whose second is `scale` times as large: undoes `enlarged`."""
    return nearest_size(backbone, (round(size[0] / scale), round(size[1] / scale)))
