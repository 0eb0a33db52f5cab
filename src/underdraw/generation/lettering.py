"""Text as tensors, in English and Chinese: DejaVu (which matplotlib brings) and a small subset of Noto Sans CJK."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from underdraw import images

__all__ = ["letter", "missing_glyphs"]

CHINESE = Path(__file__).parent / "fonts" / "chinese.otf"
LINE = 1.35
"""Distance of lines in heights of the type."""


def letter(text: str, width: int, height: int, align: str = "left") -> Tensor:
    """Lines of type of `height` pixels, wrapped at `width`: 1×H×width ink in [0, 1] (H = 0 for an empty text).

    align: "left", "centre" or "right". Characters that neither font has are drawn as an empty box.
    """
    lines = [line for part in text.splitlines() for line in _wrap(part, width, height)]
    if not lines:
        return torch.zeros(1, 0, width)
    step = round(height * LINE)
    page = Image.new("L", (width, step * len(lines)))
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        free = width - _length(line, height)
        left = {"left": 0.0, "centre": free / 2, "right": free}[align]
        for run, is_chinese in _runs(line):
            pen.text((left, step * number + height), run, fill=255, font=_font(is_chinese, height), anchor="ls")
            left += _font(is_chinese, height).getlength(run)
    return images.from_uint8(np.asarray(page)[..., None])


def missing_glyphs(text: str) -> set[str]:
    """The Chinese characters of a text that the small font lacks."""
    box = _font(True, 16).getmask("\U0010ffff").getbbox(), bytes(_font(True, 16).getmask("\U0010ffff"))
    drawn = {
        character: (_font(True, 16).getmask(character).getbbox(), bytes(_font(True, 16).getmask(character)))
        for run, is_chinese in _runs(text)
        if is_chinese
        for character in run
    }
    return {character for character, shape in drawn.items() if shape == box}


def _wrap(text: str, width: int, height: int) -> Iterator[str]:
    """Lines that fit, broken between words or Chinese characters; a longer word has a line to itself."""
    line = ""
    for piece in re.findall(r"[⺀-￯]|[^\s⺀-￯]+|\s+", text):
        if line.strip() and _length((line + piece).rstrip(), height) > width:
            yield line.strip()
            line = ""
        line += piece
    if line.strip():
        yield line.strip()


def _length(text: str, height: int) -> float:
    return sum(_font(is_chinese, height).getlength(run) for run, is_chinese in _runs(text))


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """The text in stretches of one font each, and whether it is the Chinese one."""
    for is_chinese, run in groupby(text, key=lambda character: "⺀" <= character <= "￯"):
        yield "".join(run), is_chinese


@cache
def _font(is_chinese: bool, height: int) -> ImageFont.FreeTypeFont:
    if is_chinese:
        return ImageFont.truetype(CHINESE, height)
    found = find_spec("matplotlib")
    assert found is not None and found.submodule_search_locations, "matplotlib is a dependency"
    return ImageFont.truetype(
        Path(found.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", height
    )
