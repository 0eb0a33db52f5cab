import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from underdraw import images
from underdraw.annotators import build, extract
from underdraw.annotators.folders import annotate_file, annotate_folder, sources
from underdraw.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven pictures of noise blocks, of odd sizes."""
    place = tmp_path / "pictures"
    (place / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(7):
        blocks = rng.integers(0, 255, (5, 4 + number, 3), dtype=np.uint8).repeat(9, 0).repeat(7, 1)
        Image.fromarray(blocks).save(place / ("deep" if number % 2 else ".") / f"{number}.png")
    return place


def test_maps_lie_where_their_pictures_lie(folder: Path, tmp_path: Path) -> None:
    look = build("canny", {"low": 50})
    outcomes = list(annotate_folder(look, folder, tmp_path / "maps"))
    assert [outcome.source for outcome in outcomes] == sources(look, folder) and len(outcomes) == 7
    for outcome in outcomes:
        assert not outcome.error and not outcome.kept
        assert outcome.target.relative_to(tmp_path / "maps") == outcome.source.relative_to(folder)
        found = images.read(outcome.target)[:, :1]
        assert torch.equal(found, extract("canny", images.read(outcome.source), low=50))
    text = json.loads(images.read_text(outcomes[0].target)["annotator"])
    assert text["kind"] == "canny" and text["settings"]["low"] == 50


def test_several_workers_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    look = build("canny")
    alone = list(annotate_folder(look, folder, tmp_path / "one", (40, 24)))
    together = list(annotate_folder(look, folder, tmp_path / "two", (40, 24), workers=2))
    assert [one.target.read_bytes() for one in alone] == [two.target.read_bytes() for two in together]


def test_what_is_there_is_kept_while_it_is_what_was_asked_for(folder: Path, tmp_path: Path) -> None:
    def kept(**knobs: int) -> int:
        return sum(outcome.kept for outcome in annotate_folder(build("canny", knobs), folder, tmp_path / "maps"))

    assert (kept(), kept(), kept(low=20), kept()) == (0, 7, 0, 0)
    (tmp_path / "maps" / "0.png").write_bytes(b"cut off")
    newer = (tmp_path / "maps" / "2.png").stat().st_mtime + 10
    os.utime(folder / "2.png", (newer, newer))
    assert kept() == 5
    assert images.read(tmp_path / "maps" / "0.png").shape[1] == 3


def test_two_pictures_for_one_map_are_refused_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    Image.open(folder / "0.png").save(folder / "0.webp")
    outcomes = list(annotate_folder(build("canny"), folder, tmp_path / "maps"))
    assert sum(bool(outcome.error) for outcome in outcomes) == 2
    assert "rename one of them" in outcomes[0].error and len(outcomes) == 8


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder of the pictures"):
        list(annotate_folder(build("canny"), folder, folder))
    with pytest.raises(InputError, match="the picture itself"):
        annotate_file(build("canny"), folder / "0.png", folder / "0.png")
    inside = list(annotate_folder(build("canny"), folder, folder / "maps"))
    assert len(inside) == 7 and len(list(annotate_folder(build("canny"), folder, folder / "maps"))) == 7


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="holds nothing that canny reads"):
        list(annotate_folder(build("canny"), tmp_path, tmp_path / "maps"))
    with pytest.raises(InputError, match="is not a folder"):
        sources(build("canny"), tmp_path / "missing")
    (tmp_path / ".hidden").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / ".hidden" / "a.png")
    with pytest.raises(InputError, match="holds nothing"):
        sources(build("canny"), tmp_path)
