"""LoRAs in drawings: how they are asked for, how loud they are, and that nothing of them stays."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from underdraw.errors import CheckpointError, ConfigError, InputError, UnderdrawError
from underdraw.formats.lora import write_lora
from underdraw.generation import LoraRequest, Studio, Wish, plan, read_drawing, redrawn, verify
from underdraw.generation.loras import taken_out
from underdraw.model import attached_to

from .conftest import tiny_base
from .shelf import trained

QUICK: dict[str, Any] = {"steps": 2, "seeds": [3]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("style", LoraRequest("style")),
        ("style:0.8", LoraRequest("style", 0.8)),
        ("style:0.8:0.5", LoraRequest("style", 0.8, 0.5)),
        ("a/b.safetensors:-1", LoraRequest("a/b.safetensors", -1.0)),
        ("style:1:lbw=1,0,0,0,0,0,0,0,0,0,0,0", LoraRequest("style", 1.0, None, (1.0, *[0.0] * 11))),
    ],
)
def test_parse(text: str, expected: LoraRequest) -> None:
    assert LoraRequest.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("style:loud", "'loud' is not a number"),
        (":1", "has no name"),
        ("style:inf", "weight inf makes no sense"),
        ("style:nan", "weight nan makes no sense"),
        ("style:1:lbw=1,2", "2 block weights mean nothing; give 12, 17"),
        ("style:1:lbw=MIDD", "lbw is 'MIDD', which is not made of numbers"),
        ("style:1:dyn=4", "changing the rank"),
    ],
)
def test_each_mistake_names_its_part(text: str, message: str) -> None:
    with pytest.raises(UnderdrawError, match=message):
        LoraRequest.parse(text)


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [
        ("a cat", "a cat", []),
        ("a <lora:style:0.8> cat", "a  cat", [LoraRequest("style", 0.8, 0.8)]),
        ("a cat <lora:x:0.5:0.9>", "a cat", [LoraRequest("x", 0.9, 0.5)]),
        ("<LORA:x><lora:y:te=0.2:unet=1>a", "a", [LoraRequest("x", 1.0, 1.0), LoraRequest("y", 1.0, 0.2)]),
        ("a < b, lora:x:1", "a < b, lora:x:1", []),
    ],
)
def test_in_a_prompt_as_a1111_has_it(prompt: str, text: str, expected: list[LoraRequest]) -> None:
    """The first number is the text encoder's, and the U-Net's as well where there is no second."""
    assert taken_out(prompt) == (text, tuple(expected))


@pytest.fixture(scope="module")
def wardrobe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with two LoRAs on its shelf."""
    root = tmp_path_factory.mktemp("wardrobe")
    backbone = Studio.open(str(tiny_base(root / "tiny")), "cpu").backbone
    for seed, name in enumerate(("first", "second")):
        write_lora(trained(backbone, seed), root / "models" / f"{name}.safetensors")
    return root


