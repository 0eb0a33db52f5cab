"""Conversions: every kind into every form that it has and back to the same bits; what can't be is one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, T2IAdapter
from safetensors.torch import load_file, save_file

from underdraw.errors import CheckpointError, ConfigError
from underdraw.formats.base_writing import write_base_file, write_base_folder
from underdraw.formats.bases import read_base
from underdraw.formats.control_writing import write_control_file
from underdraw.formats.controls import control_parts, open_control, read_control
from underdraw.formats.convert import FORMS, Job, convert
from underdraw.formats.opening import settled
from underdraw.formats.vae_names import vae_to_original
from underdraw.formats.writing import parse_dtype

from .tiny import HOME, control, parts, same, same_tensors, unet, vae


def run(source: Path, target: Path, to: str, **settings: Any) -> list[str]:
    return convert(Job(source, target, to, **settings))[1]


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("convert")
    write_base_file(parts("sd1"), root / "sd1.safetensors")
    return root / "sd1.safetensors"


def test_bases(sd1: Path, tmp_path: Path) -> None:
    assert run(sd1, tmp_path / "folder", "diffusers")[0].endswith("tensors read")
    run(tmp_path / "folder", tmp_path / "again.safetensors", "original")
    assert same_tensors(load_file(tmp_path / "again.safetensors"), load_file(sd1))
    run(sd1, tmp_path / "half.safetensors", "original", dtype=torch.bfloat16)
    assert {each.dtype for each in load_file(tmp_path / "half.safetensors").values()} == {torch.bfloat16}


def test_an_old_checkpoint(sd1: Path, tmp_path: Path) -> None:
    """A pickle, nested, with what training left behind: out comes a clean file, and a word about all the rest."""
    tensors = load_file(sd1) | {"model_ema.x": torch.ones(1), "strange": torch.ones(1)}
    torch.save({"state_dict": tensors, "global_step": 5}, tmp_path / "old.ckpt")
    with pytest.raises(CheckpointError, match="its config does not make a"):  # narrow, and a pickle can't say so
        run(tmp_path / "old.ckpt", tmp_path / "folder", "diffusers")
    notes = run(tmp_path / "old.ckpt", tmp_path / "new.safetensors", "original")
    assert "1 left out: a second copy of the weights (a moving average)" in notes
    assert "1 unknown, left out: strange" in notes
    assert same_tensors(load_file(tmp_path / "new.safetensors"), load_file(sd1))


def test_a_base_that_does_not_say_what_it_predicts_is_asked(tmp_path: Path) -> None:
    write_base_folder(parts("sd2"), tmp_path / "folder")
    read = read_base(tmp_path / "folder")
    assert settled(read) is read
    assert settled(replace(read, prediction=None)).scheduler["prediction_type"] == "v_prediction"


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_controlnets(family: str, tmp_path: Path) -> None:
    net = control(unet(family))
    write_control_file(control_parts(net), tmp_path / "a.safetensors")
    run(tmp_path / "a.safetensors", tmp_path / "b", "diffusers")
    run(tmp_path / "b", tmp_path / "c.safetensors", "original")
    assert same_tensors(load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "c.safetensors"))
    assert same(open_control(tmp_path / "b", unet(family)), net)


def test_control_loras_and_back(sd1: Path, tmp_path: Path) -> None:
    net = control(unet("sd1"))
    write_control_file(control_parts(net), tmp_path / "a.safetensors")
    told = {"base": str(sd1)}
    notes = run(tmp_path / "a.safetensors", tmp_path / "lora.safetensors", "control-lora", rank=4096, **told)
    assert notes[0].startswith("rank 4096 loses 0.00 % of the difference from the base")
    run(tmp_path / "lora.safetensors", tmp_path / "b.safetensors", "original", **told)
    for name, each in load_file(tmp_path / "a.safetensors").items():
        torch.testing.assert_close(load_file(tmp_path / "b.safetensors")[name], each, rtol=0, atol=1e-6)
    assert "loses 9" in run(tmp_path / "a.safetensors", tmp_path / "l.safetensors", "control-lora", rank=2, **told)[0]
    with pytest.raises(ConfigError, match="say from which: --base"):
        run(tmp_path / "a.safetensors", tmp_path / "l.safetensors", "control-lora")
    with pytest.raises(CheckpointError, match="say which base that is"):
        run(tmp_path / "lora.safetensors", tmp_path / "b.safetensors", "original")


def test_moving_onto_another_base(sd1: Path, tmp_path: Path) -> None:
    write_base_file(parts("sd1", seed=7), tmp_path / "other.safetensors")
    write_control_file(control_parts(control(unet("sd1"))), tmp_path / "a.safetensors")
    notes = run(
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
        "original",
        base=str(sd1),
        onto=str(tmp_path / "other.safetensors"),
    )
    assert notes[0].startswith("moved from ")
    before, after = read_control(tmp_path / "a.safetensors").tensors, read_control(tmp_path / "b.safetensors").tensors
    shift = unet("sd1", seed=7).conv_in.weight - unet("sd1").conv_in.weight
    torch.testing.assert_close(after["conv_in.weight"], before["conv_in.weight"] + shift)
    with pytest.raises(ConfigError, match="give --base, too"):
        run(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "original", onto="sd15")
    with pytest.raises(ConfigError, match="--onto moves a control"):
        run(sd1, tmp_path / "b.safetensors", "original", onto="sd15", base="sd15")


def test_autoencoders(tmp_path: Path) -> None:
    vae().save_pretrained(tmp_path / "a")
    run(tmp_path / "a", tmp_path / "b.safetensors", "original")
    expected = vae_to_original(vae().state_dict(), vae().config, HOME)
    assert same_tensors(load_file(tmp_path / "b.safetensors"), expected)
    notes = run(tmp_path / "b.safetensors", tmp_path / "c", "diffusers", base="sdxl")
    assert same(AutoencoderKL.from_pretrained(tmp_path / "c"), vae())
    assert "scaled by 0.18215" in notes[0]  # the folder had said so
    save_file(
        load_file(tmp_path / "b.safetensors"),
        tmp_path / "xl-vae.safetensors",
        {"underdraw": '{"vae": {"norm_num_groups": 4}}'},
    )
    for told, scale in (({}, 0.13025), ({"base": "sd15"}, 0.18215)):
        run(tmp_path / "xl-vae.safetensors", tmp_path / "d", "diffusers", **told)
        assert AutoencoderKL.from_pretrained(tmp_path / "d").config.scaling_factor == scale


def test_adapters(tmp_path: Path) -> None:
    made = T2IAdapter(channels=[32, 64, 64, 64]).eval()
    made.save_pretrained(tmp_path / "a")
    run(tmp_path / "a", tmp_path / "b.safetensors", "original")
    assert run(tmp_path / "b.safetensors", tmp_path / "c", "diffusers") == ["full_adapter, maps of 3 channels"]
    assert same(T2IAdapter.from_pretrained(tmp_path / "c"), made)


def test_loras(tmp_path: Path) -> None:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {
        f"{stem}.lora_down.weight": torch.randn(4, 768),
        f"{stem}.lora_up.weight": torch.randn(320, 4),
        f"{stem}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    assert run(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "diffusers") == ["1 layers"]
    run(tmp_path / "b.safetensors", tmp_path / "c.safetensors", "kohya")
    assert same_tensors(load_file(tmp_path / "c.safetensors"), tensors)


def test_what_can_not_be(sd1: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a base; it can become original, diffusers, not kohya"):
        run(sd1, tmp_path / "x.safetensors", "kohya")
    with pytest.raises(ConfigError, match=r"x.ckpt must end with .safetensors"):
        run(sd1, tmp_path / "x.ckpt", "original")
    with pytest.raises(ConfigError, match=r"will be a folder; give it a name without .safetensors"):
        run(sd1, tmp_path / "x.safetensors", "diffusers")
    save_file({"emb_params": torch.ones(1, 768)}, tmp_path / "word.safetensors")
    with pytest.raises(ConfigError, match="is a textual-inversion; it has no other form"):
        run(tmp_path / "word.safetensors", tmp_path / "x.safetensors", "original")
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.ones(1)}, tmp_path / "flux.safetensors")
    with pytest.raises(CheckpointError, match="for Flux, a diffusion transformer"):
        run(tmp_path / "flux.safetensors", tmp_path / "x.safetensors", "original")
    with pytest.raises(ConfigError, match="unknown dtype 'fp8'; there is fp32, fp16, bf16"):
        parse_dtype("fp8")
    assert [parse_dtype(name) for name in ("fp16", "float16", None)] == [torch.float16, torch.float16, None]
    assert not (tmp_path / "x.safetensors").exists()


def test_every_form_is_a_word_that_the_command_knows() -> None:
    assert {form for forms in FORMS.values() for form in forms} == {"original", "diffusers", "control-lora", "kohya"}
