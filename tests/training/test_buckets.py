"""Trainings on prepared data: one bucket a batch, latents kept by bucket, and the same bits after a resume."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw import images
from underdraw.config import parse
from underdraw.data.batches import generators
from underdraw.data.preparation import Made, Preparation
from underdraw.data.prepare import prepare
from underdraw.data.shards import ShardSet
from underdraw.data.sources import open_source
from underdraw.errors import ConfigError, InputError
from underdraw.formats.checkpoint import Checkpoint, latest
from underdraw.model import Backbone
from underdraw.training.control import ControlTask
from underdraw.training.hints import Hints
from underdraw.training.lora import LoraTask
from underdraw.training.pictures import Share, learnt, samples, sizes, watched
from underdraw.training.recipe import ControlRun, Data, Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import train
from underdraw.training.watchers import Sheets, log

from ..data.conftest import blocks, save

SIZES = ((40, 40), (64, 40), (40, 64))
BUCKETS = Preparation(
    size=(32, 32), step=8, watch=0, form="png", draws=2, duplicates="keep", annotators=[Made(kind="canny")]
)
Tell = Callable[..., Recipe]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures in three buckets to learn from, and four to watch, each with two canny maps."""
    folder = tmp_path_factory.mktemp("prepared")
    lines = []
    for number in range(16):
        name = f"{number:02}.png"
        save(blocks(number, *SIZES[number % 3]), folder / "source" / "images" / name)
        split = "watch" if number >= 12 else "train"
        lines.append(json.dumps({"file_name": f"images/{name}", "text": f"number {number}", "split": split}))
    (folder / "source" / "metadata.jsonl").write_text("\n".join(lines))
    list(prepare(open_source(folder / "source"), folder / "data", BUCKETS))
    return folder / "data"


@pytest.fixture
def tell(prepared: Path, tiny: Path, tmp_path: Path) -> Tell:
    def make(name: str, task: str = "control", **changes: Any) -> Recipe:
        learn = {"task": task, "base": str(tiny)} | ({"condition": "canny"} if task == "control" else {})
        table: dict[str, Any] = {"output": str(tmp_path / name), "steps": 7, "batch": 2, "log_steps": 2, "learn": learn}
        table["data"] = {"folders": [str(prepared)], "maps": ["canny"]}
        return parse(Recipe, table | {"sheet_steps": 7, "optimizer": {"lr": 1e-3}} | changes, "test")

    return make


