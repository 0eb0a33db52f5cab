"""Weights in bfloat16: rounding that is right on average, and a training that is as good and as repeatable."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from underdraw.errors import ConfigError
from underdraw.formats.checkpoint import Checkpoint, latest
from underdraw.model import load_control
from underdraw.model.backbone import Backbone
from underdraw.training.recipe import Recipe
from underdraw.training.rounding import LOWER, RoundedAdamW, rounded
from underdraw.training.tasks import build_task
from underdraw.training.trainer import State, train
from underdraw.training.watchers import log, swapped

Make = Callable[..., Recipe]


def test_rounding_is_right_on_average() -> None:
    """To four standard errors, for numbers of all sizes and both signs; what bfloat16 can say stays as it is."""
    draw, rounds = torch.Generator().manual_seed(0), 4096
    exact = torch.randn(200, generator=draw) * torch.logspace(-20, 20, 200)
    bits = torch.randint(LOWER + 1, (rounds, 200), generator=draw, dtype=torch.int32)
    found = rounded(exact.expand(rounds, -1).contiguous(), bits).double()
    below, above = found.min(0).values, found.max(0).values
    assert bool((below <= exact).all()) and bool((exact <= above).all())
    gap = above - below
    assert bool((gap <= exact.double().abs() * 2**-7).all()), "only the two neighbours"
    share = ((exact.double() - below) / gap.clamp(min=1e-300)).clamp(0, 1)
    error = (found.mean(0) - exact.double()).abs() / gap.clamp(min=1e-300)
    assert bool((error <= 4.5 * (share * (1 - share) / rounds).sqrt() + 1e-9).all())
    said = exact.to(torch.bfloat16)
    assert torch.equal(rounded(said.float(), bits[0]), said)
    odd = torch.tensor([math.nan, math.inf, -math.inf])
    assert rounded(odd, torch.full((3,), LOWER, dtype=torch.int32)).tolist()[1:] == [math.inf, -math.inf]
    assert rounded(odd, torch.full((3,), LOWER, dtype=torch.int32))[0].isnan()


def test_in_float32_it_is_adamw() -> None:
    draw = torch.Generator().manual_seed(0)
    mine, theirs = (nn.Parameter(torch.ones(3, 5)) for _ in range(2))
    optimizers = (
        RoundedAdamW([mine], 1e-2, (0.9, 0.99), 0.1),
        torch.optim.AdamW([theirs], 1e-2, (0.9, 0.99), weight_decay=0.1),
    )
    for _ in range(20):
        slope = torch.randn(3, 5, generator=draw)
        for parameter, optimizer in zip((mine, theirs), optimizers, strict=True):
            parameter.grad = slope.clone()
            optimizer.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_steps_far_below_a_weight_add_up() -> None:
    """A thousand steps of 10⁻⁵ from 1, whose nearest neighbour below is 1 - 2⁻⁸: to the nearest nothing would move."""
    weight = nn.Parameter(torch.ones(64, 64, dtype=torch.bfloat16).to(memory_format=torch.contiguous_format))
    optimizer = RoundedAdamW([weight], 1e-5, weight_decay=0.0)
    for _ in range(1000):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert float(weight.detach().float().mean()) == pytest.approx(0.99, abs=5e-4)
    assert optimizer.state[weight]["exp_avg"].dtype == optimizer.state[weight]["exp_avg_sq"].dtype == torch.bfloat16


def test_however_they_are_laid_out_the_same_numbers_learn() -> None:
    """A gradient in another layout than its weight is that gradient."""
    weights = [nn.Parameter(torch.ones(4, 3, 2, 2).to(memory_format=torch.channels_last)) for _ in range(2)]
    slope = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for weight, layout in zip(weights, (torch.channels_last, torch.contiguous_format), strict=True):
        weight.grad = slope.to(memory_format=layout)
        RoundedAdamW([weight], 1e-2).step()
    assert torch.equal(*weights) and torch.equal((weights[0] < 1).cpu(), slope > 0)


def told(tiny: Path, **changes: Any) -> dict[str, Any]:
    return {"task": "control", "base": str(tiny), "condition": "depth"} | changes


def run(recipe: Recipe, *watchers: Any) -> State:
    return train(build_task(recipe), recipe, [log, *watchers])


@pytest.mark.parametrize("changes", [{}, {"unlock": "decoder"}])
def test_resumed_it_is_the_same(recipe: Make, tiny: Path, changes: dict[str, Any]) -> None:
    whole, _, parted = (
        run(recipe(told(tiny, **changes), name, precision="bf16-weights", steps=steps))
        for name, steps in (("whole", 4), ("parted", 2), ("parted", 4))
    )
    one, two = (Checkpoint.load(latest(state.folder / "checkpoints") or Path()) for state in (whole, parted))
    assert {value.dtype for value in one.model.values()} == {torch.bfloat16}
    assert {value.dtype for value in one.average.values()} == {torch.float32}
    assert {value.dtype for name, value in one.optimizer.items() if "exp" in name} == {torch.bfloat16}
    for part in ("model", "average", "optimizer"):
        mine, theirs = getattr(one, part), getattr(two, part)
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    with swapped(whole):
        whole.task.sheet()
        whole.task.export(whole.folder / "export")
    load_control(whole.folder / "export", Backbone.load(tiny).unet)


def test_it_learns_as_float32_does(recipe: Make, tiny: Path) -> None:
    """Within 2 % of the error of float32 weights, on draws that neither run has seen."""
    errors = {}
    for precision in ("fp32", "bf16-weights"):
        changes: dict[str, Any] = {"steps": 40, "optimizer": {"lr": 3e-3, "warmup": 5}, "average": 0.9}
        state = run(recipe(told(tiny, unlock="all", merged=False), precision, precision=precision, **changes))
        with swapped(state), torch.no_grad():
            errors[precision] = sum(float(state.task.losses(step)["denoise"]) for step in range(1000, 1008))
        if precision == "fp32":
            with torch.no_grad():
                fresh = build_task(recipe(told(tiny, unlock="all", merged=False), "fresh"))
                errors["before"] = sum(float(fresh.losses(step)["denoise"]) for step in range(1000, 1008))
    assert errors["fp32"] < 0.9 * errors["before"], "there was something to learn"
    assert errors["bf16-weights"] < 1.02 * errors["fp32"]


def test_other_optimizers_and_other_tasks_are_refused(recipe: Make, tiny: Path) -> None:
    made = recipe(told(tiny), precision="bf16-weights", optimizer={"kind": "sgd"})
    with pytest.raises(ConfigError, match="bf16-weights is learnt by adamw, not by sgd"):
        train(build_task(made), made)
    with pytest.raises(ConfigError, match="bf16-weights is for U-Nets and what steers them, not for vae"):
        build_task(recipe({"task": "vae"}, precision="bf16-weights"))
