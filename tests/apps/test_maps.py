"""`underdraw extract` and `underdraw annotators`."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from underdraw import images
from underdraw.annotators import ANNOTATORS, extract, knobs
from underdraw.apps.values import parse_settings
from underdraw.errors import ConfigError

from .conftest import Underdraw


def test_extract_with_knobs(underdraw: Underdraw, photo: Path) -> None:
    done = underdraw("extract", "canny", photo, "-o", "edges.png", "--set", "low=10", "--set", "high=30", "--json")
    assert json.loads(done.out) == {"file": "edges.png", "kind": "canny", "width": 60, "height": 40}
    expected = extract("canny", images.read(photo), low=10, high=30)
    assert torch.equal(images.read("edges.png")[:, :1], expected) and 0 < expected.mean() < 0.5


def test_settings_are_toml_and_words() -> None:
    assert parse_settings(["a=1", "b = true", "c=0.5", "d=fine", "e='x'"]) == {
        "a": 1,
        "b": True,
        "c": 0.5,
        "d": "fine",
        "e": "x",
    }
    assert parse_settings(["model=./some folder-2"]) == {"model": "./some folder-2"}
    for wrong in ("a", "=1", "a=[", "a=b]"):
        with pytest.raises(ConfigError, match="is not KNOB=VALUE"):
            parse_settings([wrong])


@pytest.fixture
def folder(tmp_path: Path, photo: Path) -> Path:
    """Two pictures, one of them in a folder of its own, and a file that only claims to be one."""
    place = tmp_path / "photos"
    (place / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.png"):
        (place / name).write_bytes(photo.read_bytes())
    (place / "broken.jpg").write_text("not a picture")
    return place


def test_a_folder_with_a_bad_picture_goes_on_and_says_so(underdraw: Underdraw, folder: Path) -> None:
    done = underdraw("extract", "canny", folder, "-o", "maps", "--workers", 1)
    assert done.code == 2
    assert "2 maps of canny, 0 kept, 1 failed" in done.out and "broken.jpg is not a picture" in done.err
    assert sorted(str(path) for path in Path("maps").rglob("*.*")) == [
        "maps/a.png",
        "maps/failures.txt",
        "maps/more/b.png",
    ]
    assert "broken.jpg" in Path("maps/failures.txt").read_text()
    (folder / "broken.jpg").unlink()
    done = underdraw("extract", "canny", folder, "-o", "maps", "--workers", 1)
    assert done.code == 0 and "0 maps of canny, 2 kept, 0 failed" in done.out
    assert not Path("maps/failures.txt").exists()


def test_a_folder_as_json(underdraw: Underdraw, folder: Path) -> None:
    lines = [json.loads(line) for line in underdraw("extract", "canny", folder, "-o", "m", "--json").out.splitlines()]
    assert [Path(line["source"]).name for line in lines] == ["a.png", "broken.jpg", "b.png"]
    assert [bool(line["error"]) for line in lines] == [False, True, False]


def test_all_kinds_on_one_sheet(underdraw: Underdraw, photo: Path) -> None:
    done = underdraw("extract", "all", photo, "-o", "sheet.png")
    assert done.code == 0 and "canny" in ANNOTATORS
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 2 * 256
    assert f"{len(ANNOTATORS)} kinds" not in done.out and "for other sources" in done.out
    assert "one kind" in underdraw("extract", "all", photo, "-o", "sheet.png", "--set", "low=1").err


def test_all_annotators_are_told(underdraw: Underdraw) -> None:
    lines = underdraw("annotators").out.splitlines()
    assert [line.split()[0] for line in lines] == ANNOTATORS.names()
    told = json.loads(underdraw("annotators", "canny", "--json").out)
    assert [knob["name"] for knob in told["knobs"]] == list(knobs(ANNOTATORS["canny"]))
    shown = underdraw("annotators", "canny").out
    assert "Canny 1986" in shown and "0…255" in shown
    assert "did you mean 'canny'" in underdraw("annotators", "cany").err


def test_check_names_faults_and_repairs_what_it_safely_can(underdraw: Underdraw, photo: Path) -> None:
    assert underdraw("extract", "canny", photo, "-o", "edges.png").code == 0
    done = underdraw("check", "edges.png", "--kind", "canny", "--like", photo)
    assert (done.code, done.out) == (0, "edges.png  no fault found\n")
    edges = images.read("edges.png")
    images.write(1 - edges, "ink.png")
    done = underdraw("check", "ink.png", "--kind", "canny", "--json")
    told = json.loads(done.out)
    assert done.code == 2 and [fault["name"] for fault in told["faults"]] == ["inverted"]
    assert told["faults"][0]["remedy"] == "invert it" and told["faults"][0]["safe"]
    done = underdraw("check", "ink.png", "--kind", "canny", "-o", "mended.png")
    assert done.code == 0 and "dark lines on a light ground" in done.out
    assert torch.equal(images.read("mended.png"), edges)


def test_check_of_a_folder_and_of_what_is_no_map(underdraw: Underdraw, photo: Path) -> None:
    Path("maps").mkdir()
    underdraw("extract", "canny", photo, "-o", "maps/a.png")
    Path("maps/b.png").write_text("no picture")
    done = underdraw("check", "maps", "--kind", "canny")
    assert done.code == 2 and "a.png  no fault found" in done.out and "b.png is not a picture" in done.err
    assert "repair them one by one" in underdraw("check", "maps", "--kind", "canny", "-o", "x.png").err
    assert "did you mean 'canny'" in underdraw("check", "maps/a.png", "--kind", "cany").err
