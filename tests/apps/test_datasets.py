"""`underdraw prepare` and `underdraw audit`."""

import json
from pathlib import Path

import pytest
import torch

from underdraw.data.shards import ShardSet

from ..data.conftest import LABELS, blocks, labels, save
from .conftest import Underdraw
from .test_mistakes import refused

ONE = ("--workers", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures in two shapes with captions and label maps, and one that is none."""
    for number in range(12):
        size = ((160, 120), (120, 160))[number % 2]
        path = save(blocks(number, *size), tmp_path / "photos" / "images" / f"blue-blocks-{number:02}.png")
        path.with_suffix(".txt").write_text(f"blocks number {number}", encoding="utf-8")
        save(labels(number, *size), tmp_path / "photos" / "segmentation" / path.name)
    (tmp_path / "photos" / "images" / "broken.jpg").write_text("none")
    return tmp_path / "photos"


def test_prepare(underdraw: Underdraw, folder: Path) -> None:
    wish = (
        "prepare",
        folder,
        "-o",
        "data",
        "--size",
        64,
        "--step",
        16,
        "--annotator",
        "canny",
        "--set",
        "canny.low=40",
    )
    done = underdraw(*wish, "--draws", 2, "--captions", "a drawing of {name}: {text}", *ONE, "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert (told["samples"], told["left_out"]) == (12, 1) and told["rate"] > 0
    assert told["kinds"]["canny"]["draws"] == 2 and len(told["buckets"]) == 2
    assert "13 pictures with segmentation" in done.err
    assert "1 × picture cannot be read, left out (first images/broken.jpg" in done.err
    found = ShardSet.load(["data"], kinds=["canny", "segmentation"])
    assert found.texts[3] == ["a drawing of blue blocks: blocks number 3"]
    assert found.attributes[3]["underdraw"]["maps"]["canny"][0]["low"] == 40
    assert found.map("segmentation", torch.tensor([0])).shape[1] == 3
    again = underdraw(*wish, "--draws", 2, "--captions", "a drawing of {name}: {text}", *ONE)
    assert again.code == 0 and "12 pictures, 1 left out (see data/quarantine.jsonl)" in again.out
    assert "ready before" in again.out


def test_prepare_squares_from_maps_elsewhere(underdraw: Underdraw, folder: Path) -> None:
    (folder / "segmentation").rename(folder.parent / "parts")
    shape = ("--size", "96x64", "--step", 32, "--no-bucket")
    assert underdraw("prepare", folder, "-o", "data", *shape, "--map", "labels=parts", *ONE).code == 0
    found = ShardSet.load(["data"], kinds=["labels"])
    assert found.sizes == ((96, 64),) and len(found.gathered()) == 12
    colours = (found.map("labels", torch.arange(12)) * 255).round().long().permute(0, 2, 3, 1).reshape(-1, 3)
    assert {tuple(colour) for colour in colours.unique(dim=0).tolist()} <= set(LABELS)


def test_audit(underdraw: Underdraw, folder: Path) -> None:
    (folder / "images" / "broken.jpg").unlink()
    done = underdraw("audit", folder, *ONE)
    assert done.code == 0 and "12 samples, 0 with faults; see photos-audit/report.html" in done.out
    (folder / "images" / "blue-blocks-03.txt").write_text(" ")
    save(labels(3, 160, 160), folder / "segmentation" / "blue-blocks-05.png")
    done = underdraw("audit", folder, "-o", "looked", *ONE, "--json")
    assert done.code == 2
    told = json.loads(done.out)
    assert told["faulty samples"] == 2 and told["folder"] == "looked"
    assert told["findings"][0].startswith("fault  1 × caption is empty (first images/blue-blocks-03.png")
    lines = [json.loads(line) for line in Path("looked/findings.jsonl").read_text().splitlines()]
    assert {line["check"] for line in lines} == {"caption is empty", "map has other proportions"}
    page = Path("looked/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3 and "1 × caption is empty" in page and "http" not in page
    assert {path.name for path in Path("looked").iterdir()} == {
        "findings.jsonl",
        "report.html",
        "pairs.png",
        "finding-01.png",
        "finding-02.png",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gone",), ("there is no gone",)),
        (("someone/pictures",), ("--download",)),
        (("photos", "--size", "100"), ("size 100×100 is not a multiple of 64", "--step")),
        (("photos", "--size", "big"), ("size 'big'",)),
        (("photos", "--step", 7), ("step", "got 7")),
        (("photos", "--watch", 1.5), ("watch", "1.5")),
        (("photos", "--format", "gif"), ("form", "gif")),
        (("photos", "--duplicates", "maybe"), ("duplicates", "maybe")),
        (("photos", "--annotator", "cany"), ("unknown annotator 'cany'", "did you mean 'canny'")),
        (("photos", "--annotator", "canny", "--set", "canny.lwo=3"), ("no knob 'lwo'", "did you mean 'low'")),
        (("photos", "--set", "canny.low=3"), ("--set 'canny.low=3'", "there is none")),
        (("photos", "--map", "depth"), ("--map 'depth' is not KIND=WHERE",)),
        (("photos", "--captioner", "someone/model"), ("someone/model", "--download")),
        (("photos", "-o", "photos/images/broken.jpg"), ("broken.jpg is a file",)),
    ],
)
def test_bad_wishes(underdraw: Underdraw, folder: Path, arguments: tuple[object, ...], words: tuple[str, ...]) -> None:
    last = [] if "-o" in arguments else ["-o", "data"]
    done = underdraw("prepare", *arguments, *last, *ONE)
    refused(type(done)(done.code, done.out, done.err.splitlines()[-1]), *words)
    assert not Path("data").exists()
