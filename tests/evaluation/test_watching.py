"""A ControlNet's run is looked at while it goes on."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

from underdraw.config import parse
from underdraw.data.folder import write_folder
from underdraw.errors import ConfigError, InputError
from underdraw.evaluation.judges import call_judge
from underdraw.evaluation.watching import wanted, watcher, who_watches
from underdraw.model import Backbone, load_control
from underdraw.training.control import ControlTask
from underdraw.training.obedience import Obedience, read_looks
from underdraw.training.page import Page
from underdraw.training.pictures import subset
from underdraw.training.recipe import Recipe, Watch
from underdraw.training.tasks import build_task
from underdraw.training.trainer import train
from underdraw.training.watchers import Sheets, log

from ..generation.conftest import tiny_base
from .conftest import records

Make = Callable[..., tuple[ControlTask, Recipe]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 balls in rooms to learn from, 12 to watch; and a tiny random base beside them."""
    root = tmp_path_factory.mktemp("watching")
    for _ in write_folder(root / "rooms", [*records("rooms", "train", 16), *records("rooms", "watch", 12)]):
        pass
    tiny_base(root / "tiny")
    return root


@pytest.fixture
def make(world: Path, tmp_path: Path) -> Make:
    """A control task and its recipe, for a condition."""

    def built(condition: str, name: str = "run", **changes: object) -> tuple[ControlTask, Recipe]:
        table = {
            "output": str(tmp_path / name),
            "steps": 4,
            "batch": 4,
            "log_steps": 2,
            "sheet_steps": 99,
            "data": {"folders": [str(world / "rooms")], "maps": ["depth"]},
            "learn": {"task": "control", "base": str(world / "tiny"), "condition": condition},
            "watch": {"steps": 2, "items": 8},
        }
        recipe = parse(Recipe, table | changes, "test")
        task = build_task(recipe)
        assert isinstance(task, ControlTask)
        return task, recipe

    return built


@pytest.mark.parametrize(("condition", "measure"), [("canny", "F1 at 1 px"), ("depth", "denoising loss (negative)")])
def test_a_run_is_looked_at(make: Make, condition: str, measure: str) -> None:
    task, recipe = make(condition)
    said: list[str] = []
    state = train(task, recipe, [watcher(task, recipe.watch, said.append)])
    looks = read_looks(state.folder / "obedience.jsonl")
    assert [look.step for look in looks] == [2, 4]
    assert all(len(scores) == 8 for look in looks for scores in (look.right, look.none, look.shuffled))
    assert looks[0].none == looks[1].none
    told = json.loads((state.folder / "obedience.json").read_text())
    assert told["measure"] == measure and told["verdict"] is None and said == []
    assert (state.folder / "obedience.png").read_bytes().startswith(b"\x89PNG")
    load_control(state.folder / "best", Backbone.load(recipe.learn.base).unet)  # type: ignore[union-attr]


