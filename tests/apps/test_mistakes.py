"""Bad input gives one clear line and exit code 2: no traceback, no half-written file."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from underdraw import images
from underdraw.generation import Studio

from .conftest import Done, Underdraw

QUICK = ("--steps", 2, "--device", "cpu")


def refused(done: Done, *words: str) -> None:
    assert done.code == 2 and done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("underdraw: ") and all(word in line for word in words), line


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


BAD_PICTURES = {
    "text.png": "is not a picture",
    "dot.png": "both sides must be at least 8 pixels",
    "vast.png": "at most 100,000,000 pixels are read; reduce it first",
    "cut.png": "is not a picture that can be read",
    "gone.png": "No such file",
}


@pytest.fixture(scope="module")
def bad_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "text.png").write_text("a red mushroom")
    Image.new("L", (1, 1)).save(folder / "dot.png")
    Image.new("1", (20_000, 20_000)).save(folder / "vast.png")
    whole = images.encode_png(torch.rand(3, 64, 64))
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_bad_pictures(underdraw: Underdraw, base: Path, bad_pictures: Path, tmp_path: Path, name: str) -> None:
    for ending in ("", ",map"):
        control = f"canny={bad_pictures / name}{ending}"
        done = underdraw("generate", "x", "--control", control, "-o", "out.png", "--base", base, *QUICK)
        refused(done, name, BAD_PICTURES[name])
    refused(underdraw("extract", "canny", bad_pictures / name, "-o", "out.png"), name, BAD_PICTURES[name])
    refused(underdraw("diffuse", bad_pictures / name, "-o", "out.png", "--base", base), name, BAD_PICTURES[name])
    assert not files(tmp_path)


def odd_pictures(folder: Path) -> list[Path]:
    """Unusual pictures that can be used."""
    colours = np.random.default_rng(0).integers(0, 255, (24, 32, 4), dtype=np.uint8)
    Image.fromarray(colours, "RGBA").save(folder / "alpha.png")
    Image.fromarray(colours[..., :2].reshape(24, 64).astype(np.uint16) * 250).save(folder / "deep.png")
    Image.fromarray(colours, "CMYK").save(folder / "print.jpg")
    frames = [Image.fromarray(colours[..., :3]), Image.new("RGB", (32, 24))]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    return [folder / name for name in ("alpha.png", "deep.png", "print.jpg", "moving.gif")]


def test_odd_pictures_are_used(underdraw: Underdraw, base: Path, tmp_path: Path) -> None:
    """Transparency lies on white, 16 bits keep their range, CMYK becomes RGB, of an animation the first frame."""
    for path in odd_pictures(tmp_path):
        done = underdraw("extract", "canny", path, "-o", "map.png", "--set", "low=20", "--set", "high=60")
        assert (done.code, done.err) == (0, ""), path
        assert 0 < images.read("map.png").mean() < 1, path
    done = underdraw("generate", "x", "--control", f"canny={tmp_path / 'alpha.png'}", "--base", base, *QUICK)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x", "--control", "softedge=photo.png"), ("no ControlNet for 'softedge'", "canny, depth")),
        (("x", "--control", "sofedge=photo.png"), ("unknown annotator 'sofedge'", "did you mean 'softedge'")),
        (("x", "--control", "canny=photo.png,weight=nan"), ("weight=nan",)),
        (("x", "--control", "canny=photo.png,start=0.9,end=0.1"), ("start=0.9 and end=0.1",)),
        (("x", "--control", "canny=photo.png,wieght=1"), ("unknown part 'wieght=1'", "did you mean 'weight'")),
        (("x", "--control", "depth=photo.png"), ("depth", "map")),
        (("x", "--steps", 0), ("steps", "got 0")),
        (("x", "--steps", 5000), ("steps = 5000", "from 1 to 1000")),
        (("x", "--steps", "many"), ("--steps", "valid integer")),
        (("x", "--guidance", "nan"), ("guidance", "nan")),
        (("x", "--guidance", -1), ("guidance", "-1")),
        (("x", "--count", 0), ("count = 0",)),
        (("x", "--count", 10**9), ("count = 1000000000",)),
        (("x", "--seed", -1), ("seed", "-1")),
        (("x", "--seed", 2**64), ("seed", str(2**64))),
        (("x", "--seed", 2**63 - 2, "--count", 5), ("leaves no room for 5 pictures",)),
        (("x", "--size", "64"), ("size '64'", "WxH")),
        (("x", "--size", "0x64"), ("size '0x64'", "from 8 to 4096")),
        (("x", "--size", "20000x20000"), ("size '20000x20000'",)),
        (("x", "--scheduler", "eulr"), ("unknown scheduler 'eulr'", "did you mean 'euler'")),
        (("x", "--dtype", "int8"), ("unknown dtype 'int8'", "float32")),
        (("x", "--device", "warp"), ("device 'warp' is not there",)),
        (("x", "--base", "nowhere"), ("no base is called 'nowhere'",)),
        (("x", "--base", "photo.png"), ("photo.png is truncated or not a file of weights",)),
        (("x", "-o", "out.jpg"), ("out.jpg must end with .png",)),
        (("x", "-o", "folder.png"), ("folder.png is a folder",)),
        (("x", "--stpes", 3), ("No such option", "--stpes")),
        (("",), ("neither a prompt nor a control",)),
        ((), ("neither a prompt nor a control",)),
        (("x", "--prompts", "prompts.txt"), ("a prompt and --prompts",)),
        (("--prompts", "gone.txt"), ("gone.txt", "No such file")),
        (("--prompts", "empty.txt"), ("empty.txt holds no prompt",)),
        (("--prompts", "photo.png"), ("photo.png", "not text in UTF-8")),
        (("--from", "photo.png"), ("photo.png carries no underdraw recipe",)),
        (("--from", "gone.png"), ("gone.png", "No such file")),
    ],
)
def test_bad_wishes(
    underdraw: Underdraw, base: Path, photo: Path, arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    (photo.parent / "folder.png").mkdir()
    (photo.parent / "empty.txt").write_text("\n \n")
    before = files(photo.parent)
    last = [] if "--base" in arguments else ["--base", base]
    refused(underdraw("generate", *QUICK, *arguments, *last), *words)
    assert files(photo.parent) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("canny", "photo.png", "-o", "photo.png"), ("photo.png is the picture itself",)),
        (("cany", "photo.png", "-o", "a.png"), ("unknown annotator 'cany'", "did you mean 'canny'")),
        (("canny", "photo.png", "-o", "a.png", "--set", "lwo=3"), ("canny has no knob 'lwo'", "did you mean 'low'")),
        (("canny", "photo.png", "-o", "a.png", "--set", "low=300"), ("knob 'low'", "from 0 to 255")),
        (("canny", "photo.png", "-o", "a.png", "--set", "low"), ("--set 'low' is not KNOB=VALUE",)),
        (("canny", "photo.png"), ("Missing option", "--output")),
    ],
)
def test_bad_extractions(
    underdraw: Underdraw, photo: Path, arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    before = photo.read_bytes()
    refused(underdraw("extract", *arguments), *words)
    assert files(photo.parent) == {"photo.png"} and photo.read_bytes() == before


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "controlnet-canny"])
def test_truncated_weights(underdraw: Underdraw, base: Path, photo: Path, part: str) -> None:
    broken = shutil.copytree(base, photo.parent / "models" / "broken")
    (weights,) = (broken / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    done = underdraw("generate", "x", "--control", f"canny={photo}", "--base", broken, "-o", "out.png", *QUICK)
    refused(done, weights.name, "truncated")
    assert not Path("out.png").exists()


def test_no_space_left(underdraw: Underdraw, base: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up in the middle of a file."""
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    done = underdraw("generate", "x", "-o", "out.png", "--base", base, *QUICK)
    refused(done, "out.png", "No space left on device")
    refused(underdraw("extract", "canny", photo, "-o", "edges.png"), "edges.png", "No space left on device")
    assert files(photo.parent) == {"photo.png"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_space_left_for_words(photo: Path) -> None:
    command = [sys.executable, "-m", "underdraw.apps.cli", "extract", "canny", str(photo), "-o", "map.png", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=photo.parent, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("underdraw: ") and "No space left" in line


@pytest.mark.parametrize(
    ("event", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), 2, "not enough memory"),
    ],
)
def test_sudden_ends(
    underdraw: Underdraw, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: Any, code: int, words: str
) -> None:
    def end(*_: object) -> None:
        raise event

    monkeypatch.setattr(Studio, "frames", end)
    done = underdraw("generate", "x", "--base", base, *QUICK)
    assert done.code == code and len(done.err.splitlines()) == 1 and words in done.err
    assert not files(tmp_path)


def test_our_own_mistakes_are_not_hidden(underdraw: Underdraw, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> None:
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(Studio, "frames", end)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        underdraw("generate", "x", "--base", base, *QUICK)


def test_help_is_quick_and_whole() -> None:
    """Neither torch nor its friends are imported for help."""
    program = (
        "import sys; from underdraw.apps.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers', 'cv2'} & set(sys.modules);"
        "print(sorted(heavy), code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[] 0\n")
    for command in ("generate", "extract", "scenes", "stickers", "train", "diffuse", "demo"):
        assert command in done.stdout
