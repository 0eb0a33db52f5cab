"""Stickers laid on backgrounds, with captions: the records of the second world."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from underdraw import images
from underdraw.data.folder import Record
from underdraw.data.stickers.backgrounds import Background, choose_background, named
from underdraw.data.stickers.captions import caption, caption_zh
from underdraw.data.stickers.colours import dominant, palette
from underdraw.data.stickers.concepts import SPLITS, split_of
from underdraw.data.stickers.load import Sticker
from underdraw.data.stickers.raster import INK, premultiplied, straight
from underdraw.errors import InputError

log = logging.getLogger(__name__)

FINE = 256  # px: up to a quarter of it pictures are laid out at 4 times their size, above at twice
MEASURED = 64  # px: the size at which a sticker's colours are measured
CROWDED = 0.2  # share of a sticker's pixels from which a background of their colour is avoided
ALIKE = ({"red", "pink"}, {"orange", "yellow"})  # colours that drown in each other


@dataclass(frozen=True)
class Placement:
    """A sticker's side as a share of the picture's shorter side, its shift as a share of the room that this leaves."""

    scale: float
    shift: tuple[float, float]
    flipped: bool


def name_of(sticker: Sticker, variant: int) -> str:
    """What the record of a sticker's rendering is called."""
    return f"{sticker.name}-{variant:02d}"


def records(
    stickers: Iterable[Sticker],
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    variants: int = 1,
    split: str | None = None,
    background: str | None = None,
    chinese: float = 0.25,
) -> Iterator[Record]:
    """`variants` differing renderings of each sticker at size = (width, height), of one split or of all.

    Background, caption, placement and flip follow from (seed, sticker, variant) alone. `background` names one tint for
    all; `chinese` is the share of Chinese texts, while the attributes always hold both. A sticker that cannot be drawn
    is reported in the log and left out. Raises InputError for a size, split or background that does not exist.
    """
    _check(size, split, background)
    for sticker in stickers:
        if split not in (None, split_of(sticker.concept)):
            continue
        try:
            art = premultiplied(sticker, _grain(size) * min(size))
        except InputError as error:
            log.warning("stickers: left out: %s", error)
            continue
        for variant in range(variants):
            yield _record(sticker, art, size, f"{seed}/{sticker.name}/{variant}", variant, background, chinese)


def _check(size: tuple[int, int], split: str | None, background: str | None) -> None:
    if min(size) < images.MIN_SIDE:
        raise InputError(f"stickers of {size[0]}×{size[1]} pixels: both sides must be at least {images.MIN_SIDE}")
    if split not in (None, *SPLITS):
        raise InputError(f"no split is called {split!r}; there are: {', '.join(SPLITS)}")
    if background is not None:
        named(background)


def _grain(size: tuple[int, int]) -> int:
    """How many fine pixels a pixel has along a side while things are laid out."""
    return 4 if 4 * min(size) <= FINE else 2


def _record(
    sticker: Sticker,
    art: Tensor,
    size: tuple[int, int],
    key: str,
    variant: int,
    fixed: str | None,
    chinese: float,
) -> Record:
    random = Random(key)  # seeding by text is stable across machines and versions
    measured = straight(images.resize(art.unsqueeze(0), (MEASURED, MEASURED))[0])
    colour = None if sticker.set == INK else dominant(measured)
    background = choose_background(random, drowning(measured, colour), fixed)
    layer = lay(art, size, place(sticker, random))
    image = (layer[:3] + background.paint(size) * (1 - layer[3:])).clamp(0, 1)
    english = caption(sticker, colour, background, random)
    translated = caption_zh(sticker, colour, background, random)
    attributes = _attributes(sticker, colour, background) | {"text_en": english, "text_zh": translated}
    text = translated if random.random() < chinese else english
    return Record(name_of(sticker, variant), image, text, {"mask": layer[3:]}, attributes)


def _attributes(sticker: Sticker, colour: str | None, background: Background) -> dict[str, object]:
    return {
        "concept": sticker.concept,
        "set": sticker.set,
        "style": sticker.style,
        "colour": colour,
        "background": background.name,
        "split": split_of(sticker.concept),
        "keywords": list(sticker.emoji.keywords),
        "name_en": sticker.emoji.name,
        "name_zh": sticker.emoji.name_zh,
    }


def drowning(rgba: Tensor, colour: str | None) -> set[str]:
    """The colours that would swallow part of a 4×H×W sticker of that dominant colour.

    White only swallows what is white all over: a shape's own shading or outline saves the rest.
    """
    found = {name for name, share in palette(rgba).items() if share >= CROWDED and name != "white"}
    for pair in ALIKE:
        found |= pair if found & pair else set()
    return found | {colour or ""}


def place(sticker: Sticker, random: Random) -> Placement:
    """A little smaller than the picture, a little off its middle; mirrored at random where nothing is written on it."""
    shift = (random.uniform(-1, 1), random.uniform(-1, 1))
    return Placement(random.uniform(0.78, 0.98), shift, sticker.emoji.mirrors and random.random() < 0.5)


def lay(art: Tensor, size: tuple[int, int], placement: Placement) -> Tensor:
    """Premultiplied 4×S×S art on an empty 4×H×W layer, placed to a fraction of a pixel and smoothed by area."""
    width, height = size
    grain = _grain(size)
    side = round(min(size) * grain * placement.scale)
    small = images.resize((art.flip(-1) if placement.flipped else art).unsqueeze(0), (side, side))[0]
    room = min(size) * grain - side  # the same along both axes: it stays near the middle of the longer one
    left, top = (
        round((length * grain - side + room * shift) / 2) for length, shift in zip(size, placement.shift, strict=True)
    )
    canvas = torch.zeros(4, height * grain, width * grain)
    canvas[:, top : top + side, left : left + side] = small
    return images.resize(canvas.unsqueeze(0), size)[0].clamp(0, 1)
