"""Contact sheets: pictures in rows and columns with a word to each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw import images
from underdraw.generation.lettering import letter

__all__ = ["Cell", "Row", "sheet"]

TYPE, SMALL, TITLE = 13, 12, 18
GAP = 8


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture C×H×W in [0, 1] (C = 1 or 3) and the words under it; `crisp` keeps pixels as squares (for maps)."""

    picture: Tensor
    caption: str = ""
    crisp: bool = False


@dataclass(frozen=True, eq=False)
class Row:
    """Cells side by side, with the words to their left."""

    label: str
    cells: Sequence[Cell]


def sheet(
    rows: Sequence[Row],
    headings: Sequence[str] = (),
    title: str = "",
    footer: str = "",
    cell: tuple[int, int] = (144, 144),
    label_width: int = 170,
) -> Tensor:
    """Rows on white, 3×H×W in [0, 1]: title, a heading a column, cells fitted into cell = (width, height), footer."""
    columns = max([len(headings), *(len(row.cells) for row in rows)])
    width = GAP + label_width + columns * (cell[0] + GAP) + GAP
    heads = [letter(text, cell[0], TYPE, "centre") for text in headings]
    strips = [
        _line(title, width, TITLE),
        _strip([torch.zeros(1, 0, label_width), *heads], width),
        *(_row(row, cell, label_width, width) for row in rows),
        _line(footer, width, TYPE),
    ]
    return torch.cat([strip for strip in strips if strip.shape[1]], dim=1)


def _line(text: str, width: int, height: int) -> Tensor:
    return _strip([letter(text, width - 2 * GAP, height)], width) if text else torch.ones(3, 0, width)


def _strip(inks: Sequence[Tensor], width: int) -> Tensor:
    """Pieces of type side by side, their feet on one line."""
    tall = max(ink.shape[1] for ink in inks)
    strip, left = torch.ones(3, tall + GAP if tall else 0, width), GAP
    for ink in inks:
        strip[:, GAP + tall - ink.shape[1] : GAP + tall, left : left + ink.shape[2]] -= ink
        left += ink.shape[2] + GAP
    return strip


def _row(row: Row, cell: tuple[int, int], label_width: int, width: int) -> Tensor:
    label = letter(row.label, label_width, TYPE)
    captions = [letter(each.caption, cell[0], SMALL, "centre") for each in row.cells]
    below = max([0, *(caption.shape[1] for caption in captions)])
    strip = torch.ones(3, max(GAP + cell[1] + below + 2, GAP + label.shape[1]), width)
    strip[:, GAP : GAP + label.shape[1], GAP : GAP + label_width] -= label
    for place, (each, caption) in enumerate(zip(row.cells, captions, strict=True)):
        left, foot = GAP + label_width + GAP + place * (cell[0] + GAP), GAP + cell[1] + 2
        picture = _fitted(each, cell)
        top, inset = GAP + (cell[1] - picture.shape[1]) // 2, left + (cell[0] - picture.shape[2]) // 2
        strip[:, top : top + picture.shape[1], inset : inset + picture.shape[2]] = picture
        strip[:, foot : foot + caption.shape[1], left : left + cell[0]] -= caption
    return strip


def _fitted(each: Cell, cell: tuple[int, int]) -> Tensor:
    """The picture as large as the cell allows, in its own proportions."""
    height, width = each.picture.shape[-2:]
    scale = min(cell[0] / width, cell[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how: images.Reduction = "nearest" if each.crisp and scale >= 1 else "bicubic" if scale >= 1 else "area"
    return images.resize(each.picture.float()[None], size, how)[0].clamp(0, 1)
