"""A ControlNet that is a LoRA of its base's encoder: what learns, and that every form of it draws the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from underdraw.errors import ConfigError
from underdraw.formats.checkpoint import Checkpoint, latest
from underdraw.formats.controls import open_control
from underdraw.model import Backbone, Control, build, load_control, predict
from underdraw.training.control_lora import CONTROL_LORA, ControlLoraTask
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import State, train
from underdraw.training.watchers import log, swapped

from ..generation.conftest import TINY_UNET, tiny_base

Make = Callable[..., Recipe]
EVERY = ["attention", "feed-forward", "projections", "convolutions"]


@pytest.fixture(scope="module")
def eighth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose latents are an eighth of its pictures, as Stable Diffusion's: only those have Control-LoRAs."""
    from diffusers import AutoencoderKL

    folder = tiny_base(tmp_path_factory.mktemp("models") / "eighth")
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    AutoencoderKL(**kinds, block_out_channels=[8, 8, 8, 16], norm_num_groups=4).save_pretrained(folder / "vae")
    return folder


def told(base: Path, **changes: Any) -> dict[str, Any]:
    learn = {"task": "control", "base": str(base), "condition": "depth", "lora": {"rank": 4, "targets": EVERY}}
    return learn | changes


def run(recipe: Recipe) -> State:
    state = train(build_task(recipe), recipe, [log])
    with swapped(state):
        state.task.export(state.folder / "export")
    return state


def prediction(backbone: Backbone, net: Any) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    sample, maps = torch.randn(1, 4, 4, 4, generator=draw), torch.rand(1, 3, 32, 32, generator=draw)
    with torch.no_grad():
        text = backbone.encode_text(["a red square"])
        return predict(backbone.unet, sample, torch.tensor([500]), text, [Control(net, maps)])


def test_every_form_draws_the_same(recipe: Make, eighth: Path) -> None:
    state = run(recipe(told(eighth), optimizer={"lr": 1e-2, "warmup": 1}))
    task, export = state.task, state.folder / "export"
    assert isinstance(task, ControlLoraTask)
    backbone = Backbone.load(eighth)
    with swapped(state):
        expected = prediction(backbone, task.net)
    net = load_control(export, backbone.unet)
    torch.testing.assert_close(prediction(backbone, net), expected, rtol=0, atol=1e-5)
    small = open_control(export / CONTROL_LORA, backbone.unet)
    torch.testing.assert_close(prediction(backbone, small), expected, rtol=0, atol=1e-4)
    silent = prediction(backbone, build(backbone.unet, backbone.factor))
    assert float((expected - silent).abs().max()) > 1e-3, "it has learnt something"
    ControlNetModel.from_pretrained(export)


def test_the_copy_is_locked_and_all_that_is_new_learns(recipe: Make, tiny: Path) -> None:
    made = recipe(told(tiny))
    task = build_task(made)
    assert isinstance(task, ControlLoraTask)
    plain = build_task(recipe(told(tiny, lora=None), "plain"))
    with torch.no_grad():
        assert torch.equal(task.losses(0)["denoise"], plain.losses(0)["denoise"]), "at first the LoRA says nothing"
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    unet = Backbone.load(tiny).unet.state_dict()
    train(task, made)
    for name, value in task.net.state_dict().items():
        new = "controlnet_" in name
        assert torch.equal(value, before[name]) != (new and value.ndim > 0), name
        assert new or torch.equal(value, unet[name.removeprefix("branch.")])
    assert all(bool(adapter.factors()["up"].any()) for adapter in task.lora.adapters.values())
    learns, whole = (sum(each.numel() for each in module.parameters()) for module in (task.module, task.net))
    assert learns < whole


@pytest.mark.parametrize("precision", ["fp32", "bf16-weights"])
def test_resumed_it_is_the_same(recipe: Make, tiny: Path, precision: str) -> None:
    whole, _, parted = (
        run(recipe(told(tiny), name, precision=precision, steps=steps))
        for name, steps in (("whole", 4), ("parted", 2), ("parted", 4))
    )
    one, two = (Checkpoint.load(latest(state.folder / "checkpoints") or Path()) for state in (whole, parted))
    for part in ("model", "average", "optimizer"):
        mine, theirs = getattr(one, part), getattr(two, part)
        assert mine.keys() == theirs.keys() and mine
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not (whole.folder / "export" / CONTROL_LORA).exists(), "its hint encoder has no place in that form"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"control": {"branch": {"kind": "lite"}}}, "a lite branch has none"),
        ({"unlock": "decoder"}, "choose one"),
        ({"lora": {"parts": ["unet"]}}, "there is no 'unet' to put a LoRA into"),
    ],
)
def test_mistakes(recipe: Make, tiny: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_task(recipe(told(tiny, **changes)))


def test_the_shape_of_the_base_is_as_it_was(eighth: Path) -> None:
    """The fixture changes the autoencoder alone."""
    assert isinstance(Backbone.load(eighth).unet, UNet2DConditionModel) and Backbone.load(eighth).factor == 8
    assert Backbone.load(eighth).unet.config["block_out_channels"] == TINY_UNET["block_out_channels"]
