"""What a plan counts of the kinds of runs, against what such a run really holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw.errors import ConfigError
from underdraw.training.plan import foresee
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import resumed, train

Make = Callable[..., Recipe]
KINDS: dict[str, dict[str, Any]] = {
    "control": {"task": "control", "condition": "depth"},
    "control-lora": {"task": "control", "condition": "depth", "lora": {"rank": 2}},
    "lora": {"task": "lora", "lora": {"rank": 2, "targets": ["attention", "convolutions"]}},
    "finetune": {"task": "finetune", "unlock": "decoder"},
}


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("control", "bf16-weights"), ("control-lora", "fp32"), ("lora", "fp32"), ("finetune", "bf16-weights")],
)
def test_what_is_held_is_counted(recipe: Make, tiny: Path, kind: str, precision: str) -> None:
    """To the byte: the moving average, the gradients and the optimizer's states."""
    made = recipe(KINDS[kind] | {"base": str(tiny)}, steps=1, precision=precision)
    plan = foresee(made, 0, timed=False)
    task = build_task(made)
    learns = [each for each in task.module.parameters() if each.requires_grad]
    state = resumed(task, made)
    average = sum(value.nbytes for value in state.average.values() if value.is_floating_point())
    assert plan.held["moving average"] == average
    assert plan.held["gradients"] == sum(each.nbytes for each in learns)
    state = train(task, made)
    states = [value for each in state.optimizer.state.values() for value in each.values()]
    moments = sum(value.nbytes for value in states if isinstance(value, torch.Tensor) and value.ndim)
    assert moments <= plan.held["optimizer"] <= moments + 64 * len(learns)


def test_a_prior_is_another_batch(recipe: Make, tiny: Path) -> None:
    plans = []
    for changes in ({}, {"prior": {"prompt": "a square"}}):
        plans.append(foresee(recipe(KINDS["lora"] | {"base": str(tiny)} | changes), 0, timed=False))
    assert plans[1].held["within a step"] > 1.6 * plans[0].held["within a step"]


@pytest.mark.parametrize(
    ("learn", "words"),
    [
        ({"task": "textual-inversion", "word": "<a>", "initial": "b"}, "not of textual-inversion"),
        ({"task": "lora", "lora": {"parts": ["unet", "text_encoder"]}}, "LoRAs on the unet alone, not on unet, text_"),
    ],
)
def test_what_is_not_counted_is_refused_by_name(recipe: Make, tiny: Path, learn: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        foresee(recipe(learn | {"base": str(tiny)}), 0)
