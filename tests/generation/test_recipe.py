"""Recipes that travel in a PNG."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from underdraw import images
from underdraw.errors import ConfigError, InputError
from underdraw.generation import (
    Drawing,
    Given,
    Guide,
    Hires,
    Studio,
    Tiling,
    Variation,
    Wish,
    fingerprint,
    plan,
    read_drawing,
    redrawn,
    together,
    write_drawing,
)
from underdraw.generation.provenance import pack_map, unpack_map

MAP = pack_map(torch.eye(16)[None, None])
GUIDE = Guide(kind="canny", weight=0.8, end=0.5, source="photo.png", net_hash="0123456789abcdef", map=MAP)
DRAWING = Drawing(
    prompt="a red mushroom, 3d sticker",
    negative="blue",
    seed=7,
    width=64,
    height=48,
    scheduler="DPM++ 2M Karras",
    base="tiny",
    base_hash="fedcba9876543210",
    controls=(GUIDE,),
)


def test_a_recipe_survives_its_png(tmp_path: Path) -> None:
    picture = torch.rand(3, 48, 64)
    write_drawing(picture, DRAWING, tmp_path / "out.png")
    assert read_drawing(tmp_path / "out.png") == DRAWING
    assert torch.equal(unpack_map(read_drawing(tmp_path / "out.png").controls[0], "x"), torch.eye(16)[None, None])
    assert torch.equal(images.read(tmp_path / "out.png")[0], torch.round(picture * 255) / 255)


OLD = """{"prompt":"a red mushroom, 3d sticker","negative":"blue","seed":7,"index":0,"batch":1,"width":64,"height":48,\
"steps":20,"guidance":4.0,"scheduler":"dpm++ 2m karras","dtype":"float32","device":"cpu","base":"tiny",\
"base_hash":"fedcba9876543210","controls":[{"kind":"canny","weight":0.8,"start":0.0,"end":0.5,"source":"photo.png",\
"is_map":false,"net_hash":"0123456789abcdef","map":"MAP"}],"version":"0.1.0"}"""


def test_a_recipe_of_the_first_version_is_written_as_ever() -> None:
    """What came later is left out where it has its usual value: old pictures are drawn again to the byte."""
    text = OLD.replace("MAP", MAP)
    assert Drawing.model_validate_json(text).model_dump_json() == text
    assert DRAWING.model_copy(update={"version": "0.1.0"}).model_dump_json() == text


def test_everything_new_survives(tmp_path: Path) -> None:
    guide = GUIDE.model_copy(update={"curve": (1.0, 0.5), "side": 0.3, "times": (1.0, 0.0), "scale": 2.0, "mask": MAP})
    drawing = DRAWING.model_copy(
        update={
            "controls": (guide, GUIDE.model_copy(update={"curve": "soft", "side": "conditional"})),
            "given": Given(picture=MAP, source="p.png", strength=0.5, mask=MAP),
            "variation": Variation(seed=2**63 - 1, strength=0.25),
            "hires": Hires(scale=1.5, how="latent"),
            "tiling": Tiling(width=64, height=32),
            "interval": (0.1, 0.9),
            "rescale": 0.7,
            "parallel": 0.0,
            "stopped": 3,
        }
    )
    for name in ("out.png", "out.webp"):
        write_drawing(torch.rand(3, 48, 64), drawing, tmp_path / name)
        assert read_drawing(tmp_path / name) == drawing
    told = drawing.parameters()
    assert "Control Mode: custom" in told and "Control Mode: controlnet is more important" in told
    assert "CFG Rescale: 0.7" in told and f"Variation seed: {2**63 - 1}, Variation seed strength: 0.25" in told


def test_a_webp_keeps_every_value_and_tells_a1111(tmp_path: Path) -> None:
    picture = torch.round(torch.rand(3, 48, 64) * 255) / 255
    write_drawing(picture, DRAWING.model_copy(update={"prompt": "红色蘑菇"}), tmp_path / "out.webp")
    assert torch.equal(images.read(tmp_path / "out.webp")[0], picture)
    assert read_drawing(tmp_path / "out.webp").prompt == "红色蘑菇"
    with Image.open(tmp_path / "out.webp") as file:
        comment = file.getexif()[0x9286]
    assert comment[:8] == b"UNICODE\0" and comment[8:].decode("utf-16-be").startswith("红色蘑菇\nNegative prompt: blue")
    Image.new("RGB", (16, 16)).save(tmp_path / "bare.webp")
    with pytest.raises(InputError, match="carries no underdraw recipe"):
        read_drawing(tmp_path / "bare.webp")


@given(prompt=some.text(some.characters(codec="utf-8", exclude_characters="\0")), seed=some.integers(0, 2**63 - 1))
def test_any_words_survive(tmp_path_factory: pytest.TempPathFactory, prompt: str, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "words.png"
    drawing = DRAWING.model_copy(update={"prompt": prompt, "seed": seed})
    write_drawing(torch.zeros(3, 8, 8), drawing, path)
    assert read_drawing(path) == drawing


def test_the_parameters_are_those_of_a1111() -> None:
    assert DRAWING.parameters() == (
        "a red mushroom, 3d sticker\n"
        "Negative prompt: blue\n"
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 4, Seed: 7, Size: 64x48, Model hash: fedcba9876, Model: tiny, "
        'ControlNet 0: "Module: canny, Model: controlnet-canny [01234567], Weight: 0.8, Guidance Start: 0, '
        'Guidance End: 0.5", Version: underdraw ' + DRAWING.version
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "carries no underdraw recipe"),
        ("{", "JSON: invalid json"),
        ('{"prompt": "x"}', "cannot be read .width: field required"),
        (DRAWING.model_copy(update={"steps": 0}).model_dump_json(), "steps: input should be greater"),
        (DRAWING.model_copy(update={"index": 3}).model_dump_json(), "cannot be one of 1"),
        (DRAWING.model_copy(update={"version": "9", "prompt": "x"}).model_dump_json()[:-1] + ',"new":1}', "new: extra"),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str | None, message: str) -> None:
    images.write(torch.zeros(3, 8, 8), tmp_path / "bad.png", {} if text is None else {"underdraw": text})
    with pytest.raises(InputError, match=message):
        read_drawing(tmp_path / "bad.png")


def test_a_recipe_with_an_unknown_scheduler(tmp_path: Path) -> None:
    text = DRAWING.model_copy(update={"scheduler": "eulr"}).model_dump_json()
    images.write(torch.zeros(3, 8, 8), tmp_path / "bad.png", {"underdraw": text})
    with pytest.raises(ConfigError, match="unknown scheduler 'eulr'; did you mean 'euler'"):
        read_drawing(tmp_path / "bad.png")


@pytest.mark.parametrize("packed", ["%%%", "AAAA", MAP[:40]])
def test_a_damaged_map(packed: str) -> None:
    with pytest.raises(InputError, match=r"canny map in out\.png"):
        unpack_map(GUIDE.model_copy(update={"map": packed}), "out.png")


def test_the_fingerprint_sees_every_weight(base: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(base, tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(base)
    shutil.rmtree(copy / "controlnet-canny")
    assert fingerprint(copy) == fingerprint(base), "ControlNets beside a base are not the base"
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert fingerprint(copy) != fingerprint(base)


def test_batches_have_consecutive_seeds(studio: Studio) -> None:
    batches = list(plan(studio, Wish(prompts=("x", "y"), count=20, settings={"seed": 100})))
    assert [len(batch.drawings) for batch in batches] == [16, 4, 16, 4]
    for prompt, pair in (("x", batches[:2]), ("y", batches[2:])):
        drawings = [drawing for batch in pair for drawing in batch.drawings]
        assert [drawing.seed for drawing in drawings] == list(range(100, 120))
        assert {drawing.prompt for drawing in drawings} == {prompt}
        assert all(drawing.company[drawing.index] == drawing for drawing in drawings)


def test_one_of_a_batch_is_redrawn_in_its_company(studio: Studio) -> None:
    first, *_ = plan(studio, Wish(prompts=("x",), count=5, settings={"seed": 100}))
    (again,) = redrawn(studio, first.drawings[3], Wish(), "out.png")
    assert again.kept == (3,) and again.drawings == first.drawings


def test_a_wish_over_a_recipe(studio: Studio) -> None:
    old = DRAWING.model_copy(update={"width": 32, "height": 32, "steps": 9})
    (changed,) = redrawn(studio, old, Wish(size=(48, 32), settings={"guidance": 2.0}), "out.png")
    (new,) = changed.drawings
    assert (new.prompt, new.negative, new.seed, new.steps, new.guidance) == (old.prompt, "blue", 7, 9, 2.0)
    assert new.size == (48, 32) and unpack_map(new.controls[0], "x").shape == (1, 1, 32, 48)
    assert (new.controls[0].weight, new.controls[0].end, new.controls[0].is_map) == (0.8, 0.5, False)


def test_how_many_at_once() -> None:
    assert together((64, 64), 100) == 16 and together((64, 64), 3) == 3
    assert together((512, 512), 4) == 1 and together((256, 256), 9) == 4 and together((2048, 2048), 9) == 1
