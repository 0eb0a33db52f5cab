"""The pictures in examples/: small, named with their licences, and usable as what they are for."""

import runpy
from pathlib import Path

import pytest

from underdraw import images
from underdraw.annotators import extract, given, read_depth

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES = sorted(path for path in (EXAMPLES / "pictures").rglob("*") if path.suffix in (".png", ".jpg"))
DRAWINGS = [path for path in PICTURES if path.parent.name == "drawings"]
SHOTS = [path for path in DRAWINGS if path.stem.startswith(("notebook", "screenshot"))]
"""Drawings as a camera or a screen shows them, with paper and frames around."""


def test_they_are_few_small_and_all_are_named_in_the_readme() -> None:
    text = (EXAMPLES / "pictures" / "README.md").read_text(encoding="utf-8")
    assert 15 <= len(PICTURES) <= 40
    assert sum(path.stat().st_size for path in PICTURES) < 1_000_000
    assert [path.name for path in PICTURES if f"`{path.name}`" not in text and f"`{path.stem}`" not in text] == []


@pytest.mark.parametrize("path", SHOTS, ids=lambda path: path.stem)
def test_scribbles_come_off_their_paper(path: Path) -> None:
    assert 0.03 < extract("sketch", images.read(path), (64, 64)).mean() < 0.25


@pytest.mark.parametrize("path", [path for path in DRAWINGS if path not in SHOTS], ids=lambda path: path.stem)
def test_drawings_give_clear_maps(path: Path) -> None:
    drawing = images.read(path)
    found = (given if path.suffix == ".png" else extract)("canny", drawing, (64, 64))
    assert 0.03 < found.mean() < 0.25
    assert found[..., :1, :].sum() + found[..., :1].sum() < 8, "nothing is cut off above or on the left"


def test_depth_maps_are_deep_and_near_is_white() -> None:
    for path in (path for path in PICTURES if path.stem.endswith("-depth")):
        field = read_depth(path)
        assert len(set(field.flatten().tolist())) > 5000
        assert field.min() < 0.001 and field.max() > 0.999
        assert field[..., -16:, :].mean() > field[..., :16, :].mean(), "the floor before the camera is near"


def test_the_script_draws_them_again(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLES / "make_drawings.py"))["main"](tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in DRAWINGS]
    for path in DRAWINGS:
        assert (images.read(tmp_path / path.name) - images.read(path)).abs().mean() < 0.005
