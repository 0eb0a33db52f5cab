"""LoRA runs on tiny bases: a style, a thing with its class beside it, text encoders, SDXL, inside a control branch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLPipeline
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from underdraw import images
from underdraw.data.folder import read_folder
from underdraw.errors import ConfigError
from underdraw.formats.checkpoint import Checkpoint, latest
from underdraw.formats.lora import load_lora, read_lora
from underdraw.model import Backbone, Control, attach, load_control, predict
from underdraw.training.denoiser import sketch
from underdraw.training.lora import LoraTask
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import State, Watcher, train
from underdraw.training.watchers import Sheets, log, read_log, swapped

from ..generation.conftest import TINY_TEXT, tiny_base, tiny_scheduler, tiny_tokenizer, tiny_vae

Make = Callable[..., Recipe]
FILES = ("pytorch_lora_weights.safetensors", "lora.safetensors")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def xl(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "xl"
    torch.manual_seed(0)
    first, second = ({"projection_dim": 32, **TINY_TEXT, "hidden_size": width} for width in (32, 64))
    encoders = (CLIPTextModel(CLIPTextConfig(**first)), CLIPTextModelWithProjection(CLIPTextConfig(**second)))
    tokenizers = (tiny_tokenizer(), tiny_tokenizer())
    pipeline = StableDiffusionXLPipeline(
        tiny_vae(), *encoders, *tokenizers, models.unet("sdxl"), tiny_scheduler(), add_watermarker=False
    )
    pipeline.save_pretrained(folder)
    return folder


def told(base: Path, **changes: Any) -> dict[str, Any]:
    return {"task": "lora", "base": str(base), "lora": {"rank": 4}} | changes


def run(recipe: Recipe, *watchers: Watcher) -> State:
    state = train(build_task(recipe), recipe, [log, *watchers])
    with swapped(state):
        state.task.export(state.folder / "export")
    return state


def lora_task(state: State) -> LoraTask:
    assert isinstance(state.task, LoraTask)
    return state.task


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def test_a_style(recipe: Make, base: Path) -> None:
    before = contents(base)
    state = run(recipe(told(base, caption="{}, in red chalk"), sheet_steps=6), Sheets())
    assert contents(base) == before
    assert [line["step"] for line in read_log(state.folder / "log.jsonl")] == [2, 4, 6]
    assert images.read(state.folder / "sheets" / "00000006.png").shape == (1, 3, 3 * 34 + 2, 8 * 34 + 2)
    backbone = Backbone.load(base)
    text = backbone.encode_text(["a red square, in red chalk"])
    sample, timestep = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    with torch.no_grad():
        drawn = []
        for name in FILES:
            with attach(backbone, load_lora(state.folder / "export" / name, backbone)):
                drawn.append(predict(backbone.unet, sample, timestep, text))
        assert torch.equal(*drawn) and not torch.equal(drawn[0], predict(backbone.unet, sample, timestep, text))


def test_in_half_precision(recipe: Make, base: Path) -> None:
    state = run(recipe(told(base), precision="bf16", steps=2))
    lora = read_lora(state.folder / "export" / "lora.safetensors").lora
    assert {parameter.dtype for parameter in lora.parameters()} == {torch.float32}


def test_what_the_file_says(recipe: Make, base: Path) -> None:
    state = run(recipe(told(base, lora={"rank": 2, "alpha": 1.0}), steps=1, output="chalk"))
    with safe_open(state.folder / "export" / "lora.safetensors", framework="pt") as file:
        facts = file.metadata()
    assert (facts["ss_output_name"], facts["ss_network_dim"], facts["ss_network_alpha"]) == ("chalk", "2", "1.0")
    assert (facts["ss_steps"], facts["ss_num_train_images"]) == ("1", "16")


def test_it_learns(recipe: Make, base: Path) -> None:
    """On draws that the run has not seen."""
    learn = told(base, lora={"rank": 8, "targets": ["attention", "convolutions"]})
    told_run = recipe(learn, steps=40, optimizer={"lr": 1e-2, "warmup": 1})
    task = build_task(told_run)

    def error() -> float:
        with torch.no_grad():
            return sum(float(task.losses(step)["denoise"]) for step in range(1000, 1008))

    before = error()
    train(task, told_run)
    assert error() < 0.95 * before


def same(one: State, two: State) -> None:
    first, second = (Checkpoint.load(latest(each.folder / "checkpoints") or Path()) for each in (one, two))
    assert first.step == second.step
    for part in ("model", "average", "optimizer"):
        mine, theirs = getattr(first, part), getattr(second, part)
        assert mine.keys() == theirs.keys() and mine
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


PRIOR = {"prompt": "a square", "count": 5}


@pytest.mark.parametrize("parts", [["unet"], ["unet", "text_encoder"]])
def test_resumed_it_is_the_same(recipe: Make, base: Path, parts: list[str]) -> None:
    """With a prior, whose pictures are drawn once and then read again."""
    learn = told(base, lora={"rank": 2, "parts": parts}, prior=PRIOR)
    whole = run(recipe(learn, "whole"))
    half = recipe(learn, "parted").model_copy(update={"steps": 3})
    train(build_task(half), half, [log])
    same(whole, run(recipe(learn, "parted")))


def test_a_thing_and_its_class(recipe: Make, base: Path) -> None:
    """DreamBooth: one caption for all, and what the base drew of the class before."""
    state = run(recipe(told(base, caption="a sks square", prior=PRIOR | {"weight": 0.5})))
    (folder,) = (state.folder.parent / "cache").glob("prior-*")
    records = list(read_folder(folder))
    assert [record.text for record in records] == ["a square"] * 5 and records[0].image.shape == (3, 32, 32)
    assert not torch.equal(records[0].image, records[1].image)
    task = lora_task(state)
    assert {text for texts in task.pictures.texts for text in texts} == {"a sks square"}
    losses = task.losses(3)
    assert losses.keys() == {"denoise", "prior"} and all(loss.isfinite() for loss in losses.values())
    alone = build_task(recipe(told(base, caption="a sks square"), "alone"))
    assert isinstance(alone, LoraTask)
    alone.module.load_state_dict(task.module.state_dict())
    assert torch.equal(alone.losses(3)["denoise"], losses["denoise"]), "the class is beside it, not in its way"


def test_text_encoders_learn_too(recipe: Make, base: Path) -> None:
    state = run(recipe(told(base, lora={"rank": 2, "parts": ["unet", "text_encoder"]})))
    lora = read_lora(state.folder / "export" / "lora.safetensors").lora
    heard = [each for address, each in lora.adapters.items() if address.startswith("text_encoder.")]
    assert len(heard) == 8 and all(each.factors()["up"].any() for each in heard)


@pytest.mark.parametrize("parts", [["unet"], ["unet", "text_encoder", "text_encoder_2"]])
def test_sdxl(recipe: Make, xl: Path, parts: list[str]) -> None:
    """Two text encoders, pooled text and sizes; frozen, and learning."""
    state = run(recipe(told(xl, lora={"rank": 2, "parts": parts}), steps=2, batch=2))
    file = read_lora(state.folder / "export" / "lora.safetensors")
    assert file.layout == "kohya-xl"
    assert {address.partition(".")[0] for address in file.lora.adapters} == set(parts)
    load_lora(state.folder / "export" / FILES[0], Backbone.load(xl))
    looked = sketch(lora_task(state).backbone, ["a red square"], (32, 32), seed=0)
    assert looked.shape == (1, 3, 32, 32) and looked.isfinite().all()


def test_kept_and_spoken_texts_are_one(recipe: Make, base: Path) -> None:
    """What the encoders say at every step is what is kept when they don't learn (in half precision)."""
    kept, spoken = (
        build_task(recipe(told(base, lora={"rank": 2, "parts": parts}), parts[-1]))
        for parts in (["unet"], ["unet", "text_encoder"])
    )
    assert isinstance(kept, LoraTask) and isinstance(spoken, LoraTask)
    rows = [0, *kept.latents.captions[3]]
    assert kept.latents.captions == spoken.latents.captions
    one, two = kept.latents.text(rows).states, spoken.latents.text(rows).states
    torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-2)
    assert not torch.equal(two[0], two[1])


