"""Tone: how bright things are, blurred, coarse, in two values, or turned round."""

from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.annotators.regions import Pixels

__all__ = ["Binary", "Blur", "Intensity", "Invert", "Luminance", "Tile"]

LEAST_RATE = 1.1
"""Rates below this leave the picture as it is, in the A1111 extension."""


@annotator("luminance", condition="recolor", known_as={"recolor_luminance": {"swapped": True}})
class Luminance(Annotator):
    """Lightness (CIE L*, to the power of gamma), as the A1111 extension's recolor_luminance, cut off to bytes as there.

    Keeps light and shade and leaves every colour free: recolours black-and-white photographs.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="light is white", reduction="area")

    gamma: float = knob(1.0, 0.1, 2, "power of the lightness: above 1 is darker", usual=(0.8, 1.25))
    swapped: bool = knob(False, help="take red for blue, as the A1111 extension does: it reads its RGB pictures as BGR")

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W in [0, 1]."""
        order = cv2.COLOR_BGR2LAB if self.swapped else cv2.COLOR_RGB2LAB
        seen = [cv2.cvtColor(images.to_uint8(picture), order)[..., 0] for picture in pictures]
        return _powers(seen, self.gamma).to(pictures.device)


@annotator("intensity", condition="recolor", known_as={"recolor_intensity": {}})
class Intensity(Annotator):
    """The strongest of a pixel's three channels (V of HSV, to the power of gamma): the A1111 extension's.

    As `luminance`, but saturated colours count as bright: good where the light matters more than the paint.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="bright is white", reduction="area")

    gamma: float = knob(1.0, 0.1, 2, "power of the intensity: above 1 is darker", usual=(0.8, 1.25))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W in [0, 1]."""
        return _powers([images.to_uint8(picture).max(-1) for picture in pictures], self.gamma).to(pictures.device)


def _powers(seen: list[NDArray[np.uint8]], gamma: float) -> Tensor:
    """H×W bytes each → B×1×H×W: to the power of gamma, then cut off to bytes as the published code does."""
    table = ((np.arange(256, dtype=np.float32) / 255) ** gamma * 255).clip(0, 255).astype(np.uint8)
    return torch.stack([images.from_uint8(table[one][..., None]) for one in seen])


@annotator("blur", condition="tile", known_as={"blur_gaussian": {}})
class Blur(Annotator):
    """The picture under a Gaussian blur (OpenCV's, as the A1111 extension's blur_gaussian).

    Keeps where colours and masses lie; every detail is invented anew.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="the picture, blurred", reduction="area")

    sigma: float = knob(9.0, 0.01, 64, "in pixels", usual=(2, 16))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → the same size."""
        seen = [cv2.GaussianBlur(images.to_uint8(picture), (0, 0), self.sigma) for picture in pictures]
        return torch.stack([images.from_uint8(one) for one in seen]).to(pictures.device)


@annotator("tile", known_as={"tile_resample": {"rate": 1.0}})
class Tile(Annotator):
    """The picture made smaller by a rate and enlarged again, as the A1111 extension's tile_resample.

    For enlarging pictures: what is there stays, detail that is missing is invented.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="the picture without its details", reduction="area")

    rate: float = knob(4.0, 1, 64, "how many times smaller; below 1.1 nothing happens", usual=(1, 8))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → the same size."""
        return torch.stack([self._coarse(picture) for picture in pictures]).to(pictures.device)

    def _coarse(self, picture: Tensor) -> Tensor:
        pixels = images.to_uint8(picture)
        if self.rate >= LEAST_RATE:
            height, width = pixels.shape[:2]
            few = (max(1, int(width / self.rate)), max(1, int(height / self.rate)))
            small = cv2.resize(pixels, few, interpolation=cv2.INTER_AREA)
            pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        return images.from_uint8(pixels)


@annotator("binary", known_as={"threshold": {"level": 127, "darkest": True}})
class Binary(Annotator):
    """White where the picture is bright, black elsewhere: above a level, or above the one that Otsu's method finds.

    For stencils, silhouettes and letters; of a scan, `invert` what comes out.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="bright is white", reduction="nearest", binary=True)

    level: int = knob(0, 0, 255, "what is above it is white; 0: found by Otsu's method", usual=(90, 160))
    darkest: bool = knob(False, help="judge by a pixel's darkest channel (A1111's threshold), not by its brightness")

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W of 0 and 1."""
        return torch.stack([self._halves(images.to_uint8(picture)) for picture in pictures]).to(pictures.device)

    def _halves(self, pixels: Pixels) -> Tensor:
        grey = pixels.min(-1) if self.darkest else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        method = cv2.THRESH_BINARY | (0 if self.level else cv2.THRESH_OTSU)
        return images.from_uint8(cv2.threshold(grey, self.level, 255, method)[1][..., None])


@annotator("invert")
class Invert(Annotator):
    """Dark for bright and bright for dark: the A1111 extension's "invert (from white bg & black line)".

    Turns ink on paper into the white lines on black that line ControlNets know.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="dark is white", reduction="max", differentiable=True)

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → the same size."""
        return 1 - pictures
