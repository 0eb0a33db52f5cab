"""Colour without shape: shuffled, in coarse cells, as a palette, or sorted."""

from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.annotators.regions import Pixels, dominant, lab, nearest_colour

__all__ = ["ColourDistribution", "ColourGrid", "ColourPalette", "Shuffle"]


@annotator("shuffle", known_as={"content_shuffle": {}})
class Shuffle(Annotator):
    """The picture dragged along a smooth random flow, as ControlNet 1.1 shuffles (its ContentShuffleDetector).

    Keeps colours, textures and style while things lose their places: "like this one", never "here". The same seed gives
    the picture that the original gives after `np.random.seed(seed)`.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="the picture's colours, out of place", reduction="area")
    side: ClassVar[int] = 512

    seed: int = knob(0, 0, 2**32 - 1, "which flow", usual=(0, 2**31))
    height: int = knob(0, 0, 4096, "height of the flow in pixels; 0: the picture's")
    width: int = knob(0, 0, 4096, "width of the flow in pixels; 0: the picture's")
    grain: int = knob(256, 1, 4096, "pixels from one random value to the next: how large the pieces are (f)")

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×3×height×width; the same flow for each."""
        size = (self.height or pictures.shape[-2], self.width or pictures.shape[-1])
        chance = np.random.RandomState(self.seed)  # the legacy generator: the original's numbers
        across, down = (_noise(chance, *size, self.grain) for _ in "xy")
        flow_x = (across * float(pictures.shape[-1] - 1)).astype(np.float32)
        flow_y = (down * float(pictures.shape[-2] - 1)).astype(np.float32)
        moved = [cv2.remap(images.to_uint8(one), flow_x, flow_y, cv2.INTER_LINEAR) for one in pictures]
        return torch.stack([images.from_uint8(one) for one in moved]).to(pictures.device)


def _noise(chance: np.random.RandomState, height: int, width: int, grain: int) -> NDArray[np.float64]:
    """Smooth noise height×width that spans [0, 1]: random values `grain` pixels apart, bicubic, the rim cut off."""
    values = chance.uniform(0, 1, (height // grain + 2, width // grain + 2, 1))
    whole = cv2.resize(values, (width + 2 * grain, height + 2 * grain), interpolation=cv2.INTER_CUBIC)
    noise: NDArray[np.float64] = whole[grain : grain + height, grain : grain + width]
    noise -= noise.min()
    noise /= max(noise.max(), 1e-12)
    return noise


@annotator("colour_grid", known_as={"color": {}, "t2ia_color_grid": {}})
class ColourGrid(Annotator):
    """The picture in cells of one colour, as T2I-Adapter's colour adapter was trained: 64 pixels wide at 512 pixels.

    Says roughly which colour is where and leaves the shapes to the prompt.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="cells of the picture's colours", reduction="nearest")
    side: ClassVar[int] = 512

    cell: int = knob(64, 2, 512, "width of a cell in pixels of the picture at its resolution (512)", usual=(32, 64))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → the same size."""
        return torch.stack([self._cells(picture) for picture in pictures]).to(pictures.device)

    def _cells(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        count = (max(1, width // self.cell), max(1, height // self.cell))
        few = cv2.resize(images.to_uint8(picture), count, interpolation=cv2.INTER_CUBIC)
        return images.from_uint8(cv2.resize(few, (width, height), interpolation=cv2.INTER_NEAREST))


@annotator("palette")
class ColourPalette(Annotator):
    """The picture's dominant colours (k-means in CIE Lab), as upright stripes or painted over what they stand for.

    As stripes: the colours of a picture and nothing else of it. Over regions: a poster of few flat colours.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="a few flat colours", reduction="nearest")

    colours: int = knob(6, 2, 32, "how many, at most", usual=(3, 10))
    layout: str = knob(
        "stripes",
        help="stripes: equally wide, the commonest left; shares: as wide as they are common; regions: where they are",
        choices=("stripes", "shares", "regions"),
    )

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → the same size."""
        return torch.stack([self._painted(picture) for picture in pictures]).to(pictures.device)

    def _painted(self, picture: Tensor) -> Tensor:
        seen = lab(images.to_uint8(picture))
        found = dominant(seen, self.colours)
        colours = (cv2.cvtColor(found[None], cv2.COLOR_LAB2RGB)[0].clip(0, 1) * 255).round().astype(np.uint8)
        where = nearest_colour(seen, found)
        if self.layout != "regions":
            shares = (
                np.bincount(where.ravel(), minlength=len(found)) if self.layout == "shares" else np.ones(len(found))
            )
            ends = shares.cumsum() / shares.sum() * seen.shape[1]
            stripe = np.searchsorted(ends, np.arange(seen.shape[1]) + 0.5).clip(max=len(found) - 1)
            where = np.broadcast_to(stripe, seen.shape[:2])
        return images.from_uint8(colours[where])


@annotator("colour_distribution")
class ColourDistribution(Annotator):
    """The picture's pixels put in order: dark to bright from left to right, cold above warm in each column, blurred.

    Says which colours there are and how much of each, but not where: pictures of the same pixels give the same map.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="the picture's colours, in order", reduction="area")

    blur: float = knob(0.02, 0, 0.5, "sigma of the blur as a share of the shorter side", usual=(0.005, 0.05))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → the same size."""
        return torch.stack([self._sorted(picture) for picture in pictures]).to(pictures.device)

    def _sorted(self, picture: Tensor) -> Tensor:
        pixels = images.to_uint8(picture)
        height, width = pixels.shape[:2]
        ordered = _in_order(pixels.reshape(-1, 3), height).reshape(width, height, 3).transpose(1, 0, 2)
        if self.blur:
            sigma = max(self.blur * min(height, width), 0.1)
            ordered = cv2.GaussianBlur(np.ascontiguousarray(ordered), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        return images.from_uint8(ordered)


def _in_order(colours: Pixels, run: int) -> Pixels:
    """N×3 colours by lightness, and in each run of `run` of them from blue to yellow; equal ones by their bytes."""
    lightness, _, warmth = lab(colours[None])[0].T
    number = colours.astype(np.int64) @ np.array([65536, 256, 1])
    first = np.lexsort((number, lightness))
    columns = np.empty(len(first), np.int64)
    columns[first] = np.arange(len(first)) // run
    return colours[np.lexsort((number, warmth, columns))]