def test_a_batch_is_of_one_bucket_and_every_bucket_is_learnt_from(tell: Tell) -> None:
    task = build_task(tell("run"))
    assert isinstance(task, ControlTask) and isinstance(task.pictures, ShardSet)
    assert len(sizes(task.pictures)) == 3
    seen, shapes = [], set()
    for step in range(6):  # an epoch: twelve pictures, two a step
        chosen = samples(task.pictures, task.recipe.seed, step, 2)
        shown, factor = task.pictures.pictures(chosen.indices), task.backbone.factor
        assert task.latents.shape(chosen.indices)[-2:] == (shown.shape[-2] // factor, shown.shape[-1] // factor)
        assert task.losses(step)["denoise"].isfinite()
        shapes.add(tuple(shown.shape[-2:]))
        seen += chosen.indices.tolist()
    assert sorted(seen) == list(range(12)) and len(shapes) == 3


def test_latents_are_kept_a_bucket_and_are_those_of_the_pictures(
    tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = build_task(tell("first"))
    assert isinstance(task, ControlTask)
    assert len(list((tmp_path / "cache").glob("moments-*.safetensors"))) == 3
    for rows in task.pictures.buckets if isinstance(task.pictures, ShardSet) else []:
        with torch.no_grad():
            expected = task.backbone.encode_picture(task.pictures.pictures(rows[:1]))
        kept = task.latents.moments(rows[:1])
        torch.testing.assert_close(kept.mean, expected.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(kept.deviation, expected.deviation, rtol=1e-4, atol=1e-5)

    def refuse(*_: object) -> None:
        raise AssertionError("what is kept was encoded again")

    monkeypatch.setattr(Backbone, "encode_picture", refuse)
    again = build_task(tell("second"))
    assert isinstance(again, ControlTask) and torch.equal(again.losses(3)["denoise"], task.losses(3)["denoise"])


@pytest.mark.parametrize("task", ["control", "lora"])
def test_a_run_over_buckets_resumes_to_the_same_bits(tell: Tell, tmp_path: Path, task: str) -> None:
    for name, ends in (("whole", (7,)), ("parted", (3, 5, 7))):
        for end in ends:
            recipe = tell(name, task, steps=end)
            train(build_task(recipe), recipe, [log])
    places = [latest(tmp_path / name / "checkpoints") for name in ("whole", "parted")]
    whole, parted = (Checkpoint.load(place) for place in places if place)
    for part in ("model", "average", "optimizer"):
        mine, others = getattr(whole, part), getattr(parted, part)
        assert all(torch.equal(value, others[name]) for name, value in mine.items())
    assert (tmp_path / "whole" / "log.jsonl").read_text() == (tmp_path / "parted" / "log.jsonl").read_text()


def test_what_is_watched_is_the_largest_bucket(tell: Tell, tmp_path: Path, prepared: Path) -> None:
    recipe = tell("run")
    state = train(build_task(recipe), recipe, [log, Sheets()])
    assert state.step == 7
    shown = watched(recipe.data)
    # Of pictures 12 to 15 two are square, and one each is wide and tall.
    assert len(shown) == 2 and shown.pixels.shape[-2:] == (32, 32)
    assert images.read(tmp_path / "run" / "sheets" / "00000007.png").shape[-1] == 2 * 32 + 3 * 2


def test_pictures_that_are_not_square_are_sketched_as_they_are(tell: Tell) -> None:
    task = build_task(tell("run", "lora"))
    assert isinstance(task, LoraTask)
    wide = ShardSet.load(task.recipe.data.folders, "train", ["canny"])
    rows = wide.buckets[wide.sizes.index(max(wide.sizes))]
    task.watched = replace(wide, samples=[wide.samples[int(row)] for row in rows]).gathered()
    width, height = max(wide.sizes)
    assert width > height
    assert task.sheet().shape == (3, 3 * height + 4 * 2, len(rows) * width + (len(rows) + 1) * 2)


def test_each_sample_draws_one_of_its_prepared_maps(prepared: Path) -> None:
    pictures = ShardSet.load([prepared], "train", ["canny"])
    hints = Hints(ControlRun(base="b", condition="canny"))
    several = 0
    for row in range(len(pictures)):
        rows = torch.tensor([row])
        shown = [hints(pictures, rows, generators(0, step, [0])) for step in range(8)]
        kept = [pictures.map("canny", rows, draws=generators(0, step, [0])) for step in range(8)]
        assert all(torch.equal(one, two.expand(-1, 3, -1, -1)) for one, two in zip(shown, kept, strict=True))
        several += len({one.numpy().tobytes() for one in shown}) == 2
        assert torch.equal(hints(pictures, rows), pictures.map("canny", rows).expand(-1, 3, -1, -1))
    assert several > 1, "random knobs give other maps of some pictures"


def test_a_smaller_set_is_a_part_of_a_larger_one(squares: Path, prepared: Path) -> None:
    for folder, most in ((squares, 16), (prepared, 12)):
        few, more = (
            learnt(Data(folders=[str(folder)], pictures=count), buckets=folder == prepared) for count in (3, 9)
        )
        names = [sorted(str(text) for text in found.texts) for found in (few, more)]
        assert len(few) == 3 and len(more) == 9
        assert all(name in names[1] for name in names[0])
        with pytest.raises(InputError, match=rf"data.pictures = 99, but split 'train' has {most}; choose fewer"):
            learnt(Data(folders=[str(folder)], pictures=99), buckets=folder == prepared)


def test_pictures_are_learnt_mirrored_as_well(squares: Path, prepared: Path) -> None:
    """With latents of their own: a mirrored picture is another one."""
    both = learnt(Data(folders=[str(prepared)], maps=["canny"], mirror=True), buckets=True)
    plain = learnt(Data(folders=[str(prepared)], maps=["canny"]), buckets=True)
    assert isinstance(both, ShardSet) and len(both) == 2 * len(plain)
    first, last = (torch.tensor([row]) for row in (0, len(plain)))
    assert torch.equal(both.pictures(last), both.pictures(first).flip(-1))
    assert torch.equal(both.map("canny", last), both.map("canny", first).flip(-1))
    with pytest.raises(ConfigError, match=r"data.mirror = true wants prepared data"):
        learnt(Data(folders=[str(squares)], mirror=True), buckets=True)
    with pytest.raises(ConfigError, match=r"a ControlNet or a LoRA"):
        learnt(Data(folders=[str(prepared)], mirror=True), buckets=False)


def test_halves_of_a_batch_are_the_batch(tell: Tell) -> None:
    task = build_task(tell("run", batch=4))
    assert isinstance(task, ControlTask)
    for step in range(3):
        whole = samples(task.pictures, 0, step, 4)
        halves = [samples(task.pictures, 0, step, 4, Share(place, 2)) for place in (0, 1)]
        assert torch.equal(torch.cat([half.indices for half in halves]), whole.indices)
        drawn = [torch.rand(3, generator=draw) for half in halves for draw in half.draws]
        assert torch.equal(torch.stack(drawn), torch.stack([torch.rand(3, generator=draw) for draw in whole.draws]))
        losses = [task.losses(step, Share(place, 2))["denoise"] for place in (0, 1)]
        torch.testing.assert_close(sum(losses) / 2, task.losses(step)["denoise"], rtol=1e-5, atol=1e-6)


def test_other_tasks_say_what_they_need(tell: Tell) -> None:
    recipe = tell("run")
    vae = parse(Recipe, recipe.model_dump() | {"learn": {"task": "vae", "crop": 16}}, "test")
    with pytest.raises(InputError, match=r"pictures of 3 sizes .*prepare them with --no-bucket"):
        build_task(vae)
