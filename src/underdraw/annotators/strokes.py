"""Strokes: what a quick hand would draw of a picture, and what a hand has drawn on paper."""

from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.morphology import thin
from torch import Tensor

from underdraw import images
from underdraw.annotators.boundaries import boundaries
from underdraw.annotators.contours import Curve, Field, Mask, blurred, long_enough, pixels_of, ridges, strokes, strong
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob

__all__ = ["Scribble", "Sketch"]

WHITE_ON_BLACK = Meaning(channels=1, polarity="white strokes on black", reduction="max", binary=True)
PAGE = 512
"""Shorter side in pixels for which the thickness of a pen is given."""
LEAST_SEED, LAST_SEED = 0, 2**31 - 1


@annotator("scribble", known_as={"scribble_xdog": {"method": "xdog"}})
class Scribble(Annotator):
    """A scribble: few bold strokes along the main outlines, each a little off and of its own thickness.

    pen: ridges of the soft edges, followed as curves, broken where they meet, simplified (Douglas, Peucker 1973),
    rounded and redrawn. xdog: difference of two Gaussian blurs (0.5 and 5 px), cut at a threshold, as scribble_xdog of
    the A1111 extension, pixel for pixel (after Winnemöller, Kyprianidis, Olsen 2012, "XDoG").

    Says roughly what is where; the model decides on everything else. The nearest to what people draw with a mouse.
    """

    meaning: ClassVar[Meaning] = WHITE_ON_BLACK

    method: str = knob("pen", help="strokes as of a person, or XDoG", choices=("pen", "xdog"))
    detail: float = knob(0.5, 0, 1, "pen: 0 draws the main outlines only, 1 much of what is inside", usual=(0.2, 0.8))
    thickness: float = knob(4.0, 1, 16, "pen: pixels, where the shorter side has 512", usual=(2.0, 7.0))
    variation: float = knob(0.25, 0, 1, "pen: how much thickness differs between strokes", usual=(0.0, 0.5))
    wobble: float = knob(0.3, 0, 2, "pen: how far off the hand goes, in % of the shorter side", usual=(0.0, 0.6))
    threshold: int = knob(32, 1, 64, "xdog: higher draws less", usual=(16, 48))
    seed: int = knob(0, LEAST_SEED, LAST_SEED, "pen: of the hand's chances", usual=(LEAST_SEED, LAST_SEED))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W of 0 and 1."""
        draw = self._scribbled if self.method == "pen" else self._differences
        return torch.stack([torch.from_numpy(draw(picture))[None].float() for picture in pictures]).to(pictures.device)

    def _scribbled(self, picture: Tensor) -> Mask:
        """Main outlines are longer and stronger: both are asked for, the more so the less detail is wanted."""
        side = min(picture.shape[-2:])
        high = 0.5 - 0.36 * self.detail
        lines = thin(strong(ridges(boundaries(picture)), 0.4 * high, high))
        least = (0.09 - 0.07 * self.detail) * side
        chance = np.random.default_rng(self.seed)
        page = np.zeros(lines.shape, np.uint8)
        for curve in strokes(lines):
            if len(curve) >= least:
                self._draw(page, curve, side, chance)
        return page > 0

    def _draw(self, page: NDArray[np.uint8], curve: Curve, side: int, chance: np.random.Generator) -> None:
        corners = cv2.approxPolyDP(curve[:, None], (0.008 - 0.005 * self.detail) * side, False)[:, 0]
        hand = corners + chance.normal(0, self.wobble / 100 * side, corners.shape)
        width = self.thickness * side / PAGE * np.exp(chance.normal(0, self.variation))
        path = np.rint(_rounded(hand)).astype(np.int32)
        cv2.polylines(page, [path[:, None]], False, 255, max(1, round(width)))

    def _differences(self, picture: Tensor) -> Mask:
        """The published code reckons in bytes, where twice 128 is 0: so does this."""
        pixels = images.to_uint8(picture).astype(np.float32)
        darker = (blurred(pixels, 5.0) - blurred(pixels, 0.5)).min(2)
        bytes_left = (255 - darker).clip(0, 255).astype(np.uint8)
        result: Mask = np.uint8(2) * (np.uint8(255) - bytes_left) > self.threshold
        return result


def _rounded(corners: NDArray[np.float64], rounds: int = 2) -> NDArray[np.float64]:
    """A path N×2 with its corners cut, again and again (Chaikin 1974); the ends stay."""
    for _ in range(rounds):
        early, late = 0.75 * corners[:-1] + 0.25 * corners[1:], 0.25 * corners[:-1] + 0.75 * corners[1:]
        cut = np.stack([early, late], 1).reshape(-1, 2)
        corners = np.concatenate([corners[:1], cut, corners[-1:]])
    return corners


@annotator("sketch", condition="scribble")
class Sketch(Annotator):
    """The strokes of a drawing by hand: a photograph of paper or board, a scan, a screenshot, whatever its colours.

    The paper is what a wide median leaves, or a closing where that is darker; ink is what differs from it in the
    channel where it differs most, towards dark or towards light, whichever is more. It is cut by hysteresis at shares
    of its own strength, so shadows, folds and grain of the paper are left behind; specks are dropped.

    Turns what somebody has drawn into a map for scribble ControlNets; `width` makes pencil and marker alike.
    """

    meaning: ClassVar[Meaning] = WHITE_ON_BLACK

    ink: str = knob(
        "auto",
        help="darker or lighter than the paper; auto: whichever there is more of",
        choices=("auto", "dark", "light"),
    )
    strength: float = knob(0.4, 0.1, 0.9, "how strong ink must be, as a share of what is usual in this drawing")
    specks: float = knob(0.8, 0, 10, "what is smaller is dropped, in % of the shorter side")
    width: float = knob(0.0, 0, 16, "strokes redrawn so wide, in pixels where the shorter side has 512; 0: as they are")

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W of 0 and 1."""
        found = [torch.from_numpy(self._strokes(picture))[None].float() for picture in pictures]
        return torch.stack(found).to(pictures.device)

    def _strokes(self, picture: Tensor) -> Mask:
        pixels = blurred(pixels_of(picture), GRAIN)
        paper, side = _wide_median(pixels), min(picture.shape[-2:])
        if self.ink == "light" or (self.ink == "auto" and _mostly_light(pixels - paper)):
            pixels, paper = 1 - pixels, 1 - paper
        found = long_enough(self._inked(_ink(pixels, paper)), self.specks / 100 * side)
        return _redrawn(found, max(1, round(self.width * side / PAGE))) if self.width else found

    def _inked(self, ink: Field) -> Mask:
        """Cut at shares of the median ink; what counts as ink for that is well above the paper's grain."""
        grain = max(FAINTEST, 7 * float(np.median(np.abs(ink))))
        sure = ink[ink > grain]
        low = max(grain, self.strength * float(np.median(sure))) if sure.size else grain
        return strong(ink, low, 1.25 * low)


