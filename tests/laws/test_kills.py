"""Law 5, for real: a process that is killed (SIGKILL) at moments nobody chose goes on to the bits of one that was not.

The runs are forked from a process that has imported everything, so that a life is short and a kill hits the training.
"""

import errno
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw.config import parse
from underdraw.data.folder import Record, write_folder
from underdraw.errors import UnderdrawError
from underdraw.formats.checkpoint import Checkpoint, latest
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import train
from underdraw.training.watchers import Checkpoints, log

STEPS = 120
"""Of a run that two kills hit; more kills need a longer one."""


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = torch.Generator().manual_seed(0)
    splits = ["watch"] * 2 + ["train"] * 8
    records = [
        Record(f"{i}", torch.rand(3, 32, 32, generator=draw), f"noise {i}", {}, {"split": split})
        for i, split in enumerate(splits)
    ]
    folder = tmp_path_factory.mktemp("noise")
    assert len(list(write_folder(folder, records))) == 10
    return folder


def _recipe(noise: Path, output: Path, steps: int = STEPS) -> Recipe:
    table: dict[str, Any] = {"output": str(output), "steps": steps, "batch": 3, "log_steps": 2, "threads": 1}
    table |= {"data": {"folders": [str(noise)]}, "learn": {"task": "vae", "channels": [8, 16], "crop": 16}}
    return parse(Recipe, table | {"checkpoint_minutes": 0.0005}, "test")


def _life(told: str, most: int = resource.RLIM_INFINITY) -> None:
    """One life of a run, in a process of its own; files may grow to `most` bytes."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    recipe = Recipe.model_validate_json(told)
    try:
        train(build_task(recipe), recipe, [log, Checkpoints()])
    except (UnderdrawError, OSError) as error:
        (Path(recipe.output).parent / "said").write_text(f"{type(error).__name__}: {error}")
        os._exit(7)
    os._exit(0)


def _begin(recipe: Recipe, *more: int) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["underdraw.training.tasks", "underdraw.training.watchers", __name__])
    process = context.Process(target=_life, args=(recipe.model_dump_json(), *more))
    process.start()
    return process


def _same(first: Path, second: Path) -> None:
    one, two = (Checkpoint.load(place) for place in map(_newest, (first, second)))
    assert one.step == two.step
    for part in ("model", "average", "optimizer"):
        mine, others = getattr(one, part), getattr(two, part)
        assert mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)
    assert (first / "log.jsonl").read_bytes() == (second / "log.jsonl").read_bytes()


def _newest(folder: Path) -> Path:
    place = latest(folder / "checkpoints")
    assert place is not None
    return place


def _killed(recipe: Recipe, kills: int) -> tuple[int, set[str]]:
    """Kill a run so often at random moments and let it end; how many kills hit, and at which checkpoints."""
    chance, hit, seen = random.Random(5), 0, set[str]()
    folder = Path(recipe.output)
    for _ in range(2 * kills):
        process = _begin(recipe)
        begun, before = time.monotonic(), _step(folder)
        wait = chance.uniform(0.0, 0.25)
        while process.is_alive() and time.monotonic() - begun < 60:
            if hit < kills and _step(folder) != before:
                time.sleep(wait)  # it has begun to write: now at any moment, in a step or within a save
                process.kill()
            time.sleep(0.002)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        hit, seen = hit + 1, seen | {_step(folder)}
    return hit, seen


def _step(folder: Path) -> str:
    return getattr(latest(folder / "checkpoints"), "name", "")


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(noise: Path, tmp_path: Path, kills: int) -> None:
    whole, killed = (_recipe(noise, tmp_path / name, 60 * kills) for name in ("whole", "killed"))
    train(build_task(whole), whole, [log])
    hit, seen = _killed(killed, kills)
    assert hit == kills and len(seen) > kills // 2, "kills must hit a run that is under way"
    assert _step(tmp_path / "killed") == f"step-{whole.steps:08d}"
    _same(tmp_path / "whole", tmp_path / "killed")


def test_a_full_disk_ends_the_run_in_one_line_and_it_goes_on_when_there_is_room(noise: Path, tmp_path: Path) -> None:
    """The kernel refuses to let a file grow (as on a full disk, in the middle of a write)."""
    whole = _recipe(noise, tmp_path / "whole")
    train(build_task(whole), whole, [log, Checkpoints()])
    size = (_newest(tmp_path / "whole") / "model.safetensors").stat().st_size
    recipe = _recipe(noise, tmp_path / "full")
    half = recipe.model_copy(update={"steps": 30})
    train(build_task(half), half, [log])
    process = _begin(recipe, size // 2)
    process.join(60)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 7 and "cannot write" in said and os.strerror(errno.EFBIG) in said, said
    assert [place.name for place in (tmp_path / "full" / "checkpoints").iterdir()] == ["step-00000030"]
    train(build_task(recipe), recipe, [log])
    _same(tmp_path / "whole", tmp_path / "full")
