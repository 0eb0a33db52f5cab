"""Edges: where brightness jumps."""

from typing import ClassVar

import cv2
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.errors import ConfigError

__all__ = ["Canny"]


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
