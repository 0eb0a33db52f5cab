"""Edges: where brightness jumps, and where one thing ends and another begins."""

from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators.boundaries import boundaries
from underdraw.annotators.contours import Field
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.errors import ConfigError

__all__ = ["Canny", "SoftEdge"]

PEN = 0.015
"""Radius around an edge within which the strongest point alone stays whole, in shorter sides."""
FAINT, BRIGHT = 0.04, 0.45
"""Strengths of a boundary that are drawn black and white."""


@annotator("canny")
class Canny(Annotator):
    """White edges one pixel thin on black (Canny 1986, "A Computational Approach to Edge Detection"; OpenCV's).

    Each pixel's strongest colour channel counts, as in the original ControlNet code;
    brightness alone would lose outlines between colours that are equally bright.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="white edges on black", reduction="max", binary=True)

    low: int = knob(100, 0, 255, "edges weaker than this are dropped", usual=(40, 120))
    high: int = knob(
        200, 0, 255, "edges stronger than this are kept; those between, if they touch one", usual=(120, 240)
    )
    colour: bool = knob(True, help="take the strongest of the three colour channels; otherwise brightness alone")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ConfigError(f"canny: knob 'low' ({self.low}) must not exceed 'high' ({self.high}); swap them")

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W of 0 and 1."""
        return torch.stack([self._edges(picture) for picture in pictures]).to(pictures.device)

    def _edges(self, picture: Tensor) -> Tensor:
        pixels = images.to_uint8(picture)
        if not self.colour:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return torch.from_numpy(cv2.Canny(pixels, self.low, self.high))[None].float() / 255


@annotator("softedge")
class SoftEdge(Annotator):
    """Soft white edges: how fast the distribution of colour and texture changes from place to place, at several scales.

    Around each point the shares p of 17 soft bins are taken (lightness, both colour axes of CIE Lab, direction of the
    fine gradient), and with them the Fisher information metric Σ ∂p ∂pᵀ / p, whose largest eigenvalue is the square of
    how fast they change. Octaves from 512 px of the shorter side down to 40 are added up, and an edge loses a share of
    what surrounds it. So outlines of things stand out, and grass and fur fade, without a network.

    Keeps outlines and the main inner edges, and leaves the rest free: restyling and recolouring of photographs.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="white edges on black", reduction="area")

    suppression: float = knob(
        0.5, 0, 1, "share of its surroundings that an edge loses: texture fades", usual=(0.3, 0.7)
    )
    sharpness: float = knob(1.0, 0, 4, "how thin edges are drawn; 0: as wide as they are found", usual=(0.0, 2.0))
    gain: float = knob(1.0, 0.25, 4, "contrast: above 1, weak edges show more", usual=(0.7, 1.5))
    safe: bool = knob(False, help="a few brightness steps alone, so that no hidden detail leaks through faint edges")
    levels: int = knob(2, 1, 16, "steps above black of the safe form; 2 are the usual ones")

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W in [0, 1]."""
        return torch.stack([torch.from_numpy(self._drawn(picture))[None] for picture in pictures]).to(pictures.device)

    def _drawn(self, picture: Tensor) -> Field:
        strength = boundaries(picture, self.suppression) * self.gain
        reach = max(1, round(min(strength.shape) * PEN))
        top = cv2.dilate(strength, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
        thin = strength * (strength / np.maximum(top, FAINT)) ** self.sharpness
        drawn: Field = np.clip((thin - FAINT) / (BRIGHT - FAINT), 0, 1)
        if self.safe:
            drawn = np.minimum(np.floor(drawn * (self.levels + 1)) / self.levels, 1).astype(np.float32)
        return drawn
