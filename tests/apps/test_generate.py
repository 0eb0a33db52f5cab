"""`underdraw generate`."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from underdraw import images
from underdraw.generation import read_drawing

from .conftest import Underdraw

WEIGHTS = "diffusion_pytorch_model.safetensors"
QUICK = ("--steps", 2, "--device", "cpu")


def test_a_controlled_picture(underdraw: Underdraw, base: Path, photo: Path) -> None:
    done = underdraw(
        "generate",
        "红色蘑菇",
        "--control",
        f"canny={photo},weight=0.8",
        "-o",
        "out.png",
        "--base",
        base,
        "--seed",
        3,
        *QUICK,
    )
    assert (done.code, done.err) == (0, "") and done.out.startswith("out.png  seed 3  40×24")
    drawing = read_drawing("out.png")
    assert (drawing.prompt, drawing.seed, drawing.steps, drawing.base) == ("红色蘑菇", 3, 2, "tiny")
    assert drawing.controls[0].source == "photo.png" and drawing.controls[0].weight == 0.8
    with Image.open("out.png") as picture:
        assert picture.size == (40, 24)
        assert picture.info["parameters"].startswith("红色蘑菇\nSteps: 2, Sampler: DPM++ 2M, CFG scale: 4, Seed: 3")


def test_a_map_is_taken_as_it_is(underdraw: Underdraw, base: Path, photo: Path, tmp_path: Path) -> None:
    """Extracting first and drawing from the map is the same picture as drawing from the photograph."""
    shared = ("--seed", 1, "--size", "40x24", "--base", base, *QUICK)
    assert underdraw("extract", "canny", photo, "-o", "edges.png", "--size", "40x24").code == 0
    assert underdraw("generate", "x", "--control", "canny=edges.png,map", "-o", "a.png", *shared).code == 0
    assert underdraw("generate", "x", "--control", f"canny={photo}", "-o", "b.png", *shared).code == 0
    assert torch.equal(images.read("a.png"), images.read("b.png"))
    assert underdraw("generate", "x", "-o", "c.png", *shared).code == 0
    assert not torch.equal(images.read("a.png"), images.read("c.png"))


@pytest.mark.parametrize("scheduler", ["ddim", "euler a"])
def test_drawn_again_to_the_byte(underdraw: Underdraw, base: Path, photo: Path, scheduler: str) -> None:
    """Also the third of four that were drawn together, and after the photograph is gone."""
    shared = ("--scheduler", scheduler, "--negative", "blue", "--guidance", 3, "--count", 4)
    control = f"canny={photo},end=0.6"
    assert underdraw("generate", "x", "--control", control, *shared, "--base", base, *QUICK).code == 0
    photo.unlink()
    done = underdraw("generate", "--from", "out-0003.png", "--base", base, "-o", "again.png")
    assert (done.code, done.err) == (0, "")
    assert Path("again.png").read_bytes() == Path("out-0003.png").read_bytes()


def test_what_is_said_changes_a_recipe(underdraw: Underdraw, base: Path, photo: Path) -> None:
    underdraw("generate", "x", "--control", f"canny={photo}", "--seed", 1, "-o", "a.png", "--base", base, *QUICK)
    done = underdraw("generate", "--from", "a.png", "a cat", "--base", base, "-o", "b.png", "--count", 2, "--json")
    assert done.code == 0
    facts = [json.loads(line) for line in done.out.splitlines()]
    assert [fact["file"] for fact in facts] == ["b-0001.png", "b-0002.png"]
    assert [(fact["prompt"], fact["seed"], fact["steps"]) for fact in facts] == [("a cat", 1, 2), ("a cat", 2, 2)]
    assert facts[0]["controls"][0]["kind"] == "canny" and "map" not in facts[0]["controls"][0]


def test_a_file_of_prompts(underdraw: Underdraw, base: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n\n  红色的鱼 \n", encoding="utf-8-sig")
    done = underdraw(
        "generate", "--prompts", "prompts.txt", "--count", 2, "--base", base, "--json", "--seed", 5, *QUICK
    )
    told = [(fact["prompt"], fact["seed"]) for fact in map(json.loads, done.out.splitlines())]
    assert told == [("a cat", 5), ("a cat", 6), ("红色的鱼", 5), ("红色的鱼", 6)]
    assert sorted(path.name for path in tmp_path.glob("out*")) == [f"out-000{number}.png" for number in (1, 2, 3, 4)]


def test_nothing_is_overwritten_unasked(underdraw: Underdraw, base: Path) -> None:
    for expected in ("out.png", "out-0002.png", "out-0003.png"):
        assert underdraw("generate", "x", "--base", base, *QUICK).out.startswith(f"{expected} ")


def test_odd_sizes_are_rounded_and_told(underdraw: Underdraw, base: Path) -> None:
    done = underdraw("generate", "x", "--size", "33x45", "--base", base, *QUICK)
    assert done.code == 0 and "size 33x45 becomes 32x48: multiples of 8" in done.err
    assert read_drawing("out.png").size == (32, 48)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(underdraw: Underdraw, base: Path, photo: Path, dtype: str) -> None:
    """Nearly the same picture; its recipe says so, and draws it again in the same precision."""
    shared = ("x", "--control", f"canny={photo}", "--seed", 1, "--base", base, *QUICK)
    for name, other in (("whole.png", "float32"), ("half.png", dtype)):
        assert underdraw("generate", *shared, "-o", name, "--dtype", other).code == 0
    assert 0 < (images.read("whole.png") - images.read("half.png")).abs().mean() < 0.02
    assert read_drawing("half.png").dtype == dtype
    assert underdraw("generate", "--from", "half.png", "-o", "again.png", "--base", base).code == 0
    assert Path("again.png").read_bytes() == Path("half.png").read_bytes()


def everything(terminal: int) -> str:
    """What was written to a terminal whose other end is closed."""
    chunks = []
    with contextlib.suppress(OSError):  # Linux says so at the end
        while chunk := os.read(terminal, 10_000):
            chunks.append(chunk)
    os.close(terminal)
    return b"".join(chunks).decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_results_go_to_the_pipe_and_the_bar_to_the_terminal(base: Path, tmp_path: Path) -> None:
    """Also with a prompt that looks like the markup of the terminal library."""
    parent, child = os.openpty()
    command = [sys.executable, "-m", "underdraw.apps.cli", "generate", "[/red] fish", "--json", "--count", "2"]
    command += ["--base", str(base), *map(str, QUICK)]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=child, text=True, check=False)
    os.close(child)
    shown = everything(parent)
    assert done.returncode == 0, shown
    assert [json.loads(line)["prompt"] for line in done.stdout.splitlines()] == ["[/red] fish"] * 2
    assert "drawing" in shown and "[/red] fish" in shown and '"prompt"' not in shown


def test_a_recipe_needs_its_base(underdraw: Underdraw, base: Path, tmp_path: Path) -> None:
    underdraw("generate", "x", "-o", "a.png", "--base", base, *QUICK)
    done = underdraw("generate", "--from", "a.png", "-o", "b.png")
    assert done.code == 2 and "was drawn with base 'tiny', hash" in done.err and "--base" in done.err


def test_other_weights_are_noticed(underdraw: Underdraw, base: Path, photo: Path, tmp_path: Path) -> None:
    """A recipe is only drawn with weights that are not its own if a person says which."""
    other = shutil.copytree(base, tmp_path / "other")
    shutil.copy(other / "controlnet-depth" / WEIGHTS, other / "controlnet-canny" / WEIGHTS)
    control = f"canny={photo}"
    assert underdraw("generate", "x", "--control", control, "-o", "a.png", "--base", base, *QUICK).code == 0
    again = underdraw("generate", "--from", "a.png", "--base", other, "-o", "b.png")
    assert again.code == 0 and "canny" in again.err and "other weights" in again.err
    first, second = read_drawing("a.png"), read_drawing("b.png")
    assert first.controls[0].net_hash != second.controls[0].net_hash
    assert (second.base, second.base_hash) == ("other", first.base_hash)
    assert not torch.equal(images.read("a.png"), images.read("b.png"))
