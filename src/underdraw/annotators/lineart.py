"""Line art: what an illustrator would ink."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators.contours import Field, blurred, clear_of_surroundings, long_enough, pixels_of
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob

__all__ = ["LineArt"]

PAGE = 512
"""Shorter side in pixels for which the lengths of a style are given."""
BLACK = 0.1
"""Added to brightness before its logarithm is taken: what is darker is noise."""
WIDER = 1.6
"""Of the second Gaussian to the first: their difference is then nearly the Laplacian (Marr, Hildreth 1980)."""
STANDARD_SIGMA, STANDARD_FLOOR, STANDARD_LEAST = 6.0, 8, 16
"""The published standard: the blur in pixels; what counts for the median; the least that it may be."""

Flow = tuple[Field, Field]
"""The unit vector along lines at each point: x and y, each H×W; its sign says nothing."""


@dataclass(frozen=True)
class Style:
    """How lines are drawn; lengths in pixels where the shorter side has 512.

    width: sigma of a line. nib: half the width up to which dark lines are filled. turn: over how much the direction of
    lines is smoothed. reach: sigma along them. dense: over how much neighbouring lines weaken each other, and share by
    how much. faint: what is dropped. ink: contrast. least: length.
    """

    width: float
    nib: float
    turn: float
    reach: float
    dense: float
    share: float
    faint: float
    ink: float
    least: float


STYLES = {
    "fine": Style(width=1.0, nib=4, turn=2.5, reach=4, dense=8, share=0.8, faint=0.006, ink=14, least=6),
    "coarse": Style(width=2.0, nib=9, turn=4, reach=6, dense=14, share=1.0, faint=0.02, ink=12, least=24),
    "anime": Style(width=1.2, nib=9, turn=3, reach=7, dense=10, share=1.0, faint=0.02, ink=30, least=16),
}


@annotator("lineart", known_as={"lineart_standard": {"detail": "standard"}})
class LineArt(Annotator):
    """Ink drawing: soft white lines on black, along dark lines and on the dark side of edges.

    A difference of Gaussians of the logarithm of brightness, so that shadow and light weigh the same, smoothed along
    the lines it finds (flow-based: Kang, Lee, Chui 2007, "Coherent line drawing"), less its surroundings, so that
    foliage and fur do not drown the rest. fine, coarse (bold, main lines only) and anime (clean, even) are its styles.
    standard is lineart_standard of the A1111 extension and of controlnet_aux, pixel for pixel: for black lines on
    white.

    Keeps every drawn form closely and leaves colour, light and material free: colouring of line art, restyling.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="white lines on black", reduction="max")

    detail: str = knob("fine", help="the style of the lines", choices=("fine", "coarse", "anime", "standard"))
    thickness: float = knob(1.0, 0.5, 4, "of lines, beside what their style has", usual=(0.8, 1.6))
    strength: float = knob(1.0, 0.25, 4, "contrast: above 1, faint lines show more", usual=(0.7, 1.5))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W in [0, 1]."""
        draw = self._standard if self.detail == "standard" else self._inked
        return torch.stack([torch.from_numpy(draw(picture))[None] for picture in pictures]).to(pictures.device)

    def _inked(self, picture: Tensor) -> Field:
        style, scale = STYLES[self.detail], min(picture.shape[-2:]) / PAGE
        light = np.log(pixels_of(picture) + BLACK)
        width = max(LEAST_WIDTH, style.width * scale * self.thickness)
        darker = np.maximum(
            (blurred(light, WIDER * width) - blurred(light, width)).max(2),
            INK * _filled(light, style.nib * scale * self.thickness),
        )
        lines = _along(darker, _flow(blurred(light, 0.8 * width), max(1.0, style.turn * scale)), style.reach * scale)
        clear = clear_of_surroundings(np.maximum(lines, 0), max(1.0, style.dense * scale), style.share)
        kept = np.where(long_enough(clear > style.faint, style.least * scale), clear - style.faint, 0)
        result: Field = np.tanh(style.ink * self.strength * kept)
        return result

    def _standard(self, picture: Tensor) -> Field:
        """How far all channels are darker than a wide blur; the median of what clearly is becomes half of white."""
        pixels = images.to_uint8(picture).astype(np.float32)
        darker = (blurred(pixels, STANDARD_SIGMA) - pixels).min(2).clip(0, 255)
        clear = darker[darker > STANDARD_FLOOR]
        usual = max(STANDARD_LEAST, np.median(clear)) if clear.size else STANDARD_LEAST
        drawn = (darker / np.float32(usual) * np.float32(127 * self.strength)).clip(0, 255)
        result: Field = drawn.astype(np.uint8).astype(np.float32) / 255
        return result


INK = 0.2
"""How much the inside of a dark line counts beside an edge as dark."""
LEAST_WIDTH = 0.5
"""Sigma in pixels below which a line falls through the grid."""


def _filled(light: Field, radius: float) -> Field:
    """How much darker than a closing all channels are: dark lines up to twice the radius wide, in their whole width."""
    side = 2 * max(1, round(radius)) + 1
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    result: Field = cv2.morphologyEx(light, cv2.MORPH_BLACKHAT, pen).min(2)
    return result


def _flow(light: Field, sigma: float) -> Flow:
    """The direction in which a picture H×W×C changes least, from its structure tensor smoothed over `sigma` pixels."""
    across, down = (cv2.Scharr(light, cv2.CV_32F, *order, scale=1 / 32) for order in ((1, 0), (0, 1)))
    pairs = ((across, across), (across, down), (down, down))
    xx, xy, yy = (blurred((one * other).sum(2), sigma) for one, other in pairs)
    angle = (np.arctan2(2 * xy, xx - yy) + np.pi) / 2
    return np.cos(angle), np.sin(angle)


def _along(field: Field, flow: Flow, sigma: float) -> Field:
    """Each point's Gaussian mean over `sigma` pixels of the curve through it that follows the flow."""
    height, width = field.shape
    stride = max(1.0, sigma / 2)
    steps = max(1, round(2 * sigma / stride))
    start = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    total, weights = field.copy(), 1.0
    for way in (stride, -stride):
        (x, y), (right, down) = start, (way * flow[0], way * flow[1])
        for step in range(1, steps + 1):
            x, y = x + right, y + down
            weight = float(np.exp(-((step * stride) ** 2) / (2 * sigma**2)))
            total += weight * cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            weights += weight
            right, down = _onward(flow, x, y, right, down, stride)
    result: Field = total / weights
    return result


def _onward(flow: Flow, x: Field, y: Field, right: Field, down: Field, stride: float) -> Flow:
    """The flow at x, y (the nearest pixel's), turned so that it goes on and not back."""
    ahead = [cv2.remap(each, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) for each in flow]
    sign = np.where(ahead[0] * right + ahead[1] * down < 0, -stride, stride).astype(np.float32)
    return ahead[0] * sign, ahead[1] * sign