def test_what_no_annotator_sees_is_watched_by_the_reader_that_ships(
    make: Make, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or by the one that the recipe names; not by one that teaches."""
    task, recipe = make("depth")
    assert who_watches(task) is None
    monkeypatch.setattr("underdraw.annotators.readers.SHIPPED", reader.parent)
    judge = who_watches(task)
    assert judge is not None and judge.told["reader"] == "reader.safetensors"
    state = train(task, recipe, [watcher(task, recipe.watch, print)])
    told = json.loads((state.folder / "obedience.json").read_text())
    assert told["measure"] == "RMSE"
    assert all(score < 0 for score in read_looks(state.folder / "obedience.jsonl")[0].right), "more is better"
    learn = recipe.learn.model_dump() | {"consistency": {"reader": str(reader)}}
    assert who_watches(make("depth", learn=learn)[0]) is None


def test_what_is_wanted_of_a_pose_are_points(make: Make, reader: Path) -> None:
    task, _ = make("depth")
    points = [[4.0 + k, 6.0 + k, 2.0] for k in range(18)]
    task.watched.attributes[1]["keypoints"] = points
    judge = call_judge("pose", [reader], "watch")
    found = wanted(task, judge, torch.tensor([0, 1]), torch.zeros(2, 3, 32, 32))
    assert found.shape == (2, 4, 18, 3)
    assert not found[0].any() and torch.equal(found[1, 0], torch.tensor(points))


def test_an_unlocked_base_is_drawn_without_its_net_at_every_look(make: Make) -> None:
    task, recipe = make(
        "canny",
        learn=make("canny")[1].learn.model_dump() | {"unlock": "all", "merged": False},
        optimizer={"lr": 0.05, "warmup": 0},
        average=0.0,
    )
    state = train(task, recipe, [watcher(task, recipe.watch, lambda line: None)])
    first, second = read_looks(state.folder / "obedience.jsonl")
    assert first.none != second.none


def test_a_silent_net_shows_no_gap(make: Make) -> None:
    """Before the first step the zero convolutions are silent: right, none and shuffled are the same pictures."""
    for condition in ("canny", "depth"):
        task, recipe = make(condition)
        looks: list[Mapping[str, object]] = []
        watch = watcher(task, recipe.watch, print)
        with torch.no_grad():
            looks.append(watch._scores())
        assert looks[0]["right"] == looks[0]["none"] == looks[0]["shuffled"]


def test_looking_does_not_change_the_run(make: Make) -> None:
    def weights(name: str, *, watched: bool) -> dict[str, torch.Tensor]:
        task, recipe = make("canny", name)
        state = train(task, recipe, [watcher(task, recipe.watch, print)] if watched else [])
        return {key: value.clone() for key, value in state.task.module.state_dict().items()}

    looked, blind = weights("looked", watched=True), weights("blind", watched=False)
    assert all(torch.equal(value, blind[name]) for name, value in looked.items())


def _fake(gaps: Iterator[float]) -> Callable[[], Mapping[str, list[float]]]:
    def scores() -> Mapping[str, list[float]]:
        gap = next(gaps)
        base = [0.3 + 0.01 * k for k in range(12)]
        right = [value + gap + 0.001 * (k % 3) for k, value in enumerate(base)]
        return {"right": right, "none": base, "shuffled": base}

    return scores


def test_it_is_announced_once_and_patience_ends_the_run(make: Make) -> None:
    task, recipe = make("canny", steps=40, watch={"steps": 1})
    said: list[str] = []
    gaps = iter([0.0, 0.0, 0.0, 0.3, 0.31, 0.32, *[0.3] * 40])
    state = train(task, recipe, [Obedience(_fake(gaps), "F1", 1, said.append, patience=3)])
    assert said[0] == "obeys since step 4: it came suddenly" and len(said) == 2
    assert "no better than at step 6 for 3 looks" in said[1]
    assert state.step == 9


def test_too_few_watched_pictures_and_foreign_readers_are_refused(make: Make, tmp_path: Path) -> None:
    task, recipe = make("canny", data={"folders": recipe_folders(make), "watch_split": "watch"})
    task.watched = subset(task.watched, torch.arange(5))
    with pytest.raises(InputError, match="5 watched pictures are too few"):
        watcher(task, recipe.watch, print)
    with pytest.raises(ConfigError, match="items"):
        parse(Watch, {"items": 3}, "test")


def recipe_folders(make: Make) -> list[str]:
    return make("canny")[1].data.folders


def test_the_page_shows_the_run_in_one_file(make: Make) -> None:
    task, recipe = make("canny", sheet_steps=2)
    state = train(task, recipe, [log, Sheets(), watcher(task, recipe.watch, print), Page()])
    page = (state.folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "step 4 of 4" in page and "does not obey yet" in page
    assert page.count("data:image/png;base64,") == 4, "two sheets, the losses, the obedience"
    assert "http" not in page.split("Recipe")[0], "nothing is fetched"
    assert "denoise" in page
