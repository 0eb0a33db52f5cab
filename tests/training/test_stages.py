"""From nothing to a ControlNet: all the stages on a tiny world, each reading what the one before has written."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from transformers import CLIPModel, CLIPTokenizer

from underdraw import images
from underdraw.errors import CheckpointError, MissingExtra, UnderdrawError
from underdraw.model import Backbone, load_control
from underdraw.training.pictures import WHOLE, Share
from underdraw.training.recipe import Recipe
from underdraw.training.tasks import build_task
from underdraw.training.trainer import State, train
from underdraw.training.watchers import Sheets, log, read_log, swapped

VAE = {"task": "vae", "channels": [8, 16], "crop": 16}
CLIP: dict[str, Any] = {
    "task": "clip",
    "vocabulary": 560,
    "tokens": 16,
    "width": 32,
    "layers": 1,
    "heads": 2,
    "patch": 16,
}
DENOISER = {"task": "denoiser", "channels": [32, 64], "attention": [False, True], "heads": 2}

Make = Callable[..., Recipe]


def _run(recipe: Recipe) -> State:
    state = train(build_task(recipe), recipe, [log, Sheets()])
    with swapped(state):
        state.task.export(state.folder / "export")
    return state


def _base(recipe: Make, device: str = "cpu") -> Path:
    """A tiny base, trained for six steps."""
    vae, clip = (_run(recipe(told, str(told["task"]), device=device)) for told in (VAE, CLIP))
    told = DENOISER | {"vae": f"{vae.folder}/export", "clip": f"{clip.folder}/export"}
    return _run(recipe(told, "base", device=device)).folder / "export"


@pytest.fixture
def base(recipe: Make) -> Path:
    return _base(recipe)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_stage_writes_what_the_next_one_reads(recipe: Make, device: str) -> None:
    base = _base(recipe, device)
    backbone = Backbone.load(base)
    assert backbone.factor == 2
    assert 0.05 < backbone.vae.config.scaling_factor < 100
    told = {"task": "control", "base": str(base), "condition": "canny"}
    before = {path: path.read_bytes() for path in sorted(base.rglob("*.safetensors"))}
    state = _run(recipe(told, "control", device=device))
    net = load_control(state.folder / "export", backbone.unet)
    assert any(bool(value.any()) for name, value in net.state_dict().items() if "controlnet_down_blocks" in name)
    assert {path: path.read_bytes() for path in sorted(base.rglob("*.safetensors"))} == before
    ControlNetModel.from_pretrained(state.folder / "export")
    assert images.read(state.folder / "sheets" / "00000006.png").shape[1] == 3
    assert (state.folder / "losses.png").exists()


def test_a_warm_start_begins_with_the_weights_that_it_is_given(recipe: Make, base: Path) -> None:
    told = {"task": "control", "base": str(base), "condition": "depth"}
    first = _run(recipe(told, "control")).folder / "export"
    warm = build_task(recipe(told | {"warm_start": str(first)}, "again"))
    expected = load_control(first, Backbone.load(base).unet).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in warm.module.state_dict().items())
    parts = {"vae": str(base.parents[1] / "vae" / "export"), "clip": str(base.parents[1] / "clip" / "export")}
    again = build_task(recipe(DENOISER | parts | {"warm_start": str(base)}, "base-again"))
    unet = Backbone.load(base).unet.state_dict()
    assert all(torch.equal(value, unet[name]) for name, value in again.module.state_dict().items())
    with pytest.raises(CheckpointError, match=r"has another shape than the recipe \(.* tensors differ"):
        build_task(recipe(DENOISER | parts | {"warm_start": str(base), "channels": [32, 32]}, "other"))


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "adafactor"])
def test_every_optimizer_learns_and_resumes(recipe: Make, kind: str) -> None:
    def run(name: str, *ends: int) -> dict[str, torch.Tensor]:
        for end in ends:
            told = recipe(VAE, name, steps=end, optimizer={"kind": kind, "lr": 1e-2, "warmup": 1})
            state = train(build_task(told), told)
        return {key: value.clone() for key, value in state.task.module.state_dict().items()}

    before = build_task(recipe(VAE, "new")).module.state_dict()
    whole, parted = run("whole", 4), run("parted", 2, 4)
    assert all(torch.equal(value, parted[name]) for name, value in whole.items())
    assert any(not torch.equal(value, before[name]) for name, value in whole.items())


def test_float16_scales_its_losses_and_resumes(recipe: Make, tiny: Path) -> None:
    """At first the scale is too large: steps are left out until it fits, and a stopped run knows it."""
    learn = {"task": "finetune", "base": str(tiny), "unlock": "decoder"}

    def run(name: str, *ends: int) -> tuple[State, list[float]]:
        scales = list[float]()
        for end in ends:
            told = recipe(learn, name, steps=end, precision="fp16")
            state = train(build_task(told), told, [lambda state, _: scales.append(state.scaler.get_scale())])
        return state, scales

    (whole, one), (parted, two) = run("whole", 6), run("parted", 3, 6)
    assert one == two and one[-1] > 1
    values = parted.task.module.state_dict()
    assert all(torch.equal(value, values[name]) for name, value in whole.task.module.state_dict().items())
    before = build_task(recipe(learn, "new")).module.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in values.items())


def test_eight_bits_need_their_package(recipe: Make) -> None:
    told = recipe(VAE, "eight", optimizer={"kind": "adamw8bit"})
    with pytest.raises(MissingExtra, match=r"bitsandbytes is not installed; run: pip install 'underdraw\[8bit\]'"):
        train(build_task(told), told)


def test_a_locked_run_leaves_the_backbone_as_it_was(recipe: Make, base: Path) -> None:
    task = build_task(recipe({"task": "control", "base": str(base), "condition": "depth"}, "locked"))
    unet = task.backbone.unet  # type: ignore[attr-defined]
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    state = train(task, recipe({"task": "control", "base": str(base), "condition": "depth"}, "locked"))
    assert state.step == 6
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert not any(parameter.requires_grad for parameter in unet.parameters())


def test_the_base_is_a_stable_diffusion_pipeline(base: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    picture = pipeline("a red square", num_inference_steps=2, output_type="np").images[0]
    assert picture.shape == (32, 32, 3)
    assert json.loads((base / "model_index.json").read_text())["unet"] == ["diffusers", "UNet2DConditionModel"]


def test_the_vocabulary_spells_any_text(recipe: Make) -> None:
    folder = _run(recipe(CLIP, "clip")).folder / "export"
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    assert len(tokenizer) <= CLIP["vocabulary"] + 16
    for text in ("a red square", "方块", "ñandú 🙂 {}"):
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    clip = CLIPModel.from_pretrained(folder)
    assert clip.config.text_config.eos_token_id == tokenizer.eos_token_id == tokenizer("").input_ids[-1]
    assert {"vocab.json", "merges.txt", "tokenizer.json"} <= {path.name for path in folder.iterdir()}


def test_losses_fall(recipe: Make) -> None:
    told = {"task": "reader", "reads": ["depth"], "channels": [8, 16]}
    state = _run(recipe(told, "reader", steps=80, log_steps=10, sheet_steps=80, optimizer={"lr": 5e-3, "warmup": 2}))
    lines = read_log(state.folder / "log.jsonl")
    assert lines[-1]["step"] == 80
    assert lines[-1]["depth"] < 0.5 * lines[0]["depth"]


def test_what_is_no_longer_finite_is_named_and_the_last_good_checkpoint_stays(recipe: Make) -> None:
    told = recipe(VAE, "wild", steps=9)
    task = build_task(told)

    def poison(state: State, figures: dict[str, float]) -> None:
        if state.step == 2:
            state.save()
        if state.step == 4:
            with torch.no_grad():
                task.module.get_parameter("encoder.conv_in.weight")[0, 0, 0, 0] = math.inf

    with pytest.raises(UnderdrawError, match=r"is nan at step 4, first in encoder\.conv_in; lower the learning rate"):
        train(task, told, [poison])
    assert [place.name for place in (Path(told.output) / "checkpoints").iterdir()] == ["step-00000002"]
    assert train(build_task(told), told).step == 9


def test_a_gradient_that_is_not_finite_ends_the_run(recipe: Make) -> None:
    """The square root of a loss of exactly nothing: finite itself, but not its slope."""
    told = recipe(VAE, "steep")
    task = build_task(told)
    losses = task.losses

    def steep(step: int, share: Share = WHOLE) -> dict[str, torch.Tensor]:
        return {name: (0 * loss).sqrt() for name, loss in losses(step, share).items()}

    task.losses = steep  # type: ignore[method-assign]
    with pytest.raises(UnderdrawError, match="a gradient is not finite at step 0"):
        train(task, told)