def test_inside_a_control_branch(recipe: Make, base: Path) -> None:
    folder = base / "controlnet-canny"
    before = contents(folder)
    learn = told(base, lora={"rank": 2, "parts": ["control"]}, control=str(folder), condition="canny")
    state = run(recipe(learn))
    assert contents(folder) == before and not (state.folder / "export" / "lora.safetensors").exists()
    net = load_control(folder, Backbone.load(base).unet)
    lora = load_lora(state.folder / "export" / FILES[0], net)
    assert all(address.startswith("control.") for address in lora.adapters)
    assert all(each.factors()["up"].any() for each in lora.adapters.values())
    backbone, maps = Backbone.load(base), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    text, sample = backbone.encode_text(["a red square"]), torch.zeros(1, 4, 8, 8)
    with torch.no_grad():
        merged = load_control(state.folder / "export" / "controlnet", backbone.unet)
        drawn = predict(backbone.unet, sample, torch.tensor([500]), text, [Control(merged, maps)])
        with attach(net, lora):
            expected = predict(backbone.unet, sample, torch.tensor([500]), text, [Control(net, maps)])
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-5)
    ControlNetModel.from_pretrained(state.folder / "export" / "controlnet")


def test_the_base_stays_locked(recipe: Make, base: Path) -> None:
    task = build_task(recipe(told(base, lora={"rank": 2, "parts": ["unet", "text_encoder"]})))
    assert isinstance(task, LoraTask)
    modules = (task.backbone.unet, *task.backbone.text_encoders, task.backbone.vae)
    before = [{name: value.clone() for name, value in module.state_dict().items()} for module in modules]
    train(task, task.recipe)
    for module, values in zip(modules, before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in module.state_dict().items())
        assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora": {"parts": ["control"]}}, "there is no 'control' to put a LoRA into"),
        ({"lora": {"targets": ["atention"]}}, "did you mean 'attention'"),
        ({"control": "nowhere"}, "needs learn.condition"),
        ({"lora": {"rank": 0}}, "learn.lora.rank"),
    ],
)
def test_mistakes(recipe: Make, base: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_task(recipe(told(base, **changes)))
