"""`underdraw generate`."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from underdraw import images
from underdraw.generation import Studio, read_drawing, write_drawing

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


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted([*folder.glob("*.png"), *folder.glob("*.webp")]):
        with Image.open(path) as picture:
            found[path.name] = picture.size
    return found


def test_a_picture_to_start_from(underdraw: Underdraw, base: Path, photo: Path) -> None:
    """A large one is drawn at the size of the base, and that is told; little strength keeps more of it."""
    shared = ("--image", photo, "--base", base, "--steps", 5, "--seed", 1, "-o", "a.png", "--device", "cpu")
    done = underdraw("generate", "x", *shared, "--strength", 0.3)
    assert done.code == 0 and done.err == "underdraw: the picture of 60x40 is drawn at 40x24; --size says otherwise\n"
    given, little = read_drawing("a.png").given, images.read("a.png")
    assert given is not None and (given.strength, given.source) == (0.3, "photo.png")
    assert underdraw("generate", "x", *shared, "--size", "40x24").err == ""
    assert read_drawing("a.png").given == given.model_copy(update={"strength": 0.75})
    assert not torch.equal(images.read("a.png"), little)


def test_inpainting_leaves_the_rest(underdraw: Underdraw, base: Path, tmp_path: Path) -> None:
    picture = torch.rand(3, 32, 48)
    mask = torch.zeros(1, 32, 48)
    mask[:, 8:24, 8:30] = 1
    images.write(picture, "p.png")
    images.write(mask, "m.png")
    shared = ("--image", "p.png", "--inpaint", "m.png", "--control", "canny=p.png", "--base", base, *QUICK)
    assert underdraw("generate", "x", *shared, "-o", "a.webp").code == 0
    outside = (mask == 0).expand(3, -1, -1)
    assert torch.equal(images.read("a.webp")[0][outside], images.read("p.png")[0][outside])
    assert not torch.equal(images.read("a.webp")[0][~outside], images.read("p.png")[0][~outside])


def test_only_what_is_masked(underdraw: Underdraw, base: Path) -> None:
    """Drawn at the size of the base, put back into a larger picture; and drawn again from what that carries."""
    images.write(torch.rand(3, 60, 80), "p.png")
    mask = torch.zeros(1, 60, 80)
    mask[:, 20:32, 50:60] = 1
    images.write(mask, "m.png")
    shared = ("--image", "p.png", "--inpaint", "m.png", "--only-masked", 4, "--masked-content", "fill", "--base", base)
    done = underdraw("generate", "x", "--control", "canny=p.png", *shared, *QUICK, "-o", "a.png", "--seed", 1)
    assert (done.code, done.err) == (0, "") and done.out.startswith("a.png  seed 1  80×60")
    given = read_drawing("a.png").given
    assert given is not None and (given.box, given.content) == ((45, 16, 65, 36), "fill")
    outside = (mask == 0).expand(3, -1, -1)
    assert torch.equal(images.read("a.png")[0][outside], images.read("p.png")[0][outside])
    assert underdraw("verify", "a.png", "--base", base).out.startswith("a.png  bit-exact")
    done = underdraw("generate", "x", "--only-masked", 4, "--base", base, *QUICK)
    assert done.code == 2 and "--only-masked says what is done with a picture" in done.err


def test_beyond_the_edges(underdraw: Underdraw, base: Path) -> None:
    images.write(torch.rand(3, 32, 32), "p.png")
    done = underdraw(
        "generate", "x", "--image", "p.png", "--outpaint", "0,0,16,8", "--base", base, *QUICK, "-o", "a.png"
    )
    assert done.code == 0
    assert torch.equal(images.read("a.png")[..., :32, :32], images.read("p.png"))
    assert sizes(Path())["a.png"] == (48, 40)


def test_a_second_pass_and_windows(underdraw: Underdraw, base: Path, photo: Path) -> None:
    options = ("--hires", 2, "--hires-strength", 0.5, "--hires-steps", 4, "--tile", "auto", "--seed", 1)
    control = f"canny={photo},preset=guess mode"
    assert underdraw("generate", "x", "--control", control, *options, "--base", base, *QUICK, "-o", "a.png").code == 0
    assert sizes(Path())["a.png"] == (80, 48)
    drawing = read_drawing("a.png")
    assert drawing.tiling is not None and (drawing.tiling.width, drawing.tiling.height) == (32, 32)
    again = underdraw("generate", "--from", "a.png", "--base", base, "-o", "b.png")
    assert again.code == 0 and Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_settings_in_other_tools_words(underdraw: Underdraw, base: Path) -> None:
    options = ("--sampler", "dpmpp_2m_sde_karras", "--cfg", 3, "--variation", "7:0.25", "--interval", "0.2:0.8")
    done = underdraw("generate", "x", *options, "--rescale", 0.7, "--base", base, *QUICK, "-o", "a.png")
    assert done.code == 0
    drawing = read_drawing("a.png")
    assert (drawing.scheduler, drawing.guidance, drawing.rescale) == ("dpm++ 2m sde karras", 3, 0.7)
    assert drawing.variation is not None and (drawing.variation.seed, drawing.variation.strength) == (7, 0.25)
    assert drawing.interval == (0.2, 0.8)
    assert underdraw("generate", "x", "--preset", "lcm", "--base", base, "-o", "b.png").code == 0
    assert (read_drawing("b.png").scheduler, read_drawing("b.png").steps) == ("lcm", 6)


def test_a_grid(underdraw: Underdraw, base: Path, photo: Path) -> None:
    """The sheet, and each picture with its recipe."""
    axes = ("--grid", "weight=0,1,2", "--grid", "prompt=a cat,a fish")
    done = underdraw("generate", "--control", f"canny={photo}", *axes, "--base", base, *QUICK, "-o", "g.png", "--json")
    assert done.code == 0
    facts = [json.loads(line) for line in done.out.splitlines()]
    assert [fact["file"] for fact in facts] == [*(f"g-000{number}.png" for number in range(1, 7)), "g.png"]
    assert [fact["prompt"] for fact in facts[:-1]] == ["a cat"] * 3 + ["a fish"] * 3
    assert sizes(Path())["g.png"][0] > 3 * 96 and read_drawing("g-0006.png").controls[0].weight == 2


def test_a_preview_is_kept(underdraw: Underdraw, base: Path) -> None:
    done = underdraw("generate", "x", "--count", 2, "--preview", "now.png", "--base", base, *QUICK, "-o", "a.png")
    assert done.code == 0 and sizes(Path())["now.png"] == (64, 32)


def test_verify(underdraw: Underdraw, base: Path, photo: Path) -> None:
    """Bit-exact, or altered and exit code 1."""
    control = f"canny={photo}"
    assert (
        underdraw("generate", "x", "--control", control, "--count", 2, "--base", base, *QUICK, "-o", "a.png").code == 0
    )
    done = underdraw("verify", "a-0001.png", "a-0002.png", "--base", base)
    assert done.code == 0 and done.out.count("bit-exact") == 2
    picture = images.read("a-0001.png")[0]
    picture[:, :5] = 1
    write_drawing(picture, read_drawing("a-0001.png"), Path("b.png"))
    done = underdraw("verify", "b.png", "--base", base, "--json")
    assert done.code == 1 and json.loads(done.out)["finding"] == "altered"
    refused = underdraw("verify", "photo.png", "--base", base)
    assert refused.code == 2 and "carries no underdraw recipe" in refused.err


def test_interrupted_it_writes_what_there_is(underdraw: Underdraw, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole files, a recipe that says so, exit code 130."""
    frames, seen = Studio.frames, []

    def until(self: Studio, drawings: Any) -> Any:
        for frame in frames(self, drawings):
            seen.append(frame)
            if len(seen) == 7:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(Studio, "frames", until)
    done = underdraw("generate", "x", "--count", 20, "--steps", 5, "--base", base, "-o", "a.png", "--device", "cpu")
    assert done.code == 130 and "stopped after 1 steps" in done.err
    assert len(sizes(Path())) == 20
    stopped = [read_drawing(f"a-{number:04d}.png").stopped for number in range(1, 21)]
    assert stopped == [0] * 16 + [1] * 4
    monkeypatch.setattr(Studio, "frames", frames)
    assert underdraw("verify", "a-0018.png", "--base", base).out.count("bit-exact") == 1


