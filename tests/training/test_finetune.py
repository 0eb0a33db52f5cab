"""The base's own U-Net learns without a control; with a prior its class is kept (DreamBooth)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from underdraw.config import parse
from underdraw.data.folder import METADATA, read_folder
from underdraw.formats.checkpoint import Checkpoint, latest, load_tensors
from underdraw.formats.delta import DELTA, apply_delta
from underdraw.model import Backbone
from underdraw.training.classes import class_pictures
from underdraw.training.denoiser import sketch
from underdraw.training.lora import LoraTask
from underdraw.training.recipe import Prior, Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import State, Watcher, train
from underdraw.training.tuning import TuningTask
from underdraw.training.watchers import Sheets, log

Make = Callable[..., Recipe]
PRIOR = {"prompt": "a square", "count": 12}
DECODER = ("up_blocks.", "conv_norm_out.", "conv_out.")


def told(tiny: Path, **changes: Any) -> dict[str, Any]:
    return {"task": "finetune", "base": str(tiny), "caption": "a sks square"} | changes


def run(recipe: Recipe, *watchers: Watcher) -> State:
    return train(build_task(recipe), recipe, [log, *watchers])


@pytest.mark.parametrize("unlock", ["decoder", "all"])
def test_what_is_unlocked_learns_and_comes_back(recipe: Make, tiny: Path, unlock: str) -> None:
    before = {path: path.read_bytes() for path in sorted(tiny.rglob("*.safetensors"))}
    state = run(recipe(told(tiny, unlock=unlock), steps=3), *([Sheets()] if unlock == "all" else []))
    state.task.export(state.folder / "export")
    assert {path: path.read_bytes() for path in sorted(tiny.rglob("*.safetensors"))} == before, "the base's own files"
    delta = load_tensors(state.folder / "export" / DELTA)
    assert delta and all(name.startswith(DECODER) for name in delta) == (unlock == "decoder")
    assert isinstance(state.task, TuningTask)
    trained = state.task.backbone.unet.state_dict()
    merged = Backbone.load(state.folder / "export" / "merged").unet.state_dict()
    assert all(torch.equal(value, merged[name]) for name, value in trained.items())
    again = Backbone.load(tiny).unet
    apply_delta(again, state.folder / "export" / DELTA)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=1e-7, atol=1e-9)
    StableDiffusionPipeline.from_pretrained(state.folder / "export" / "merged", safety_checker=None)


def test_resumed_it_is_the_same(recipe: Make, tiny: Path) -> None:
    learn = told(tiny, unlock="decoder", prior=PRIOR)
    whole, _, parted = (
        run(recipe(learn, name, steps=steps)) for name, steps in (("whole", 4), ("parted", 2), ("parted", 4))
    )
    one, two = (Checkpoint.load(latest(state.folder / "checkpoints") or Path()) for state in (whole, parted))
    for part in ("model", "average", "optimizer"):
        mine, theirs = getattr(one, part), getattr(two, part)
        assert mine.keys() == theirs.keys() and mine
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_class_pictures_are_drawn_once_and_where_they_were_cut_off(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, prior = Backbone.load(tiny), Prior.model_validate(PRIOR)
    whole = class_pictures(backbone, prior, (32, 32), 0, tmp_path)
    (folder,) = tmp_path.glob("prior-*")
    assert [record.text for record in read_folder(folder)] == ["a square"] * 12
    pictures = {path: path.read_bytes() for path in sorted((folder / "images").iterdir())}
    (folder / METADATA).unlink()
    list(pictures)[9].unlink()  # as a kill in the second batch would have left it
    asked: list[int] = []

    def counted(*given: Any) -> torch.Tensor:
        asked.append(given[3])
        return sketch(*given)

    monkeypatch.setattr("underdraw.training.classes.sketch", counted)
    again = class_pictures(backbone, prior, (32, 32), 0, tmp_path)
    assert asked == [8], "the first batch was there"
    assert torch.equal(again.pixels, whole.pixels)
    assert {path: path.read_bytes() for path in sorted((folder / "images").iterdir())} == pictures
    class_pictures(backbone, prior, (32, 32), 0, tmp_path)
    assert asked == [8], "and now all are there"


@pytest.mark.parametrize("task", [pytest.param("finetune", marks=pytest.mark.slow), "lora"])
def test_the_prior_keeps_the_class(recipe: Make, tiny: Path, task: str) -> None:
    """What the base drew of the class is predicted better after a run with the prior than after one without."""
    learn = told(tiny, task=task) | ({"lora": {"rank": 8}} if task == "lora" else {"unlock": "all"})
    changes: dict[str, Any] = {"steps": 30, "optimizer": {"lr": 5e-3, "warmup": 1, "weight_decay": 0.0}}
    loud = PRIOR | {"weight": 10.0}
    judge = build_task(recipe(learn | {"prior": loud}, "judge"))
    errors = {}
    for name, prior in (("with", loud), ("without", None)):
        made = recipe(learn | ({"prior": prior} if prior else {}), name, **changes)
        state = train(build_task(made), made)
        judge.module.load_state_dict(state.task.module.state_dict())
        with torch.no_grad():
            errors[name] = sum(float(judge.losses(step)["prior"]) for step in range(1000, 1008))
    assert errors["with"] < 0.99 * errors["without"]


@pytest.mark.slow
def test_on_the_embedded_base_the_class_is_drawn_as_before(squares: Path, tmp_path: Path) -> None:
    """Drawings of the class move less where the run has a prior."""
    base = Path(__file__).parents[2] / "src" / "underdraw" / "embedded"
    moved = {}
    for name, prior in (("with", {"prompt": "apple, 3d sticker", "count": 24}), ("without", None)):
        learn = {"task": "lora", "base": str(base), "caption": "sks apple, 3d sticker", "lora": {"rank": 8}}
        table = {"output": str(tmp_path / name), "steps": 80, "batch": 4, "data": {"folders": [str(squares)]}}
        table |= {"learn": learn | ({"prior": prior} if prior else {}), "precision": "bf16"}
        made = parse(Recipe, table | {"optimizer": {"lr": 2e-3, "warmup": 5, "weight_decay": 0.0}}, name)
        task = build_task(made)
        assert isinstance(task, LoraTask)
        with torch.no_grad(), task.silenced():
            before = sketch(task.backbone, ["apple, 3d sticker"] * 8, (32, 32), 77)
        train(task, made)
        with torch.no_grad():
            after = sketch(task.backbone, ["apple, 3d sticker"] * 8, (32, 32), 77)
        moved[name] = float((after - before).abs().mean())
    assert moved["with"] < 0.8 * moved["without"]
