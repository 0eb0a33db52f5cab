"""Too much for the memory: fewer at once, down to one."""

import gc
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from underdraw.generation.company import Batch
from underdraw.generation.sampler import decode_frame
from underdraw.generation.sizes import native_size
from underdraw.generation.tiles import Tiles
from underdraw.model import Backbone

__all__ = ["decoded_within", "is_memory", "within_memory"]

SEAM = 0.25
"""The share of a side that the windows of an autoencoder that is short of memory have in common."""

WORDS = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)
Result = TypeVar("Result")


def is_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, on any device."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(WORDS.search(str(error))))


def within_memory(
    batches: Iterable[Batch], draw: Callable[[Batch], Result], tell: Callable[[str], None]
) -> Iterator[tuple[Batch, Result]]:
    """What `draw` makes of each batch; one that is too large is drawn in halves, and later ones like it too.

    A single picture that is too large raises what was raised.
    """
    waiting = list(batches)
    while waiting:
        batch = waiting.pop(0)
        try:
            result = draw(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error) or len(batch.drawings) == 1:
                raise
            tell(f"{len(batch.drawings)} pictures at once are too many for the memory; trying fewer")
            most = max(1, len(batch.drawings) // 2)
            waiting = [part for each in (batch, *waiting) for part in _parts(each, most)]
        else:
            yield batch, result
            continue
        _let_go()


def decoded_within(backbone: Backbone, latents: Tensor, tiles: Tiles | None) -> Tensor:
    """The pictures B×3×H×W in [0, 1] of a batch's latents; where the memory is short one by one, and then in windows.

    One by one they differ in the last bits of a float at most; windows of the size that the base was trained at change
    what is near their seams. What is too large even so raises what was raised.
    """
    width, height = native_size(backbone)
    small = Tiles(width // 2, height // 2, SEAM)
    ways = [(latents,), tuple(latents.split(1)), tuple(latents.split(1))]
    for parts, windows in zip(ways, (tiles, tiles, small), strict=True):
        try:
            return torch.cat([decode_frame(backbone, part, windows) for part in parts])
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error) or windows is small:
                raise
        _let_go()
    raise AssertionError("the last way returns or raises")


def _parts(batch: Batch, most: int) -> list[Batch]:
    return [batch] if len(batch.drawings) <= most else [part for half in batch.halves() for part in _parts(half, most)]


def _let_go() -> None:
    """Give back what the failed try still holds."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