GRAIN = 0.5
"""Blur in pixels that takes the paper's grain and JPEG's noise."""
FAINTEST = 0.08
"""Ink that differs less from its paper is none."""
SMALL, WINDOW = 128, 25
"""Shorter side in pixels at which the paper is looked at, and the side of its median there."""
FILLED = 0.2
"""Side of the closing, in shorter sides: dark forms wider than this are shadow, not ink."""


def _wide_median(pixels: Field) -> Field:
    """H×W×3 without its strokes: each channel's median over about a fifth of the shorter side."""
    height, width = pixels.shape[:2]
    scale = min(1.0, SMALL / min(height, width))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    paper = cv2.medianBlur((small * 255).round().astype(np.uint8), WINDOW).astype(np.float32) / 255
    result: Field = cv2.resize(blurred(paper, 2.0), (width, height), interpolation=cv2.INTER_LINEAR)
    return result


def _mostly_light(off: Field) -> bool:
    """Whether what differs from the paper is lighter than it."""
    return float((np.maximum(off, 0) ** 2).sum()) > float((np.minimum(off, 0) ** 2).sum())


def _ink(pixels: Field, paper: Field) -> Field:
    """H×W: how much darker than their paper pixels are, 1 all the way, in the channel where it is most.

    The paper is no lighter than a closing leaves it: that fills strokes, but keeps the edge of a shadow where it is.
    """
    side = 2 * round(FILLED * min(pixels.shape[:2]) / 2) + 1
    paper = np.minimum(paper, cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8)))
    result: Field = ((paper - pixels) / np.maximum(paper, 0.2)).max(2)
    return result


def _redrawn(found: Mask, width: int) -> Mask:
    """Strokes thinned to one pixel and drawn again by a round pen."""
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    result: Mask = cv2.dilate(thin(found).astype(np.uint8), pen) > 0
    return result
