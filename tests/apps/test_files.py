"""`underdraw inspect`, `convert`, `models`, `doctor`: what a person sees of files, and one line where one is bad."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import underdraw as package
from underdraw.formats.conditions import About
from underdraw.formats.control_writing import write_control_file
from underdraw.formats.controls import control_parts

from ..formats.tiny import control, unet
from .conftest import Underdraw


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nets") / "net.safetensors"
    write_control_file(control_parts(control(unet("sd1")), About(("canny",), annotator={"low": 60})), path)
    return path


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


def test_inspect(underdraw: Underdraw, net: Path) -> None:
    done = underdraw("inspect", net)
    assert done.code == 0
    words = (
        "controlnet",
        "original",
        "float32",
        "hint channels    3",
        "conditions: canny",
        "can become",
        "control-lora",
    )
    assert all(word in done.out for word in words), done.out
    facts = json.loads(underdraw("inspect", net, "--json").out)
    assert (facts["kind"], facts["layout"], facts["becomes"]) == (
        "controlnet",
        "original",
        ["original", "diffusers", "control-lora"],
    )


def test_inspect_says_what_a_stranger_is(underdraw: Underdraw, tmp_path: Path) -> None:
    save_file({"double_blocks.0.x": torch.ones(1)}, tmp_path / "flux.safetensors")
    done = underdraw("inspect", "flux.safetensors")
    assert done.code == 0 and "for Flux, a diffusion transformer" in done.out


def test_inspect_of_the_embedded_base(underdraw: Underdraw) -> None:
    folder = Path(package.__file__).parent / "embedded"
    assert "input channels" in underdraw("inspect", folder).out
    assert json.loads(underdraw("inspect", folder, "--json").out)["kind"] == "base"


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x00" * 100])
def test_a_bad_file_is_one_line(underdraw: Underdraw, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.safetensors").write_bytes(content)
    for words in (("inspect", "bad.safetensors"), ("convert", "bad.safetensors", "out", "--to", "diffusers")):
        done = underdraw(*words)
        assert (done.code, done.out) == (2, "")
        (line,) = done.err.splitlines()
        assert line.startswith("underdraw: ") and "bad.safetensors" in line


def test_convert(underdraw: Underdraw, net: Path) -> None:
    done = underdraw("convert", net, "folder", "--to", "diffusers")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("folder  controlnet → diffusers\n") and "for canny: a condition map" in done.out
    told = json.loads(
        underdraw("convert", "folder", "half.safetensors", "--to", "original", "--dtype", "fp16", "--json").out
    )
    assert (told["file"], told["kind"], told["to"]) == ("half.safetensors", "controlnet", "original")
    assert {each.dtype for each in load_file("half.safetensors").values()} == {torch.float16}


def test_convert_refuses(underdraw: Underdraw, net: Path) -> None:
    for words, reason in (
        (("--to", "kohya"), "it can become original, diffusers, control-lora, not kohya"),
        (("--to", "original", "--dtype", "fp8"), "unknown dtype 'fp8'"),
        (("--to", "control-lora"), "--base NAME"),
        (("--to", "original", "--lora", "nowhere:1"), "no lora is called 'nowhere'"),
    ):
        done = underdraw("convert", net, "out.safetensors", *words)
        assert done.code == 2 and reason in done.err
    assert not Path("out.safetensors").exists()


def test_models(underdraw: Underdraw, net: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "models" / "models" / "ControlNet"
    shelf.mkdir(parents=True)
    (tmp_path / "models" / "models" / "Stable-diffusion").mkdir()
    (shelf / "mine.safetensors").symlink_to(net)
    (shelf / "broken.safetensors").write_bytes(b"x")
    done = underdraw("models")
    rows = {line.split()[0]: line.split()[1] for line in done.out.splitlines() if line.endswith("GB")}
    assert rows == {"embedded": "base", "mine.safetensors": "controlnet", "broken.safetensors": "unreadable"}
    assert str(tmp_path / "models") in done.out
    listed = [json.loads(line) for line in underdraw("models", "--json").out.splitlines()]
    assert {each["name"] for each in listed} == set(rows)
    assert "not a file of weights" in next(each["error"] for each in listed if each["kind"] == "unreadable")


def test_doctor(underdraw: Underdraw, tmp_path: Path) -> None:
    done = underdraw("doctor")
    assert done.code == 0
    words = (package.__version__, "torch 2", "cpu (", "GiB", "stickers", "embedded base", str(tmp_path / "cache"))
    assert all(word in done.out for word in words), done.out
    told = json.loads(underdraw("doctor", "--json").out)
    assert told["underdraw"] == package.__version__
    assert told["folder of models"].endswith("which is not there yet (UNDERDRAW_MODELS is set)")
