"""Losses in TensorBoard's files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from underdraw.errors import MissingExtra
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trackers import Trackers, tracked
from underdraw.training.trainer import train
from underdraw.training.watchers import log, read_log

Make = Callable[..., Recipe]
VAE = {"task": "vae", "channels": [8, 16], "crop": 16}


def test_tensorboard_has_the_losses_of_the_log(recipe: Make) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told = recipe(VAE, trackers=["tensorboard"], steps=6, log_steps=2)
    with tracked(told) as trackers:
        train(build_task(told), told, [log, *trackers])
    with tracked(told.model_copy(update={"trackers": []})) as none:
        assert none == []
    (folder,) = (Path(told.output) / "tensorboard").glob("*")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    lines = read_log(Path(told.output) / "log.jsonl")
    for name in ("pixels", "edges", "kl"):
        kept = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in kept] == [2, 4, 6]
        assert [value for _, value in kept] == pytest.approx([line[name] for line in lines], rel=1e-5)
    assert [event.step for event in events.Scalars("learning rate")] == [2, 4, 6]


def test_a_tracker_that_is_not_installed_is_told_with_its_remedy(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told = recipe(VAE, trackers=["wandb"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"wandb is not installed; run: pip install 'underdraw\[wandb\]'"):
        Trackers(told)
