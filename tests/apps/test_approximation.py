"""`--reuse`, `--preset quick` and `--measure` on the command line."""

import json
from pathlib import Path

import pytest

from underdraw.generation import Reuse, read_drawing

from .conftest import Underdraw


def test_the_error_of_what_is_approximate_is_told(underdraw: Underdraw, base: Path, photo: Path) -> None:
    """A line a picture, with differences and with obedience under its control."""
    shared = ("--control", f"canny={photo}", "--seed", 1, "--steps", 6, "--base", base, "--device", "cpu", "--measure")
    done = underdraw("generate", "x", *shared, "--reuse", "control=2,encoder=3", "--count", 2, "-o", "a.png", "--json")
    assert done.code == 0
    drawn, measured = (
        [json.loads(line) for line in lines] for lines in (done.out.splitlines()[:2], done.out.splitlines()[2:])
    )
    assert [facts["file"] for facts in measured] == [facts["file"] for facts in drawn] == ["a-0001.png", "a-0002.png"]
    for facts in measured:
        assert 0 < facts["mean"] <= facts["largest"] <= 255
        assert len(facts["obedience"]["canny F1 at 1 px"]) == 2
    assert read_drawing("a-0001.png").reuse == Reuse(control=2, encoder=3)

    done = underdraw("generate", "x", *shared, "--preset", "quick", "-o", "b.png")
    assert done.code == 0 and "largest difference" in done.out and "(without: " in done.out
    assert read_drawing("b.png").interval == (0.0, 0.8)
    done = underdraw("generate", "x", *shared, "-o", "c.png")
    assert done.code == 0 and "nothing in it is approximate" in done.err


def test_the_error_of_previews_and_of_8_bits_is_told(underdraw: Underdraw, base: Path) -> None:
    pytest.importorskip("openvino")
    shared = ("--seed", 1, "--steps", 1, "--base", base, "--device", "cpu", "--measure", "--json")
    done = underdraw("generate", "x", *shared, "--size", "160x160", "--preview", "seen.png", "-o", "a.png")
    facts = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and facts["largest"] == 0 and 0 < facts["preview"] < 128
    done = underdraw("generate", "x", *shared, "--backend", "openvino-int8", "-o", "b.png")
    facts = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and 0 < facts["mean"] < 8 and read_drawing("b.png").backend == "openvino-int8"


def test_what_cannot_be_meant_is_refused(underdraw: Underdraw, base: Path) -> None:
    for told, line in (
        (("--reuse", "control"), "--reuse 'control' is not PART=NUMBER"),
        (("--reuse", "decoder=2"), "decoder"),
        (("--reuse", "control=0.5"), "control"),
        (("--backend", "torhc"), "did you mean 'torch'"),
        (("--measure", "--grid", "seed=1,2"), "--measure compares single pictures"),
    ):
        done = underdraw("generate", "x", "--base", base, *told)
        assert done.code == 2 and line in done.err and len(done.err.splitlines()) == 1
