"""Which kind of map a column, folder or file name speaks of, and how maps of a kind are made smaller."""

from typing import Literal

from underdraw.annotators import ANNOTATORS

__all__ = ["UNNAMED", "channels_of", "is_kind", "kind_of", "reduction_of"]

Reduction = Literal["area", "max", "nearest"]
UNNAMED = "condition"
"""The kind of a map whose column or folder does not say what it is (`conditioning_image`, `source`)."""
ENDINGS = ("_file_name", "_images", "_image", "_maps", "_map")
NAMELESS = ("conditioning", "condition", "control", "conditioning_data", "source", "hint")
USUAL: dict[str, Reduction] = {
    **dict.fromkeys(("canny", "lines", "lineart", "scribble", "edges", "softedge", "hed", "mlsd", "sketch"), "max"),
    **dict.fromkeys(("depth", "normal", "normals", "colour", "color", "luminance", "tile", "blur"), "area"),
    **dict.fromkeys(("segmentation", "seg", "labels", "mask", "masks", "pose", "openpose", UNNAMED), "nearest"),
}
"""Kinds that people bring without an annotator of that name."""


def kind_of(name: str) -> str:
    """The kind that a column or folder name speaks of: `depth_file_name`, `depth_image` and `depth` are depth."""
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return UNNAMED if name in NAMELESS else name


def is_kind(name: str) -> bool:
    """Whether that is the name of a kind of maps."""
    return name in USUAL or name in ANNOTATORS


def reduction_of(kind: str) -> Reduction:
    """How a map is made smaller: lines by maximum, fields by area, labels by the nearest pixel.

    As the annotator of that name says, else as is usual; what nobody knows is treated as labels: no value is invented.
    """
    return ANNOTATORS[kind].meaning.reduction if kind in ANNOTATORS else USUAL.get(kind, "nearest")


def channels_of(kind: str) -> int | None:
    """How many channels the maps of a kind have; None where only the files say."""
    return ANNOTATORS[kind].meaning.channels if kind in ANNOTATORS else None
