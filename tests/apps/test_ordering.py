"""`underdraw run`, and `generate` with a base, nets and LoRAs that lie on a shelf."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from underdraw import images
from underdraw.generation import Studio, read_drawing

from ..generation.shelf import Shelf, fill
from .conftest import Underdraw

EXAMPLE = Path(__file__).parents[2] / "examples" / "sd15" / "openpose.toml"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A narrow SD 1.5 and its nets, under the names that people's files have."""
    shelf = fill(tmp_path_factory.mktemp("models"), "sd1")
    shutil.move(shelf.file, shelf.root / "v1-5-pruned-emaonly.safetensors")
    shutil.copy(shelf.root / f"{shelf.nets[0]}.safetensors", shelf.root / "control_v11p_sd15_openpose.safetensors")
    return shelf


@pytest.fixture
def shelf(filled: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shelf:
    monkeypatch.setenv("UNDERDRAW_MODELS", str(filled.root))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return filled


def test_an_example_from_end_to_end(underdraw: Underdraw, shelf: Shelf) -> None:
    """The published names on a shelf; the picture carries a recipe that is drawn again without being told the base."""
    quick = ("steps=2", "size=[64, 64]")
    done = underdraw("run", EXAMPLE, *quick, "seed=3", "loras=['first:0.5']", "--device", "cpu", "--json")
    assert (done.code, done.err) == (0, "") and json.loads(done.out)["file"] == "openpose.png"
    drawing = read_drawing("openpose.png")
    assert (drawing.base, drawing.seed, drawing.steps) == ("sd15", 3, 2)
    assert drawing.controls[0].net == "lllyasviel/control_v11p_sd15_openpose"
    assert [lora.name for lora in drawing.loras] == ["first"]
    assert underdraw("generate", "--from", "openpose.png", "-o", "again.png").code == 0
    assert Path("again.png").read_bytes() == Path("openpose.png").read_bytes()
    assert underdraw("verify", "openpose.png").out.count("bit-exact") == 1


def test_generate_with_everything_by_name(underdraw: Underdraw, shelf: Shelf) -> None:
    images.write(torch.rand(1, 64, 64), "map.png")
    control = "canny=map.png,map,net=adapter,weight=0.8"
    options = ("--base", "stock", "--vae", "stock", "--size", "64x64", "--steps", 2, "--device", "cpu", "--seed", 1)
    done = underdraw("generate", "a cat <lora:second:0.4>", "--control", control, "--lora", "first:0.5", *options)
    assert (done.code, done.err) == (0, "")
    drawing = read_drawing("out.png")
    assert (drawing.base, drawing.prompt) == ("stock", "a cat") and drawing.vae is not None
    assert [lora.weight for lora in drawing.loras] == [0.5, 0.4]
    assert underdraw("verify", "out.png").out.count("bit-exact") == 1
    changed = underdraw("generate", "--from", "out.png", "--lora", "first:0.9", "-o", "b.png")
    assert changed.code == 0 and [lora.weight for lora in read_drawing("b.png").loras] == [0.9]
    assert not torch.equal(images.read("b.png"), images.read("out.png"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "x", "--lora", "gone"), "no lora is called 'gone'"),
        (("generate", "x", "--lora", "first:loud"), "'loud' is not a number"),
        (("generate", "x <lora:first:1:dyn=2>"), "changing the rank (dyn) is not supported"),
        (("generate", "x", "--vae", "gone"), "no vae is called 'gone'"),
        (("generate", "x", "--lora", "first", "--base", "embedded"), "can't change this base"),
        (("generate", "x", "--control", "canny=map.png,map,net=gone"), "no control is called 'gone'"),
        (("generate", "x", "--control", "softedge=map.png,map"), "say which: net=NAME"),
        (("generate", "x", "--offload"), "offload spares the memory of a GPU"),
        (("run", "gone.toml"), "cannot read recipe gone.toml"),
        (("run", EXAMPLE, "promt=x"), "unknown key 'promt'; did you mean 'prompt'"),
        (("run", EXAMPLE, "base=gone"), "no base is called 'gone'"),
    ],
)
def test_each_mistake_is_one_line(
    underdraw: Underdraw, shelf: Shelf, arguments: tuple[object, ...], words: str
) -> None:
    images.write(torch.rand(1, 64, 64), "map.png")
    base = () if "--base" in arguments or arguments[0] == "run" else ("--base", "stock", "--size", "64x64")
    done = underdraw(*arguments, *base, "--device", "cpu")
    assert done.code == 2 and done.out == "" and words in done.err and done.err.count("\n") == 1, done.err


def test_the_face_of_the_package(shelf: Shelf) -> None:
    studio = Studio.open("sd15", "cpu")
    assert studio.name == "sd15" and len(studio.hash) == 16
