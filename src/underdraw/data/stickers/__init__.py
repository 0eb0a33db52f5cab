"""Stickers: openly licensed emoji sets as captioned pictures with masks, whole concepts held out."""

from underdraw.data.stickers.backgrounds import TINTS
from underdraw.data.stickers.colours import COLOURS
from underdraw.data.stickers.concepts import SPLITS, concept_of, split_of
from underdraw.data.stickers.load import Sticker, load
from underdraw.data.stickers.names import Emoji
from underdraw.data.stickers.packages import fetch
from underdraw.data.stickers.raster import render
from underdraw.data.stickers.records import name_of, records
from underdraw.data.stickers.sets import NAMES, PACKAGES, SETS, EmojiSet, Package

__all__ = [
    "COLOURS",
    "NAMES",
    "PACKAGES",
    "SETS",
    "SPLITS",
    "TINTS",
    "Emoji",
    "EmojiSet",
    "Package",
    "Sticker",
    "concept_of",
    "fetch",
    "load",
    "name_of",
    "records",
    "render",
    "split_of",
]
