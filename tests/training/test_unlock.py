"""An unlocked base: what learns, what is saved, and that it comes back the same everywhere."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, UNet2DConditionModel

from underdraw.errors import CheckpointError
from underdraw.formats.checkpoint import Checkpoint, latest, load_tensors
from underdraw.formats.delta import DELTA, apply_delta, difference
from underdraw.generation import Studio, draw, finish
from underdraw.model import Backbone, Control, load_control
from underdraw.training.control import ControlTask
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import State, train

Make = Callable[..., Recipe]
DECODER = ("up_blocks.", "conv_norm_out.", "conv_out.")


def run(recipe: Make, tiny: Path, unlock: str | None, name: str = "run", **changes: object) -> State:
    told = {"task": "control", "base": str(tiny), "condition": "depth"} | ({"unlock": unlock} if unlock else {})
    made = recipe(told, name, **changes)
    state = train(build_task(made), made)
    state.task.export(state.folder / "export")
    return state


def drawn(backbone: Backbone, control: Path) -> torch.Tensor:
    """A picture under a map."""
    net = load_control(control, backbone.unet)
    shown = torch.zeros(1, 3, 32, 32)
    shown[..., 8:24, 8:24] = 1
    frames = draw(backbone, ["a red square"], [5], (32, 32), controls=[Control(net, shown)], steps=4)
    return finish(backbone, frames)


def test_a_locked_run_writes_the_control_alone(recipe: Make, tiny: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(tiny.rglob("*.safetensors"))}
    state = run(recipe, tiny, None)
    assert sorted(path.name for path in (state.folder / "export").iterdir()) == [
        "about.json",
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    assert isinstance(state.task, ControlTask)
    unet = Backbone.load(tiny).unet.state_dict()
    assert all(torch.equal(value, unet[name]) for name, value in state.task.backbone.unet.state_dict().items())
    assert {path: path.read_bytes() for path in sorted(tiny.rglob("*.safetensors"))} == before


@pytest.mark.parametrize("unlock", ["decoder", "all"])
def test_an_unlocked_base_comes_back_and_draws_the_same(recipe: Make, tiny: Path, unlock: str) -> None:
    before = {path: path.read_bytes() for path in sorted(tiny.rglob("*.safetensors"))}
    state = run(recipe, tiny, unlock, steps=3)
    assert isinstance(state.task, ControlTask)
    assert {path: path.read_bytes() for path in sorted(tiny.rglob("*.safetensors"))} == before, "the base's own files"
    trained, export = state.task.backbone, state.folder / "export"
    delta = load_tensors(export / DELTA)
    assert any(name.startswith("up_blocks") for name in delta)
    assert all(name.startswith(DECODER) for name in delta) == (unlock == "decoder")

    again = Backbone.load(tiny)
    plain = drawn(again, export)
    apply_delta(again.unet, export / DELTA)
    for name, value in trained.unet.state_dict().items():
        torch.testing.assert_close(again.unet.state_dict()[name], value, rtol=1e-7, atol=1e-9)
    expected = drawn(trained, export)
    torch.testing.assert_close(drawn(again, export), expected, rtol=0, atol=1e-5)
    assert float((plain - expected).abs().max()) > 1e-3, "the base changed what is drawn"

    merged = Backbone.load(export / "merged")
    assert all(torch.equal(value, merged.unet.state_dict()[n]) for n, value in trained.unet.state_dict().items())
    torch.testing.assert_close(drawn(merged, export / "merged" / "controlnet-depth"), expected, rtol=0, atol=1e-5)


def test_the_merged_base_is_read_by_other_doors(recipe: Make, tiny: Path) -> None:
    export = run(recipe, tiny, "decoder", steps=2).folder / "export"
    assert sorted(path.name for path in (export / "merged").glob("controlnet-*")) == ["controlnet-depth"]
    assert Studio.open(str(export / "merged"), device="cpu").net("depth").sites
    net = ControlNetModel.from_pretrained(export / "merged" / "controlnet-depth")
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(export / "merged", controlnet=net, safety_checker=None)
    assert isinstance(pipeline.unet, UNet2DConditionModel)


def test_unlocked_runs_resume_to_the_same_bits_and_keep_only_what_learns(recipe: Make, tiny: Path) -> None:
    whole = run(recipe, tiny, "decoder", "whole", steps=4)
    for end in (2, 4):
        parted = run(recipe, tiny, "decoder", "parted", steps=end)
    places = [latest(state.folder / "checkpoints") for state in (whole, parted)]
    one, two = (Checkpoint.load(place) for place in places if place)
    for part in ("model", "average", "optimizer"):
        mine, others = getattr(one, part), getattr(two, part)
        assert mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)
    assert {name.split(".")[1] for name in one.model if name.startswith("unet.")} == {
        "up_blocks",
        "conv_norm_out",
        "conv_out",
    }


def test_without_merged_there_is_the_delta_alone(recipe: Make, tiny: Path) -> None:
    told = {"task": "control", "base": str(tiny), "condition": "depth", "unlock": "all", "merged": False}
    made = recipe(told, steps=1)
    state = train(build_task(made), made)
    state.task.export(state.folder / "export")
    assert (state.folder / "export" / DELTA).exists() and not (state.folder / "export" / "merged").exists()


def test_a_difference_gives_back_what_it_was_made_from() -> None:
    """To the bit for steps as small as those of training; and what is the same is left out."""
    draw = torch.Generator().manual_seed(0)
    old = {"moved": torch.randn(100_000, generator=draw), "same": torch.ones(3)}
    new = {"moved": old["moved"] + 1e-3 * torch.randn(100_000, generator=draw), "same": torch.ones(3)}
    found = difference(new, old)
    assert list(found) == ["moved"]
    again = old["moved"] + found["moved"]
    assert float((again != new["moved"]).float().mean()) < 1e-3
    torch.testing.assert_close(again, new["moved"], rtol=2e-7, atol=1e-10)


def test_what_is_no_delta_is_refused(recipe: Make, tiny: Path, tmp_path: Path) -> None:
    unet = Backbone.load(tiny).unet
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    with pytest.raises(CheckpointError, match="is not the difference of two U-Nets"):
        apply_delta(unet, tiny / "unet" / "diffusion_pytorch_model.safetensors")
    export = run(recipe, tiny, "decoder", steps=1).folder / "export"
    wide = UNet2DConditionModel(**{**dict(unet.config), "block_out_channels": [16, 64]})
    with pytest.raises(CheckpointError, match="does not fit this base"):
        apply_delta(wide, export / DELTA)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
