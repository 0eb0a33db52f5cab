"""The baseline without a branch: a base that learns to see the map beside its latents."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline

from underdraw.errors import ConfigError
from underdraw.generation import Task, draw, finish, make_task
from underdraw.model import Backbone, predict
from underdraw.training.beside import BesideTask
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import State, train

Make = Callable[..., Recipe]
LORA = {"rank": 2, "targets": ["attention", "convolutions"]}


def run(recipe: Make, tiny: Path, name: str = "run", lora: dict[str, object] | None = None, **changes: object) -> State:
    told = {"task": "beside", "base": str(tiny), "condition": "depth"} | ({"lora": lora} if lora else {})
    made = recipe(told, name, **{"optimizer": {"lr": 0.02, "warmup": 0}, "average": 0.0} | changes)
    return train(build_task(made), made)


def beside(state: State) -> BesideTask:
    assert isinstance(state.task, BesideTask)
    return state.task


def test_at_first_the_map_is_not_heard(recipe: Make, tiny: Path) -> None:
    task = build_task(recipe({"task": "beside", "base": str(tiny), "condition": "depth"}))
    assert isinstance(task, BesideTask)
    backbone, chosen = Backbone.load(tiny), torch.tensor([0, 1])
    noisy, text = torch.randn(2, 4, 8, 8), backbone.encode_text(["a red square", ""])
    maps = task.hints(task.watched, chosen)
    with torch.no_grad():
        before = predict(backbone.unet, noisy[:, : backbone.unet.config.in_channels], torch.tensor(500), text)
        for shown in (maps, None):
            torch.testing.assert_close(
                task.predicted(noisy[:, : before.shape[1]], torch.tensor(500), text, shown), before, rtol=0, atol=1e-6
            )


@pytest.mark.parametrize("lora", [None, LORA])
def test_it_learns_the_map_and_becomes_a_base_that_sees_pictures(
    recipe: Make, tiny: Path, lora: dict[str, object] | None
) -> None:
    state = run(recipe, tiny, lora=lora)
    task = beside(state)
    gaps = task.gaps(torch.arange(8))
    assert gaps["right"] != gaps["shuffled"] and gaps["right"] != gaps["none"]
    assert task.sheet().shape[0] == 3
    task.export(state.folder / "export")
    opened, maps = Backbone.load(state.folder / "export"), task.hints(task.watched, torch.tensor([0]))
    size = (maps.shape[-1], maps.shape[-2])
    own = finish(
        task.backbone,
        draw(task.backbone, ["a square"], [3], size, steps=2, task=Task(beside=task.steering(maps).beside)),
    )
    again = finish(opened, draw(opened, ["a square"], [3], size, steps=2, task=make_task(opened, size, maps)))
    torch.testing.assert_close(again, own, rtol=0, atol=1e-4)
    other = finish(opened, draw(opened, ["a square"], [3], size, steps=2, task=make_task(opened, size, 1 - maps)))
    assert float((other - own).abs().max()) > 1e-3, "another map draws another picture"
    assert StableDiffusionInstructPix2PixPipeline.from_pretrained(
        state.folder / "export", safety_checker=None, feature_extractor=None
    ).unet.config.in_channels == 2 * (opened.unet.config.out_channels)


def test_it_resumes_to_the_same_bits(recipe: Make, tiny: Path) -> None:
    whole = run(recipe, tiny, "whole", LORA, steps=4)
    for end in (2, 4):
        parted = run(recipe, tiny, "parted", LORA, steps=end)
    one, two = (dict(state.task.module.state_dict()) for state in (whole, parted))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert all(name.startswith(("lora.", "conv_in.")) for name in one), "what learns is all that is kept"


def test_a_stack_of_maps_is_no_picture(recipe: Make, tiny: Path) -> None:
    told = {"task": "beside", "base": str(tiny), "condition": ["depth", "canny"], "join": "stack"}
    with pytest.raises(ConfigError, match="are no pictures; use learn"):
        build_task(recipe(told))
