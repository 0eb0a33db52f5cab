import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.annotators.readers import load_reader
from underdraw.data.batches import PictureSet
from underdraw.errors import ConfigError
from underdraw.training.reader import ReaderTask
from underdraw.training.recipe import ReaderRun, Recipe
from underdraw.training.trainer import train


def recipe(folder: Path, **changes: Any) -> Recipe:
    told = {
        "output": str(folder),
        "steps": 60,
        "batch": 8,
        "data": {"folders": ["none"], "maps": ["depth"]},
        "optimizer": {"lr": 4e-3, "warmup": 5},
        "learn": {"task": "reader", "channels": [8, 16]},
    }
    return Recipe.model_validate(told | changes)


def balls(count: int, without: int = 0) -> PictureSet:
    """Coloured balls before a wall: what is nearer is larger. The last `without` pictures have no map."""
    generator = torch.Generator().manual_seed(count)
    place, colour, radius = (torch.rand(count, n, 1, 1, generator=generator) for n in (2, 3, 1))
    down, across = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 24), indexing="ij")
    radius = 0.15 + 0.25 * radius[:, 0]
    inside = ((down - place[:, 0]) ** 2 + (across - place[:, 1]) ** 2 < radius**2)[:, None].float()
    pixels = inside * colour + (1 - inside) * 0.5
    depth = inside * (0.3 + 1.5 * radius[:, None])
    return PictureSet(
        (pixels * 255).round().to(torch.uint8),
        [["a ball"]] * count,
        {"depth": (depth.expand(-1, 3, -1, -1) * 255).round().to(torch.uint8)},
        {"depth": torch.arange(count) < count - without},
        [{}] * count,
    )


def task(folder: Path, **changes: Any) -> ReaderTask:
    told = recipe(folder, **changes)
    assert isinstance(told.learn, ReaderRun)
    return ReaderTask(told, told.learn, balls(64), balls(16))


def test_it_learns_and_its_export_reads(tmp_path: Path) -> None:
    learner = task(tmp_path)
    before = learner.figures()["rmse"]
    state = train(learner, learner.recipe)
    assert state.step == 60
    assert learner.figures()["rmse"] < 0.7 * before
    assert learner.sheet().shape[0] == 3
    learner.export(tmp_path / "export")
    loaded = load_reader(tmp_path / "export" / "depth.safetensors")
    assert (loaded.shape.kind, loaded.shape.learned_from) == ("depth", "train")
    pictures = learner.watched.pictures(torch.arange(4))
    assert_close(loaded(pictures), learner.reader(pictures))


def test_losses_are_a_function_of_the_step(tmp_path: Path) -> None:
    def figures(step: int) -> dict[str, float]:
        return {name: loss.item() for name, loss in task(tmp_path).losses(step).items()}

    assert figures(3) == figures(3)
    assert figures(3)["map"] != figures(4)["map"]
    assert all(math.isfinite(figure) for figure in figures(3).values())


def test_what_is_seen_and_what_is_wanted_are_mirrored_together(tmp_path: Path) -> None:
    """A reader that copies brightness would do well: map and picture still lie on each other after all changes."""
    learner = task(tmp_path)
    seen: list[Tensor] = []

    def spy(pictures: Tensor) -> Tensor:
        seen.append(pictures)
        return pictures.mean(1, keepdim=True)

    learner.reader.forward = spy  # type: ignore[method-assign]
    bright = learner.pictures.maps["depth"]
    learner.pictures = PictureSet(bright, [["x"]] * 64, {"depth": bright}, {"depth": torch.ones(64) > 0}, [{}] * 64)
    losses = learner.losses(0)
    assert losses["map"].item() < 0.06
    assert not torch.equal(seen[0], learner.pictures.pictures(torch.arange(8)))


def test_pictures_without_a_map_are_left_out(tmp_path: Path) -> None:
    told = recipe(tmp_path)
    assert isinstance(told.learn, ReaderRun)
    learner = ReaderTask(told, told.learn, balls(64, without=40), balls(16))
    assert len(learner.pictures) == 24 and len(learner.pictures.texts) == 24
    assert bool(learner.pictures.has["depth"].all())


@pytest.mark.parametrize("split", ["split", "watch_split"])
def test_a_judge_never_learns_from_the_report(tmp_path: Path, split: str) -> None:
    with pytest.raises(ConfigError, match="must not see the report split"):
        task(tmp_path, data={"folders": ["none"], "maps": ["depth"], split: "report"})


def test_a_recipe_must_read_the_map_that_it_learns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.maps lacks 'depth'"):
        task(tmp_path, data={"folders": ["none"]})
