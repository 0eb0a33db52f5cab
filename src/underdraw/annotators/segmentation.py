"""Segmentation that needs no learned weights: what hangs together by its colour, one flat colour a region."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators.palettes import PALETTES, paint
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.annotators.regions import colour_regions, superpixels

__all__ = ["Segmentation"]

OWN = "own"
"""Not a palette: every region in the mean of its own colours."""
FROM = {name: tuple(dict.fromkeys(palette.colours)) for name, palette in PALETTES.items() if name != "figure"}


@annotator("segmentation")
class Segmentation(Annotator):
    """Regions of a picture by colour alone: connected areas of its dominant colours (k-means), or superpixels (SLIC).

    Keeps where things lie and lets everything else go. Colours count the regions from the largest on and name no
    classes: classes take a given label map (`labels`) or a learned annotator. The same picture gives the same colours.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="one flat colour a region", reduction="nearest")

    method: str = knob("colours", help="what a region is", choices=("colours", "superpixels"))
    colours: int = knob(8, 2, 64, "colours: into how many the picture's are sorted", usual=(5, 12))
    count: int = knob(200, 2, 5000, "superpixels: about how many", usual=(100, 400))
    smallest: float = knob(0.002, 0, 0.5, "colours: regions under this share of the picture join their neighbours")
    palette: str = knob("ade20k", help="whose colours; own: a region's mean colour", choices=(*FROM, OWN))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.palette != OWN:
            object.__setattr__(self, "meaning", replace(type(self).meaning, palette=FROM[self.palette]))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×3×H×W of the palette's colours."""
        return torch.stack([self._regions(picture) for picture in pictures]).to(pictures.device)

    def _regions(self, picture: Tensor) -> Tensor:
        pixels = images.to_uint8(picture)
        if self.method == "colours":
            regions = colour_regions(pixels, self.colours, self.smallest)
        else:
            regions = superpixels(pixels, self.count)
        return images.from_uint8(self._painted(regions, pixels))

    def _painted(self, regions: NDArray[np.int64], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.palette != OWN:
            colours = FROM[self.palette]
            return paint(regions % len(colours), colours)
        sizes = np.bincount(regions.ravel())
        sums = [np.bincount(regions.ravel(), channel.ravel()) for channel in np.moveaxis(pixels, -1, 0)]
        return (np.stack(sums, -1) / np.maximum(sizes, 1)[:, None]).round().astype(np.uint8)[regions]
