"""Control-LoRAs, in and out: the base plus what the rank holds, what was lost said, and as diffusers reads it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.utils.state_dict_utils import convert_sai_sd_control_lora_state_dict_to_peft
from safetensors.torch import load_file, save_file

from underdraw.errors import CheckpointError, ConfigError
from underdraw.formats.control_lora import factored
from underdraw.formats.control_writing import write_control_lora
from underdraw.formats.controls import control_parts, open_control
from underdraw.formats.detect import detect
from underdraw.model import build

from .tiny import control, same_tensors, unet

FAMILIES = ["sd1", "sd2", "sdxl"]


def close(left: Any, right: Any, tolerance: float) -> bool:
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.allclose(one, other, rtol=0, atol=tolerance) for one, other in pairs)


def low_rank_control(base: Any, rank: int) -> Any:
    """A control that differs from its base by no more than this rank."""
    net = build(base, 8).requires_grad_(False).eval()
    torch.manual_seed(1)
    for name, each in net.branch.named_parameters():
        if each.ndim > 1 and name in base.state_dict():
            change = torch.randn(each.shape[0], rank) @ torch.randn(rank, each.numel() // each.shape[0])
            each.data += 0.02 * change.reshape(each.shape)
        else:
            each.data += 0.02 * torch.randn(each.shape)
    return net


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rank_that_is_enough_loses_nothing(family: str, tmp_path: Path) -> None:
    base = unet(family)
    net = low_rank_control(base, 3)
    made = write_control_lora(control_parts(net), base.state_dict(), tmp_path / "lora.safetensors", rank=3)
    assert made.error < 1e-6
    assert close(open_control(tmp_path / "lora.safetensors", base), net, 1e-6)


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    """The share of the difference's length that the rank can't hold: less with each rank, and truly what is missing."""
    base = unet("sd1")
    net, tensors = control(base), base.state_dict()
    errors = []
    for rank in (1, 8, 24):
        made = write_control_lora(control_parts(net), tensors, tmp_path / "lora.safetensors", rank)
        opened = open_control(tmp_path / "lora.safetensors", base)
        lost = length = 0.0
        for name, each in net.branch.state_dict().items():
            if name in tensors and each.ndim > 1:
                lost += float((opened.branch.state_dict()[name] - each).double().square().sum())
                length += float((tensors[name] - each).double().square().sum())
            else:
                assert torch.equal(opened.branch.state_dict()[name], each), name
        assert made.error == pytest.approx(math.sqrt(lost / length), rel=1e-4)
        assert made.worst[1] >= made.error and made.worst[0] in {name.rpartition(".")[0] for name in tensors}
        errors.append(made.error)
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.7 < errors[0]


def test_it_is_the_best_of_its_rank() -> None:
    """No worse than the singular values themselves, for matrices and for convolutions."""
    for shape in ((24, 40), (40, 24), (12, 6, 3, 3)):
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        made = factored({"conv_in.weight": weight}, {"conv_in.weight": torch.zeros(shape)}, 5)
        values = torch.linalg.svdvals(weight.flatten(1).double())
        best = float(values[5:].square().sum().sqrt() / values.square().sum().sqrt())
        assert made.error == pytest.approx(best, rel=1e-5)
        up, down = made.tensors["conv_in.up"], made.tensors["conv_in.down"]
        assert up.shape[:2] == (shape[0], 5) and down.shape == (5, *shape[1:])


def test_a_layer_that_did_not_change(tmp_path: Path) -> None:
    base = unet("sd1")
    net = build(base, 8).eval()
    made = write_control_lora(control_parts(net), base.state_dict(), tmp_path / "lora.safetensors", rank=4)
    assert made.error == 0
    assert close(open_control(tmp_path / "lora.safetensors", base), net, 0)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_file_is_as_stability_and_diffusers_have_it(family: str, tmp_path: Path) -> None:
    """Bare names, the mark, factored weights, all the rest whole; diffusers translates every one of them."""
    base = unet(family)
    net = control(base)
    write_control_lora(
        control_parts(net), base.state_dict(), tmp_path / "lora.safetensors", rank=8, dtype=torch.float16
    )
    tensors = load_file(tmp_path / "lora.safetensors")
    assert tensors["lora_controlnet"].numel() == 0
    assert tensors["input_blocks.1.0.in_layers.2.up"].shape == (32, 8, 1, 1)
    assert tensors["input_blocks.1.0.in_layers.2.down"].shape == (8, 32, 3, 3)
    assert tensors["time_embed.0.up"].shape == (128, 8)
    assert "input_blocks.1.0.in_layers.2.weight" not in tensors
    assert tensors["zero_convs.0.0.weight"].shape == (32, 32, 1, 1)
    assert {each.dtype for each in tensors.values()} == {torch.float16}
    facts = detect(tmp_path / "lora.safetensors")
    assert (facts.kind, facts.details["rank"]) == ("control-lora", 8)
    theirs = convert_sai_sd_control_lora_state_dict_to_peft(dict(tensors))
    pairs = {name.removesuffix(".lora_A.weight") for name in theirs if name.endswith(".lora_A.weight")}
    pairs = {name.removeprefix("base_model.model.") for name in pairs}
    expected = {
        name.removesuffix(".weight")
        for name, each in net.branch.state_dict().items()
        if name in base.state_dict() and each.ndim > 1
    }
    assert pairs == expected


def test_a_foreign_file_is_read(tmp_path: Path) -> None:
    """As Stability publishes them: an empty mark, ranks that differ, no word about itself."""
    base = unet("sdxl")
    net = low_rank_control(base, 3)
    write_control_lora(control_parts(net), base.state_dict(), tmp_path / "ours.safetensors", rank=3)
    tensors = load_file(tmp_path / "ours.safetensors")
    save_file(tensors, tmp_path / "theirs.safetensors")
    assert close(open_control(tmp_path / "theirs.safetensors", base), net, 1e-6)
    once = open_control(tmp_path / "ours.safetensors", base).state_dict()
    assert same_tensors(once, open_control(tmp_path / "theirs.safetensors", base).state_dict())


def test_broken_ones(tmp_path: Path) -> None:
    base = unet("sd1")
    path = tmp_path / "lora.safetensors"
    write_control_lora(control_parts(control(base)), base.state_dict(), path, rank=4)
    whole = load_file(path)
    half = {name: each for name, each in whole.items() if name != "time_embed.0.down"}
    save_file(half, path)
    with pytest.raises(CheckpointError, match=r"time_embedding.linear_1.down|time_embed.0"):
        open_control(path, base)
    save_file(whole | {"middle_block.0.in_layers.2.down": torch.zeros(4, 3, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"mid_block.resnets.0.conv1 has another shape than in the base"):
        open_control(path, base)
    save_file(whole, path)
    with pytest.raises(
        CheckpointError, match=r"a ControlNet for Stable Diffusion 1\.x, and the base is Stable Diffusion XL"
    ):
        open_control(path, unet("sdxl"))
    with pytest.raises(ConfigError, match="rank 0 makes no sense"):
        write_control_lora(control_parts(control(base)), base.state_dict(), path, rank=0)
    with pytest.raises(CheckpointError, match="nothing in common with that base"):
        write_control_lora(control_parts(control(base)), {}, path)
