"""Law 5: a run that is killed anywhere and resumed gives the bits of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from underdraw.config import parse
from underdraw.data.batches import batch_indices, generators
from underdraw.data.folder import Record, write_folder
from underdraw.formats.checkpoint import Checkpoint, latest
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import train
from underdraw.training.watchers import log


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """An image folder of ten noisy pictures."""
    draw = torch.Generator().manual_seed(0)
    splits = ["watch"] * 2 + ["train"] * 8
    records = [
        Record(f"{i}", torch.rand(3, 32, 32, generator=draw), f"noise {i}", {}, {"split": split})
        for i, split in enumerate(splits)
    ]
    assert len(list(write_folder(tmp_path / "noise", records))) == 10
    return tmp_path / "noise"


def _recipe(folder: Path, output: Path, **changes: object) -> Recipe:
    table: dict[str, object] = {"output": str(output), "steps": 9, "batch": 3, "log_steps": 2, "precision": "bf16"}
    table["data"] = {"folders": [str(folder)]}
    table["learn"] = {"task": "vae", "channels": [8, 16], "crop": 16}
    return parse(Recipe, table | changes, "test")


def _same(first: Path, second: Path) -> None:
    places = [latest(folder / "checkpoints") for folder in (first, second)]
    assert places[0] is not None
    assert places[1] is not None
    one, two = (Checkpoint.load(place) for place in places if place)
    assert one.step == two.step
    for part in ("model", "average", "optimizer"):
        mine, theirs = getattr(one, part), getattr(two, part)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert (first / "log.jsonl").read_text() == (second / "log.jsonl").read_text()


def test_stopped_between_steps(noise: Path, tmp_path: Path) -> None:
    whole, parted = _recipe(noise, tmp_path / "whole"), _recipe(noise, tmp_path / "parted")
    train(build_task(whole), whole, [log])
    for steps in (2, 5):  # the steps do not fall on lines of the log
        stopping = parted.model_copy(update={"steps": steps})
        train(build_task(stopping), stopping, [log])
    train(build_task(parted), parted, [log])
    _same(tmp_path / "whole", tmp_path / "parted")


def test_lines_of_the_log_past_the_checkpoint_are_written_again(noise: Path, tmp_path: Path) -> None:
    whole, killed = _recipe(noise, tmp_path / "whole"), _recipe(noise, tmp_path / "killed")
    train(build_task(whole), whole, [log])
    half = killed.model_copy(update={"steps": 4})
    train(build_task(half), half, [log])
    with (tmp_path / "killed" / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "pixels": 9.0}\n{"step": 8, "pix')  # written after the checkpoint; the last one torn
    train(build_task(killed), killed, [log])
    _same(tmp_path / "whole", tmp_path / "killed")


def test_killed_inside_a_save(noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = _recipe(noise, tmp_path / "whole"), _recipe(noise, tmp_path / "killed")
    train(build_task(whole), whole, [log])
    half = killed.model_copy(update={"steps": 4})
    train(build_task(half), half, [log])
    later = killed.model_copy(update={"steps": 7})

    class Killed(BaseException):
        """As a kill: nothing tidies up."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("underdraw.files._replace", die)
        patch.setattr("underdraw.files._remove", lambda draft: None)
        with pytest.raises(Killed):
            train(build_task(later), later, [log])
    assert list((tmp_path / "killed" / "checkpoints").glob(".*.part"))  # the half-written one is there, and is not seen
    train(build_task(killed), killed, [log])
    _same(tmp_path / "whole", tmp_path / "killed")


def test_a_signal_ends_the_run_with_a_checkpoint(noise: Path, tmp_path: Path) -> None:
    lines = [f'output = "{tmp_path / "run"}"', "steps = 100000", "batch = 2", "[data]", f'folders = ["{noise}"]']
    lines += ["[learn]", 'task = "vae"', "channels = [8, 16]", "crop = 16"]
    (tmp_path / "run.toml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "underdraw.apps.cli", "train", str(tmp_path / "run.toml")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for _ in range(600):
        if (tmp_path / "run" / "log.jsonl").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said.decode()
    place = latest(tmp_path / "run" / "checkpoints")
    assert place is not None
    assert Checkpoint.load(place).step >= 20


def test_order_and_draws_are_functions_of_seed_step_and_sample() -> None:
    epoch = torch.cat([batch_indices(3, step, 5, 10) for step in range(2)])
    assert sorted(epoch.tolist()) == list(range(10))
    assert not torch.equal(epoch, torch.cat([batch_indices(3, step, 5, 10) for step in (2, 3)]))
    whole = [torch.rand(2, generator=draw) for draw in generators(1, 7, range(4))]
    halves = [torch.rand(2, generator=draw) for part in ((0, 1), (2, 3)) for draw in generators(1, 7, part)]
    assert all(torch.equal(one, two) for one, two in zip(whole, halves, strict=True))
    assert len({tuple(values.tolist()) for values in whole}) == 4