@pytest.fixture
def studio(wardrobe: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setenv("UNDERDRAW_MODELS", str(wardrobe / "models"))
    return Studio.open(str(wardrobe / "tiny"), "cpu")


def picture(studio: Studio, prompt: str = "a cat", *loras: str, **more: Any) -> Tensor:
    return studio.draw(prompt, loras=loras, **QUICK | more)[0].picture


def digest(studio: Studio) -> str:
    found = hashlib.sha256()
    modules: tuple[nn.Module, ...] = (studio.backbone.unet, *studio.backbone.text_encoders)
    for module in modules:
        for each in module.state_dict().values():
            found.update(each.numpy().tobytes())
    return found.hexdigest()


def test_worn_for_as_long_as_it_draws(studio: Studio) -> None:
    """Heard, then gone to the bit: bytes, hooks and pictures; also where somebody breaks off, or others take turns."""
    before, bare = digest(studio), picture(studio)
    assert (picture(studio, "a cat", "first:0.8") - bare).abs().max() > 0.02
    assert torch.equal(picture(studio), bare) and torch.equal(picture(studio, "a cat", "first:0"), bare)
    (batch,) = plan(studio, Wish(("a cat",), settings={"steps": 3, "seed": 3}, loras=(LoraRequest("first"),)))
    alone = [frame.latents for frame in studio.frames(batch.drawings)]
    (other,) = plan(studio, Wish(("a cat",), settings={"steps": 3, "seed": 3}))
    turns = zip(studio.frames(batch.drawings), studio.frames(other.drawings), strict=True)
    for mine, (one, two) in zip(alone, turns, strict=True):
        assert torch.equal(one.latents, mine) and not torch.equal(two.latents, mine)
    broken = studio.frames(batch.drawings)
    next(broken)
    assert not attached_to(studio.backbone)
    assert digest(studio) == before and torch.equal(picture(studio), bare)


def test_two_commute_and_weights_are_weights(studio: Studio) -> None:
    both = picture(studio, "a cat", "first:0.5", "second:0.7")
    assert_close(picture(studio, "a cat", "second:0.7", "first:0.5"), both, atol=1e-6, rtol=0)
    assert_close(picture(studio, "a cat", "first:0.25", "first:0.25", "second:0.7"), both, atol=1e-4, rtol=0)
    assert torch.equal(picture(studio, "a cat<lora:first:0.5> <lora:second:0.7>"), both)
    assert not torch.equal(picture(studio, "a cat", "first:0.6", "second:0.7"), both)


def test_text_and_picture_have_their_own_weights(studio: Studio) -> None:
    only_text, only_picture = picture(studio, "a cat", "first:0:1"), picture(studio, "a cat", "first:1:0")
    found = [picture(studio), only_text, only_picture, picture(studio, "a cat", "first:1")]
    assert all(not torch.equal(one, other) for place, one in enumerate(found) for other in found[:place])
    without_blocks = "first:1:lbw=" + ",".join(["1", *["0"] * 11])
    assert torch.equal(
        picture(studio, "a cat", without_blocks), picture(studio, "a cat", "first:1:1:lbw=1" + ",0" * 11)
    )
    assert not torch.equal(picture(studio, "a cat", without_blocks), found[3])


def test_a_recipe_wears_them_again(studio: Studio, tmp_path: Path) -> None:
    (one,) = studio.draw("a cat <lora:second:0.3>", loras=["first:0.5:0.2"], **QUICK)
    one.save(tmp_path / "out.png")
    drawing = read_drawing(tmp_path / "out.png")
    assert drawing.prompt == "a cat" and [lora.name for lora in drawing.loras] == ["first", "second"]
    assert drawing.parameters().startswith("a cat <lora:first:0.2:0.5> <lora:second:0.3>\nSteps")
    assert verify(studio, tmp_path / "out.png").finding == "exact"
    (batch,) = redrawn(studio, drawing, Wish(settings={"steps": 3}), "out.png")
    assert batch.drawings[0].loras == drawing.loras
    (batch,) = redrawn(studio, drawing, Wish(loras=(LoraRequest("second"),)), "out.png")
    assert [lora.name for lora in batch.drawings[0].loras] == ["second"]
    forged = drawing.loras[0].model_copy(update={"hash": "0" * 16})
    other = one.drawing.model_copy(update={"loras": (forged,)})
    type(one)(one.picture, other).save(tmp_path / "other.png")
    with pytest.raises(InputError, match="a LoRA 'first' with other weights"):
        verify(studio, tmp_path / "other.png")


def test_pictures_with_other_loras_are_no_batch(studio: Studio) -> None:
    one, two = studio.draw(["a <lora:first:1>", "a"], seeds=[1, 1], steps=2)
    assert (one.drawing.batch, two.drawing.batch) == (1, 1)
    assert torch.equal(two.picture, picture(studio, "a", seeds=[1]))


def test_what_does_not_fit(studio: Studio, tmp_path: Path) -> None:
    other = Studio.open(str(tiny_base(tmp_path / "wide", width=48)), "cpu").backbone
    write_lora(trained(other), tmp_path / "wide.safetensors")
    with pytest.raises(
        CheckpointError, match=r"wide\.safetensors can't change this base: it was made for text of width"
    ):
        picture(studio, "a cat", str(tmp_path / "wide.safetensors"))
    with pytest.raises(ConfigError, match="no lora is called 'gone'"):
        picture(studio, "a cat", "gone:1")
    assert not attached_to(studio.backbone)
