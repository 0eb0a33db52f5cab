"""Type and contact sheets."""

import pytest
import torch

from underdraw.apps.tour import ROOMS, SUBJECTS
from underdraw.data.scenes import COLOURS, KINDS, records
from underdraw.generation import Cell, Row, sheet
from underdraw.generation.lettering import letter, missing_glyphs


def test_lettering_wraps_and_aligns() -> None:
    one, many = letter("mushroom", 200, 14), letter("a red mushroom on a light blue ground", 80, 14)
    assert one.shape[2] == 200 and many.shape[2] == 80 and many.shape[1] > 2 * one.shape[1]
    assert 0 < one.max() <= 1
    left, right = (letter("x", 100, 14, align)[0].sum(0).nonzero().flatten() for align in ("left", "right"))
    assert left.max() < 20 and right.min() > 80
    assert letter("", 100, 14).shape == (1, 0, 100)


def test_chinese_is_drawn_and_wrapped() -> None:
    text = "红色蘑菇，3D贴纸，浅蓝色背景"
    assert letter(text, 60, 14).shape[1] > 2 * letter(text, 600, 14).shape[1]
    assert not torch.equal(letter("红", 20, 14), letter("蓝", 20, 14))
    assert missing_glyphs("红a 齉") == {"齉"}


def test_the_small_font_has_what_the_demo_says() -> None:
    said = [prompt for *_, prompt in SUBJECTS]
    rooms = [record.attributes["text_zh"] for record in records([seed for seed, _ in ROOMS], (16, 16))]
    words = [*(kind.chinese for kind in KINDS.values()), *(colour.chinese for colour in COLOURS.values())]
    assert not missing_glyphs("".join(said + rooms + words))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 20, 40), (3, 300, 200)])
def test_a_picture_keeps_its_proportions(shape: tuple[int, int, int]) -> None:
    """A black picture is the only black thing on a sheet without words."""
    made = sheet([Row("", [Cell(torch.zeros(shape))])], cell=(60, 60), label_width=10)
    black = (made == 0).all(0).nonzero()
    height, width = (black.max(0).values - black.min(0).values + 1).tolist()
    assert max(height, width) == 60 and abs(height / width - shape[1] / shape[2]) < 0.05


def test_everything_has_its_place() -> None:
    cells = [Cell(torch.rand(3, 8, 8), "F1 0.5"), Cell(torch.rand(1, 8, 8), crisp=True)]
    made = sheet([Row("a", cells), Row("b", cells[:1])], ["one", "two"], "title", "footer", cell=(40, 40))
    bare = sheet([Row("a", cells), Row("b", cells[:1])], cell=(40, 40))
    assert made.shape[2] == bare.shape[2] and made.shape[1] > bare.shape[1] and 0 <= made.min() <= made.max() <= 1
