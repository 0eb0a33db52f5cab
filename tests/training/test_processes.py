"""Shares of a batch: two processes (gloo), parts after each other, and recomputed insides give what one step gives."""

import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from underdraw.errors import ConfigError
from underdraw.formats.checkpoint import Checkpoint, latest
from underdraw.training.processes import own
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import Task, resumed, train
from underdraw.training.watchers import Checkpoints, log

Make = Callable[..., Recipe]
PLAIN = {"kind": "sgd", "lr": 0.3, "betas": [0.0, 0.0], "warmup": 0, "weight_decay": 0.0}


def _told(tiny: Path) -> dict[str, Any]:
    return {"task": "control", "base": str(tiny), "condition": "depth"}


def _gradients(task: Task, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Of the first step, before the optimizer takes it."""
    found: dict[str, torch.Tensor] = {}

    def keep(optimizer: Any, *_: object) -> None:
        found.update({n: p.grad.clone() for n, p in task.module.named_parameters() if p.grad is not None})

    handle = register_optimizer_step_pre_hook(keep)
    train(task, recipe.model_copy(update={"steps": 1}), [log])
    handle.remove()
    return found


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"accumulate": 4}, {"checkpointing": True}])
def test_gradients_of_parts_are_those_of_the_whole(recipe: Make, tiny: Path, changes: dict[str, Any]) -> None:
    whole = recipe(_told(tiny), "whole", optimizer=PLAIN)
    parted = recipe(_told(tiny), "parted", optimizer=PLAIN, **changes)
    expected, found = _gradients(build_task(whole), whole), _gradients(build_task(parted), parted)
    assert expected.keys() == found.keys() and any(bool(each.any()) for each in found.values())
    for name, each in expected.items():
        torch.testing.assert_close(found[name], each, rtol=1e-4, atol=1e-7, msg=name)


def test_shares_must_be_equal(recipe: Make, tiny: Path) -> None:
    told = recipe(_told(tiny), accumulate=3)
    with pytest.raises(ConfigError, match="batch = 4 does not divide by 3"):
        train(build_task(told), told)


def test_a_clip_needs_its_whole_batch(recipe: Make) -> None:
    clip = {"task": "clip", "vocabulary": 560, "tokens": 16, "width": 32, "layers": 1, "heads": 2, "patch": 16}
    told = recipe(clip, accumulate=2)
    with pytest.raises(ConfigError, match="a CLIP tells pictures of a whole batch apart"):
        train(build_task(told), told)


def test_deepspeed_is_refused_by_name(recipe: Make, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ConfigError, match="DeepSpeed takes the steps by itself and is not supported; use FSDP"):
        build_task(recipe(_told(tiny)))


def _process(told: list[str], rank: int, port: int, fsdp: bool) -> None:
    """One of two processes, as `accelerate launch --num_processes 2` starts them; it does the runs one by one."""
    import os

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"ACCELERATE_USE_FSDP": "true"} if fsdp else {}
    for each in told:
        recipe = Recipe.model_validate_json(each)
        state = train(build_task(recipe), recipe, [log, Checkpoints()])
        assert torch.distributed.get_world_size() == 2
        parameters = list(state.task.module.parameters())
        share = sum(own(each).numel() for each in parameters) / sum(each.numel() for each in parameters)
        assert share < 0.6 if fsdp else share == 1
    torch.distributed.destroy_process_group()


def _in_two(recipes: list[Recipe], fsdp: bool = False) -> None:
    """Do runs, one after the other, in two processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["underdraw.training.tasks", "underdraw.training.watchers", __name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = [recipe.model_dump_json() for recipe in recipes]
    both = [context.Process(target=_process, args=(told, rank, port, fsdp)) for rank in (0, 1)]
    for each in both:
        each.start()
    for each in both:
        each.join(300)
    assert [each.exitcode for each in both] == [0, 0]


@pytest.mark.parametrize("fsdp", [False, True])
def test_two_processes_learn_what_one_with_the_whole_batch_learns(recipe: Make, tiny: Path, fsdp: bool) -> None:
    alone, apart = (recipe(_told(tiny), name, optimizer=PLAIN, steps=4) for name in ("alone", "apart"))
    train(build_task(alone), alone, [log])
    _in_two([apart], fsdp)
    one, two = (Checkpoint.load(place) for place in map(_newest, (alone, apart)))
    assert one.step == two.step == 4
    moved = 0.0
    before = build_task(recipe(_told(tiny), "new")).module.state_dict()
    for name, value in one.model.items():
        torch.testing.assert_close(two.model[name], value, rtol=1e-4, atol=1e-6, msg=name)
        moved = max(moved, float((value - before[name]).abs().max()))
    assert moved > 1e-3, "they have learnt something"
    lines = [(Path(each.output) / "log.jsonl").read_text().splitlines() for each in (alone, apart)]
    assert len(lines[0]) == len(lines[1]) == 2, "one process alone writes"


def test_divided_runs_resume_to_the_same_bits_and_one_process_reads_them(recipe: Make, tiny: Path) -> None:
    """The whole U-Net with its moments; a checkpoint holds all of it, in whatever way it was divided."""
    learn = {"task": "finetune", "base": str(tiny), "merged": False}
    whole, half, parted = (recipe(learn, name, steps=steps) for name, steps in (("w", 4), ("p", 2), ("p", 4)))
    _in_two([whole, half, parted], fsdp=True)
    one, two = (Checkpoint.load(_newest(each)) for each in (whole, parted))
    assert one.step == two.step == 4
    for part in ("model", "average", "optimizer"):
        mine, theirs = getattr(one, part), getattr(two, part)
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    alone = resumed(build_task(whole), whole)
    assert alone.step == 4
    for name, value in alone.task.module.state_dict().items():
        assert torch.equal(value, one.model[name]), name


def _newest(recipe: Recipe) -> Path:
    place = latest(Path(recipe.output) / "checkpoints")
    assert place is not None
    return place
