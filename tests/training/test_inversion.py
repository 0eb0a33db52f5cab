"""A new word: only its vectors learn, and every tool reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from underdraw.errors import ConfigError, UnderdrawError
from underdraw.formats.checkpoint import Checkpoint, latest
from underdraw.formats.embeddings import open_embedding
from underdraw.generation import Studio
from underdraw.model import Backbone, Part, Prompt
from underdraw.training.inversion import InversionTask
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import State, Watcher, train
from underdraw.training.watchers import Sheets, log, swapped

Make = Callable[..., Recipe]
FILES = ("plush.safetensors", "learned_embeds.safetensors")


def told(tiny: Path, **changes: Any) -> dict[str, Any]:
    learn = {"task": "textual-inversion", "base": str(tiny), "word": "<plush>", "initial": "red", "vectors": 2}
    return learn | {"caption": "<plush> {}"} | changes


def run(recipe: Recipe, *watchers: Watcher) -> State:
    return train(build_task(recipe), recipe, [log, *watchers])


def test_only_the_vectors_learn(recipe: Make, tiny: Path) -> None:
    """Law 4, with all embeddings of the text encoder among what stays."""
    task = build_task(recipe(told(tiny)))
    assert isinstance(task, InversionTask)
    modules = (task.backbone.unet, *task.backbone.text_encoders, task.backbone.vae)
    before = [{name: value.clone() for name, value in module.state_dict().items()} for module in modules]
    begun = [vectors.detach().clone() for vectors in task.vectors]
    table = task.backbone.text_encoders[0].get_input_embeddings().weight
    numbers = task.backbone.tokenizers[0]("red", add_special_tokens=False).input_ids
    assert [row.tolist() for row in begun[0]] == [table[number].tolist() for number in numbers[:2]]
    train(task, task.recipe)
    for module, values in zip(modules, before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in module.state_dict().items())
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert all(bool((now != then).all()) for now, then in zip(task.vectors, begun, strict=True))
    with task.silenced():
        assert all(torch.equal(now, then) for now, then in zip(task.vectors, begun, strict=True))


def test_it_learns(recipe: Make, tiny: Path) -> None:
    """On draws that the run has not seen."""
    made = recipe(told(tiny, vectors=4), steps=30, optimizer={"lr": 0.1, "warmup": 1, "weight_decay": 0.0})
    task = build_task(made)

    def error() -> float:
        with torch.no_grad():
            return sum(float(task.losses(step)["denoise"]) for step in range(1000, 1008))

    before = error()
    train(task, made)
    assert error() < before - 1e-4


@pytest.mark.parametrize("precision", ["fp32", "bf16-weights"])
def test_resumed_it_is_the_same(recipe: Make, tiny: Path, precision: str) -> None:
    whole, _, parted = (
        run(recipe(told(tiny), name, precision=precision, steps=steps))
        for name, steps in (("whole", 4), ("parted", 2), ("parted", 4))
    )
    one, two = (Checkpoint.load(latest(state.folder / "checkpoints") or Path()) for state in (whole, parted))
    for part in ("model", "average", "optimizer"):
        mine, theirs = getattr(one, part), getattr(two, part)
        assert mine.keys() == theirs.keys() and mine
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_our_loader_and_diffusers_hear_what_was_learnt(recipe: Make, tiny: Path) -> None:
    state = run(recipe(told(tiny), optimizer={"lr": 0.1, "warmup": 1}, sheet_steps=6), Sheets())
    assert isinstance(state.task, InversionTask)
    with swapped(state):
        state.task.export(state.folder / "export")
        learnt = state.task.vectors[0].detach().clone()
        expected = state.task.backbone.encode_text(["a <plush> cat"]).states
    backbone = Backbone.load(tiny)
    for name in FILES:
        word = open_embedding(state.folder / "export" / name, backbone)
        assert torch.equal(word.vectors[0], learnt)
        prompt = Prompt(((Part("a "), Part(word), Part(" cat")),), whole=False)
        torch.testing.assert_close(backbone.hear([prompt]).states, expected, rtol=0, atol=1e-6)
        pipeline = StableDiffusionPipeline.from_pretrained(tiny, safety_checker=None)
        pipeline.load_textual_inversion(state.folder / "export" / name, token="<plush>")
        heard = pipeline.encode_prompt("a <plush> cat", "cpu", 1, False)[0]
        torch.testing.assert_close(heard, expected, rtol=0, atol=1e-5)
    studio = Studio.open(str(tiny), device="cpu")
    assert studio.embeddings.add(state.folder / "export" / "learned_embeds.safetensors") == "<plush>"
    (drawn,) = studio.draw("a <plush> cat", seeds=[1], steps=2)
    (plain,) = studio.draw("a  cat", seeds=[1], steps=2)
    assert not torch.equal(drawn.picture, plain.picture)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"caption": "{}"}, r"32 captions, 'a \w+ square' the first of them, do not hold the word <plush>"),
        ({"caption": "plushy {}", "word": "plush"}, "do not hold the word plush"),
        ({"caption": "a very wide red square, <plush>"}, "or too late to be heard"),
        ({"initial": " "}, "learn.initial = ' ' says nothing"),
        ({"prompt_dropout": 0.1}, "from prompts without it no word is learnt"),
        ({"vectors": 20}, "has 20 vectors, and this base hears 14 tokens at once"),
    ],
)
def test_mistakes(recipe: Make, tiny: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnderdrawError, match=words):
        build_task(recipe(told(tiny, **changes))).losses(0)


def test_no_word_is_a_recipe_without(recipe: Make, tiny: Path) -> None:
    learn = {name: value for name, value in told(tiny).items() if name != "word"}
    with pytest.raises(ConfigError, match=r"learn\.word: field required"):
        recipe(learn)
