"""Prompts on the command line: weights, any length, styles, clip skip, learned words; and all of it drawn again."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from underdraw.generation import read_drawing

from .conftest import Underdraw

QUICK = ("--steps", 2, "--size", "32x32", "--seed", 4, "--device", "cpu")
LONG = "a (red:1.3) hat, blue shoe, " * 4 + "BREAK [hat]"


@pytest.fixture
def word(tmp_path: Path) -> Path:
    """A textual inversion for the tiny base, on no shelf."""
    (tmp_path / "words").mkdir()
    save_file({"emb_params": torch.randn(2, 16)}, tmp_path / "words" / "odd-hat.safetensors")
    return tmp_path / "words" / "odd-hat.safetensors"


def test_everything_is_drawn_again_to_the_byte(underdraw: Underdraw, base: Path, word: Path) -> None:
    shared = ("--base", base, "--embedding", word)
    said = ("--negative", "odd-hat", "--style", "quality", "--style", "usual negative", "--clip-skip", 2)
    done = underdraw("generate", f"an odd-hat, {LONG}", *said, *QUICK, *shared, "-o", "a.png")
    assert (done.code, done.err) == (0, "")
    drawing = read_drawing("a.png")
    assert drawing.prompt == f"an odd-hat, {LONG}, masterpiece, best quality, extremely detailed"
    assert drawing.negative.startswith("odd-hat, lowres, ") and drawing.clip_skip == 2
    assert [each.name for each in drawing.embeddings] == ["odd-hat"]
    checked = underdraw("verify", "a.png", *shared, "--device", "cpu")
    assert checked.code == 0 and "bit-exact" in checked.out
    assert underdraw("generate", "--from", "a.png", *shared, "-o", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_a_style_over_an_old_picture(underdraw: Underdraw, base: Path) -> None:
    assert underdraw("generate", "hat", "--base", base, *QUICK, "-o", "a.png").code == 0
    shared = ("--from", "a.png", "--base", base, "--device", "cpu", "-o", "b.png")
    assert underdraw("generate", *shared, "--style", "controlnet demo").code == 0
    old, new = read_drawing("a.png"), read_drawing("b.png")
    assert new.prompt == "hat, best quality, extremely detailed" and new.negative.startswith("longbody, lowres")
    assert (new.seed, new.size, old.negative) == (old.seed, old.size, "")


def test_mistakes_are_one_line(underdraw: Underdraw, base: Path, word: Path, tmp_path: Path) -> None:
    save_file({"emb_params": torch.zeros(1, 768)}, tmp_path / "far.safetensors")
    shared = ("--base", base, *QUICK)
    for arguments, told in (
        (("[cat:dog:0.5]",), "A1111's prompt editing"),
        (("hat", "--clip-skip", 3), "clip skip 3 makes no sense: this base's text encoder has 2 layers"),
        (("hat", "--clip-skip", 0), "clip_skip"),
        (("hat", "--style", "qualty"), "unknown style 'qualty'; did you mean 'quality'?"),
        (("hat", "--embedding", "far.safetensors"), "textual inversion for Stable Diffusion 1.x (768 wide)"),
        (("hat", "--embedding", "none.pt"), "cannot read weights none.pt"),
    ):
        done = underdraw("generate", *arguments, *shared, "-o", "x.png")
        assert done.code == 2 and told in done.err and done.err.count("\n") == 1
    assert not Path("x.png").exists()


def test_a_word_that_is_gone(underdraw: Underdraw, base: Path, word: Path) -> None:
    assert underdraw("generate", "odd-hat", "--base", base, "--embedding", word, *QUICK, "-o", "a.png").code == 0
    done = underdraw("verify", "a.png", "--base", base, "--device", "cpu")
    assert done.code == 2 and "no textual inversion is called 'odd-hat': put its file into" in done.err
