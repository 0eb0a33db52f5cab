"""Does a picture show what its recipe says? It is drawn again from what it carries, and compared."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from underdraw import images
from underdraw.errors import InputError
from underdraw.generation.plan import redrawn, stranger
from underdraw.generation.provenance import read_drawing
from underdraw.generation.sampler import Frame
from underdraw.generation.studio import Studio
from underdraw.generation.wish import Wish

__all__ = ["Verdict", "verify"]

TOLERANCES = {"float32": (3, 0.5)}
"""By precision: how far a value, and all of them on average, may be off, in steps of 1/255; half precision rounds."""
HALF = (32, 2.0)


@dataclass(frozen=True)
class Verdict:
    """What was found: the same values, within what other company, another device or another torch changes, or not.

    largest, mean: how far the values are apart, in steps of 1/255.
    """

    finding: Literal["exact", "close", "altered"]
    largest: int
    mean: float


def verify(studio: Studio, path: str | Path, tell: Callable[[Frame], None] = lambda frame: None) -> Verdict:
    """Draw the picture in a file again and compare.

    Raises InputError for a file without a recipe, or for one that was drawn with other weights than those here.
    """
    drawing, shown = read_drawing(path), images.read(path)[0]
    if (other := stranger(studio, drawing)) is not None:
        raise InputError(f"{path} was drawn with {other}; give the base it was drawn with: --base FOLDER")
    (batch,) = redrawn(studio, drawing, Wish(), str(path))
    (again,) = studio.draw_batch(batch, tell)
    if again.picture.shape != shown.shape:
        return Verdict("altered", 255, 255.0)
    apart = abs(images.to_uint8(again.picture).astype(int) - images.to_uint8(shown).astype(int))
    largest, mean = int(apart.max()), float(apart.mean())
    most, usual = TOLERANCES.get(drawing.dtype, HALF)
    return Verdict(
        "exact" if not largest else "close" if largest <= most and mean <= usual else "altered", largest, mean
    )
