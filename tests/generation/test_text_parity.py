"""Law 2 for text: diffusers' `clip_skip` and textual inversions leave the same latents."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from safetensors.torch import save_file
from torch import Tensor

from underdraw.formats.embeddings import open_embedding
from underdraw.generation import Reading, Studio, denoise, encode_prompts, make_task, start
from underdraw.model import Backbone, Control

from .test_parity import FIRST, SEEDS, SIZE, assert_same, large

__all__ = ["large"]

PLAIN = ["a red mushroom", "红色蘑菇"]


def ours(
    backbone: Backbone, reading: Reading, prompts: list[str] = PLAIN, controls: tuple[Control, ...] = ()
) -> Tensor:
    negative = "" if backbone.zero_empty else "blue"
    pull = encode_prompts(backbone, prompts, SIZE, 4.0, negative, reading=reading)
    noise, generators = start(backbone, SIZE, SEEDS)
    task = make_task(backbone, SIZE)
    *_, last = denoise(backbone, pull, noise, generators, steps=5, scheduler="ddim", controls=controls, task=task)
    return last.latents


def theirs(pipeline: Any, prompts: list[str] = PLAIN, **extra: Any) -> Tensor:
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    negative: dict[str, Any] = {"negative_prompt": ["blue"] * 2}
    if pipeline.config.get("force_zeros_for_empty_prompt"):
        negative = {}
    elif "clip_skip" in extra:
        # Where it is given diffusers asks for a part that text encoders had in transformers 4; and it leaves the
        # negative prompt as it is, where A1111 and we skip the same layers.
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
        skipped, _ = pipeline.encode_prompt(["blue"] * 2, "cpu", 1, False, clip_skip=extra["clip_skip"])
        negative = {"negative_prompt_embeds": skipped}
    latents: Tensor = pipeline(
        prompts,
        num_inference_steps=5,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="latent",
        guidance_scale=4.0,
        width=SIZE[0],
        height=SIZE[1],
        **negative,
        **extra,
    ).images
    return latents


def taught_norm(folder: Path, copy: Path) -> Path:
    """The base with a last layer norm that is not the identity: it must be laid over the layer that is taken."""
    shutil.copytree(folder, copy)
    pipeline = StableDiffusionPipeline.from_pretrained(copy)
    for parameter in pipeline.text_encoder.final_layer_norm.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    pipeline.text_encoder.save_pretrained(copy / "text_encoder")
    return copy


def test_clip_skip(base: Path, tmp_path: Path) -> None:
    """Theirs counts the layers that are left out, ours (A1111's) from the last: 2 is their 1."""
    folder = taught_norm(base, tmp_path / "base")
    backbone, pipeline = Backbone.load(folder), StableDiffusionPipeline.from_pretrained(folder)
    drawn = ours(backbone, Reading(clip_skip=2))
    assert_same(drawn, theirs(pipeline, clip_skip=1))
    assert_same(ours(backbone, Reading()), theirs(pipeline))
    assert (drawn - ours(backbone, Reading())).abs().mean() > 1e-3


def test_clip_skip_under_a_control(studio: Studio, base: Path) -> None:
    net = ControlNetModel.from_pretrained(base / "controlnet-canny")
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(base, controlnet=net)
    expected = theirs(pipeline, image=FIRST, controlnet_conditioning_scale=0.7, clip_skip=1)
    control = Control(studio.net("canny"), FIRST, weight=0.7)
    assert_same(ours(studio.backbone, Reading(clip_skip=2), controls=(control,)), expected)


def test_clip_skip_of_sdxl(request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("large")
    backbone, pipeline = Backbone.load(folder), StableDiffusionXLPipeline.from_pretrained(folder)
    drawn = ours(backbone, Reading(clip_skip=2))
    assert_same(drawn, theirs(pipeline, clip_skip=1))
    assert (drawn - ours(backbone, Reading())).abs().mean() > 1e-4


WORDED = ["a <hat> x", "<hat>"]


@pytest.mark.parametrize("count", [1, 3])
def test_textual_inversion(base: Path, tmp_path: Path, count: int) -> None:
    vectors = torch.randn(count, 16, generator=torch.Generator().manual_seed(2))
    save_file({"<hat>": vectors if count > 1 else vectors[0]}, tmp_path / "learned_embeds.safetensors")
    pipeline = StableDiffusionPipeline.from_pretrained(base)
    pipeline.load_textual_inversion(tmp_path, weight_name="learned_embeds.safetensors")
    backbone = Backbone.load(base)
    word = open_embedding(tmp_path / "learned_embeds.safetensors", backbone)
    reading = Reading(embeddings={word.name: word})
    drawn = ours(backbone, reading, WORDED)
    assert_same(drawn, theirs(pipeline, WORDED))
    assert (drawn - ours(backbone, Reading(), WORDED)).abs().mean() > 1e-3


def test_textual_inversion_of_sdxl(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue("large")
    generator = torch.Generator().manual_seed(2)
    pair = {"clip_l": torch.randn(2, 32, generator=generator), "clip_g": torch.randn(2, 64, generator=generator)}
    save_file(pair, tmp_path / "hat.safetensors")
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    for name, mark in (("clip_l", ""), ("clip_g", "_2")):
        parts = {part: getattr(pipeline, f"{part}{mark}") for part in ("text_encoder", "tokenizer")}
        pipeline.load_textual_inversion(pair[name], token="<hat>", **parts)
    backbone = Backbone.load(folder)
    word = open_embedding(tmp_path / "hat.safetensors", backbone)
    drawn = ours(backbone, Reading(embeddings={"<hat>": word}), WORDED)
    assert_same(drawn, theirs(pipeline, WORDED))
