"""Pictures to condition maps. One file a family; an annotator is a frozen value and its knobs are its fields."""

from underdraw.annotators.depth import Depth, nearness, read_depth, write_depth
from underdraw.annotators.edges import Canny
from underdraw.annotators.extract import as_hint, extract, given
from underdraw.annotators.protocol import (
    ANNOTATORS,
    Annotator,
    Knob,
    Meaning,
    Needs,
    annotator,
    build,
    draw_knobs,
    knob,
    knobs,
)

__all__ = [
    "ANNOTATORS",
    "Annotator",
    "Canny",
    "Depth",
    "Knob",
    "Meaning",
    "Needs",
    "annotator",
    "as_hint",
    "build",
    "draw_knobs",
    "extract",
    "given",
    "knob",
    "knobs",
    "nearness",
    "read_depth",
    "write_depth",
]
