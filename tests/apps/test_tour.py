"""`underdraw demo`."""

import json
from pathlib import Path

import pytest

from underdraw import images
from underdraw.apps import tour

from .conftest import Underdraw
from .test_mistakes import refused


def test_the_demo(underdraw: Underdraw, base: Path) -> None:
    """Every picture that it names is there; the figures are those of the sheet's cells."""
    done = underdraw("demo", "--base", base, "--steps", 1, "-o", "shown", "--json", "--device", "cpu")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["file"] == "shown/demo.png" and 0 <= facts["without"] <= 1 and 0 <= facts["with"] <= 1
    assert "drawing 60 pictures of 32×32 in 1 steps: 12 maps" in done.err
    sheet = images.read("shown/demo.png")
    assert sheet.shape[-1] > 7 * 100 and sheet.shape[-2] > 12 * 100


def test_without_the_repository(
    underdraw: Underdraw, base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tour, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    refused(underdraw("demo", "--base", base), "examples/pictures, which are not here")
    assert not list(tmp_path.iterdir())
