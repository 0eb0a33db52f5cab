"""`underdraw train` and `underdraw diffuse`."""

import json
import shutil
from pathlib import Path

import pytest
from diffusers import AutoencoderKL

from underdraw import images

from .conftest import Underdraw
from .test_mistakes import files, refused

RECIPE = """
output = "runs/vae"
steps = 2
batch = 4
threads = 1

[data]
folders = ["train", "watch"]

[learn]
task = "vae"
channels = [32, 32]
crop = 16
"""


@pytest.fixture
def recipe(underdraw: Underdraw, tmp_path: Path) -> Path:
    assert underdraw("scenes", 9, "-o", "train", "--size", "16x16", "--split", "train").code == 0
    assert underdraw("scenes", 9, "-o", "watch", "--size", "16x16", "--split", "watch").code == 0
    (tmp_path / "vae.toml").write_text(RECIPE)
    return tmp_path / "vae.toml"


def test_training_goes_on_where_it_stopped(underdraw: Underdraw, recipe: Path) -> None:
    done = underdraw("train", recipe, "optimizer.lr=1e-3", "--json")
    assert done.code == 0 and json.loads(done.out) == {"folder": "runs/vae/export", "step": 2, "steps": 2}
    AutoencoderKL.from_pretrained("runs/vae/export")
    done = underdraw("train", recipe, "optimizer.lr=1e-3", "steps=3")
    assert done.code == 0 and done.out.startswith("runs/vae/export  step 3 of 3")
    assert underdraw("train", recipe, "steps=1000000", "--minutes", 0.001).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("learn.chanels=[8]",), ("vae.toml", "chanels", "did you mean 'channels'")),
        (("stpes=3",), ("unknown key 'stpes'", "did you mean 'steps'")),
        (("steps=0",), ("steps", "got 0")),
        (("steps",), ("'steps' is not an override",)),
        (("optimizer.lr=nan",), ("optimizer.lr", "nan")),
        (("data.folders=['nowhere']",), ("nowhere is not an image folder",)),
        (("--minutes", "nan"), ("minutes = nan",)),
        (("--minutes", 0), ("minutes = 0",)),
    ],
)
def test_bad_recipes(
    underdraw: Underdraw, arguments: tuple[object, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "vae.toml").write_text(RECIPE)
    done = underdraw("train", tmp_path / "vae.toml", *arguments)
    assert done.code == 2 and all(word in done.err.splitlines()[-1] for word in words), done.err
    assert files(tmp_path) == {"vae.toml"}


def test_no_recipe(underdraw: Underdraw, tmp_path: Path) -> None:
    refused(underdraw("train", "gone.toml"), "cannot read recipe gone.toml")
    (tmp_path / "bad.toml").write_text("steps = ")
    refused(underdraw("train", "bad.toml"), "bad.toml is not TOML")


def test_a_broken_checkpoint(underdraw: Underdraw, recipe: Path) -> None:
    assert underdraw("train", recipe).code == 0
    shutil.rmtree("runs/vae/export")
    (checkpoint,) = Path("runs/vae/checkpoints").iterdir()
    (checkpoint / "model.safetensors").write_bytes(b"short")
    done = underdraw("train", recipe, "steps=3")
    assert done.code == 2 and "model.safetensors" in done.err.splitlines()[-1]
    assert not Path("runs/vae/export").exists()


def test_diffuse(underdraw: Underdraw, base: Path, photo: Path) -> None:
    done = underdraw(
        "diffuse", photo, "-o", "sheet.png", "--base", base, "--steps", 8, "--prompt", "红色蘑菇", "--device", "cpu"
    )
    assert (done.code, done.err) == (0, "") and done.out == "sheet.png  40×24, 8 steps back\n"
    assert images.read("sheet.png").shape[-1] > 8 * 100
    refused(underdraw("diffuse", photo, "-o", "b.png", "--base", base, "--steps", 2), "steps = 2 are too few")
    refused(underdraw("diffuse", photo, "-o", "b.png", "--base", base, "--seed", 2**64), "seed")