def test_short_of_memory(underdraw: Underdraw, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer at once, told in a line; one that does not fit is one line and exit code 2."""
    frames = Studio.frames

    def tight(self: Studio, drawings: Any) -> Any:
        if len(drawings) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return frames(self, drawings)

    monkeypatch.setattr(Studio, "frames", tight)
    done = underdraw("generate", "x", "--count", 4, "--base", base, *QUICK, "-o", "a.png")
    assert done.code == 0 and len(sizes(Path())) == 4
    assert done.err == "underdraw: 4 pictures at once are too many for the memory; trying fewer\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--strength", 0.5), "--strength says what is done with a picture"),
        (("--inpaint", "photo.png"), "give --image PICTURE"),
        (("--image", "photo.png", "--strength", 0), "strength"),
        (("--image", "photo.png", "--strength", 0.1), "leaves none to draw"),
        (("--image", "gone.png"), "cannot read gone.png"),
        (("--image", "photo.png", "--outpaint", "1,2"), "'1,2' is not L,T,R,B"),
        (("--image", "photo.png", "--outpaint", "-8"), "outpaint (-8, -8, -8, -8) makes no sense"),
        (("--variation", "7"), "is not SEED:STRENGTH"),
        (("--interval", "0.9:0.1"), "ends before it starts"),
        (("--hires", 0.5), "hires.scale"),
        (("--hires", 8, "--size", "4096x4096"), "too large"),
        (("--hires-upscaler", "magic", "--hires", 2), "hires.how"),
        (("--tile", "12"), "size '12'"),
        (("--preset", "fast"), "unknown preset 'fast'"),
        (("--grid", "wieght=1"), "did you mean 'weight'"),
        (("--grid", "weight=1", "--from", "photo.png"), "leave one of them out"),
        (("-o", "out.gif"), "must end with .png or .webp"),
        (("--control", "canny=photo.png,mask=gone.png"), "cannot read gone.png"),
        (("--control", "canny=photo.png,curve=1:2"), "has 2 numbers"),
    ],
)
def test_bad_wishes(underdraw: Underdraw, base: Path, photo: Path, arguments: tuple[object, ...], words: str) -> None:
    before = {path.name for path in Path().iterdir()}
    done = underdraw("generate", "x", *arguments, "--base", base, *QUICK)
    assert done.code == 2 and words in done.err.splitlines()[-1] and done.out == ""
    assert {path.name for path in Path().iterdir()} == before


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
