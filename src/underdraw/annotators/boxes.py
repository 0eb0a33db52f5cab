"""Boxes: where objects are and how large, as rectangles."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.measure import label
from torch import Tensor

from underdraw import images
from underdraw.annotators.labels import LabelMap, read_labels
from underdraw.annotators.palettes import PALETTES, Palette
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.annotators.regions import colour_regions
from underdraw.errors import InputError

__all__ = ["Box", "Boxes", "Layout", "read_boxes"]

COLOURS = 6
"""Into how many colours a photograph is sorted before its areas are boxed."""
COMPACT = 0.45
"""The share of its box that an area of a photograph must fill to count as an object."""


@dataclass(frozen=True)
class Box:
    """An object's rectangle in pixels, from (left, top) to (right, bottom), and the id of its class."""

    left: float
    top: float
    right: float
    bottom: float
    label: int = 0

    def moved(self, left: float, top: float, scale: float) -> "Box":
        """With (left, top) as the origin and lengths divided by scale."""
        x0, x1 = ((x - left) / scale for x in (self.left, self.right))
        y0, y1 = ((y - top) / scale for y in (self.top, self.bottom))
        return Box(x0, y0, x1, y1, self.label)


@dataclass(frozen=True)
class Layout:
    """The boxes of a picture of `size` = (width, height)."""

    size: tuple[int, int]
    boxes: tuple[Box, ...]

    def fitted(self, size: tuple[int, int]) -> "Layout":
        """As seen in the centre that has the proportions of `size`, brought to `size`, as pictures are."""
        width, height = self.size
        scale = min(width / size[0], height / size[1])
        left, top = (width - size[0] * scale) / 2, (height - size[1] * scale) / 2
        return Layout(size, tuple(box.moved(left, top, scale) for box in self.boxes))


@annotator("boxes")
class Boxes(LabelMap):
    """Objects as flat rectangles, the smaller before the larger, in the colours of their classes.

    Says what stands where and how large, and leaves every shape free. From a COCO file of one picture's boxes, from a
    given label map (each connected area of a class is an object), or, in a photograph, from areas of one colour, which
    have no class: there colours count from the largest box on.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="flat rectangles on black", reduction="nearest")
    suffixes: ClassVar[tuple[str, ...]] = (*LabelMap.suffixes, ".json")

    labels: bool = knob(False, help="the given picture is a label map, in ids or the palette's colours")
    palette: str = knob("ade20k", help="whose colours", choices=tuple(PALETTES))
    outline: int = knob(0, 0, 64, "width of the outlines in pixels; 0: filled", usual=(0, 4))
    smallest: float = knob(0.005, 0, 1, "areas under this share of the picture are left out")
    largest: float = knob(0.5, 0, 1, "boxes over this share of the picture are left out: walls, floors, skies")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "meaning", replace(type(self).meaning, palette=PALETTES[self.palette].colours))

    def read(self, path: str | Path) -> Any:
        """A `Layout` from a COCO `.json`; else a picture 1×3×H×W, or, of a label map, what `read_labels` gives."""
        if Path(path).suffix.lower() == ".json":
            return read_boxes(path, PALETTES[self.palette])
        return read_labels(path) if self.labels or Path(path).suffix.lower() == ".npy" else images.read(path)

    def extent(self, source: Any) -> tuple[int, int]:
        """The (width, height) of what `read` gave."""
        return source.size if isinstance(source, Layout) else super().extent(source)

    def map(self, source: Any, size: tuple[int, int] | None = None) -> Tensor:
        """As every annotator's; the boxes of a `Layout` are drawn where they lie in the centre that is seen."""
        if isinstance(source, Layout):
            return self._drawn(source.fitted(size or source.size))[None]
        return super().map(source, size) if self._is_labels(source) else Annotator.map(self, source, size)

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1], or ids B×1×H×W → B×3×H×W."""
        return torch.stack([self._drawn(self._found(picture)) for picture in pictures]).to(pictures.device)

    def _is_labels(self, pictures: Tensor) -> bool:
        return self.labels or pictures.shape[-3] == 1

    def _found(self, picture: Tensor) -> Layout:
        size = (picture.shape[-1], picture.shape[-2])
        if self._is_labels(picture):
            colours = PALETTES[self.palette].colours
            ids = self.ids(picture, colours, len(colours))
            areas = label(ids, background=-1, connectivity=1)
            _, first = np.unique(areas[areas > 0], return_index=True)
            return Layout(size, tuple(self._boxes(areas, ids[areas > 0][first])))
        areas = colour_regions(images.to_uint8(picture), COLOURS, self.smallest) + 1
        boxes = self._boxes(areas, np.zeros(areas.max(), np.int64), COMPACT)
        ranked = sorted(boxes, key=_area, reverse=True)
        return Layout(size, tuple(replace(box, label=number) for number, box in enumerate(ranked)))

    def _boxes(self, areas: NDArray[np.int64], names: NDArray[np.int64], compact: float = 0.0) -> list[Box]:
        """A box around each of the areas 1, 2, … of H×W, whose classes are `names`; neither specks nor backgrounds."""
        boxes = []
        for (down, across), name, pixels in zip(
            find_objects(areas), names, np.bincount(areas.ravel())[1:], strict=True
        ):
            box = Box(across.start, down.start, across.stop, down.stop, int(name))
            large = pixels >= max(self.smallest * areas.size, compact * _area(box))
            if large and _area(box) <= self.largest * areas.size:
                boxes.append(box)
        return boxes

    def _drawn(self, layout: Layout) -> Tensor:
        """3×H×W in [0, 1]: the boxes, the largest first."""
        width, height = layout.size
        canvas = np.zeros((height, width, 3), np.uint8)
        colours = PALETTES[self.palette].colours
        for box in sorted(layout.boxes, key=_area, reverse=True):
            left, right = (min(max(round(x), 0), width) for x in (box.left, box.right))
            top, bottom = (min(max(round(y), 0), height) for y in (box.top, box.bottom))
            inside = canvas[top:bottom, left:right]
            edge = self.outline or max(inside.shape)
            for side in (inside[:edge], inside[-edge:], inside[:, :edge], inside[:, -edge:]):
                side[:] = colours[box.label % len(colours)]
        return images.from_uint8(canvas)


def read_boxes(path: str | Path, palette: Palette) -> Layout:
    """The boxes in a COCO JSON file of one picture. A category's label is its name's place in the palette, or, for a
    name that is not there, its place in the file; crowds are left out.

    Raises InputError for a file that is not that.
    """
    try:
        told = json.loads(Path(path).read_bytes())
        (picture,) = told["images"]
        categories = sorted(told.get("categories", ()), key=lambda category: category["id"])
        labels = {
            category["id"]: palette.names.index(category["name"]) if category["name"] in palette.names else place
            for place, category in enumerate(categories)
        }
        boxes = tuple(
            _box(entry["bbox"], labels.get(entry["category_id"], entry["category_id"]))
            for entry in told["annotations"]
            if not entry.get("iscrowd")
        )
        size = int(picture["width"]), int(picture["height"])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is not a COCO file of one picture and its boxes ({reason})") from error
    if not all(images.MIN_SIDE <= side <= 2**16 for side in size):
        raise InputError(f"{path}: a picture of {size[0]}×{size[1]} pixels cannot be drawn")
    return Layout(size, boxes)


def _box(corner: Any, name: int) -> Box:
    left, top, width, height = (float(value) for value in corner)
    if not (math.isfinite(left + top + width + height) and width > 0 and height > 0):
        raise ValueError(f"a box of {corner}")
    return Box(left, top, left + width, top + height, int(name))


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)
