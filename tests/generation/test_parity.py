"""Law 2: diffusers' pipelines draw the same picture from the same folder, noise, scheduler and steps."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from underdraw.generation import SCHEDULERS, Studio, draw, finish
from underdraw.generation.sampler import decode_frame, start
from underdraw.model import Backbone, Control

from .conftest import TINY_TEXT, tiny_scheduler, tiny_tokenizer, tiny_vae

PROMPTS, SEEDS, SIZE = ["a red mushroom", "红色蘑菇"], [3, 4], (48, 32)
FIRST, SECOND = (torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))


def ours(studio: Studio, scheduler: str, controls: tuple[Control, ...] = (), guidance: float = 4.0) -> Tensor:
    frames = list(
        draw(
            studio.backbone,
            PROMPTS,
            SEEDS,
            SIZE,
            controls=controls,
            negative="blue",
            guidance=guidance,
            steps=5,
            scheduler=scheduler,
        )
    )
    return decode_frame(studio.backbone, frames[-1].latents)


def theirs(studio: Studio, base: Path, kind: Any, scheduler: str, guidance: float = 4.0, **extra: Any) -> Tensor:
    nets = [ControlNetModel.from_pretrained(base / f"controlnet-{each}") for each in extra.pop("kinds", ())]
    parts = {"controlnet": nets if len(nets) > 1 else nets[0]} if nets else {}
    pipeline = kind.from_pretrained(base, **parts)
    chosen = SCHEDULERS[scheduler]
    pipeline.scheduler = getattr(diffusers, chosen.kind).from_config(pipeline.scheduler.config, **chosen.settings)
    pipeline.set_progress_bar_config(disable=True)
    latents, generators = start(studio.backbone, SIZE, SEEDS)
    pictures: Tensor = pipeline(
        PROMPTS,
        negative_prompt=["blue"] * 2,
        width=SIZE[0],
        height=SIZE[1],
        num_inference_steps=5,
        guidance_scale=guidance,
        latents=latents,
        generator=generators,
        output_type="pt",
        **extra,
    ).images
    return pictures


@pytest.mark.parametrize("scheduler", SCHEDULERS.names())
def test_text_only(studio: Studio, base: Path, scheduler: str) -> None:
    difference = ours(studio, scheduler) - theirs(studio, base, StableDiffusionPipeline, scheduler)
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_without_and_with_guidance(studio: Studio, base: Path, guidance: float) -> None:
    drawn = ours(studio, "ddim", guidance=guidance)
    expected = theirs(studio, base, StableDiffusionPipeline, "ddim", guidance)
    assert (drawn - expected).abs().max() < 1e-4


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++ 2m"])
def test_one_control(studio: Studio, base: Path, scheduler: str) -> None:
    control = Control(studio.net("canny"), FIRST, weight=0.7, span=(0.2, 0.9))
    expected = theirs(
        studio,
        base,
        StableDiffusionControlNetPipeline,
        scheduler,
        kinds=["canny"],
        image=FIRST,
        controlnet_conditioning_scale=0.7,
        control_guidance_start=0.2,
        control_guidance_end=0.9,
    )
    drawn = ours(studio, scheduler, (control,))
    assert (drawn - expected).abs().max() < 1e-4
    assert (drawn - ours(studio, scheduler)).abs().mean() > 1e-2, "the control must be heard"


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++ 2m"])
def test_two_controls(studio: Studio, base: Path, scheduler: str) -> None:
    controls = (
        Control(studio.net("canny"), FIRST, weight=0.5),
        Control(studio.net("depth"), SECOND, weight=1.2, span=(0.0, 0.5)),
    )
    expected = theirs(
        studio,
        base,
        StableDiffusionControlNetPipeline,
        scheduler,
        kinds=["canny", "depth"],
        image=[FIRST, SECOND],
        controlnet_conditioning_scale=[0.5, 1.2],
        control_guidance_start=[0.0, 0.0],
        control_guidance_end=[1.0, 0.5],
    )
    assert (ours(studio, scheduler, controls) - expected).abs().max() < 1e-4


def test_sdxl(models: Any, tmp_path: Path) -> None:
    """Two text encoders, pooled text and sizes; zeros for no negative prompt."""
    torch.manual_seed(0)
    first, second = ({"projection_dim": 32, **TINY_TEXT, "hidden_size": width} for width in (32, 64))
    pipeline = StableDiffusionXLPipeline(
        tiny_vae(),
        CLIPTextModel(CLIPTextConfig(**first)),
        CLIPTextModelWithProjection(CLIPTextConfig(**second)),
        tiny_tokenizer(),
        tiny_tokenizer(),
        models.unet("sdxl"),
        tiny_scheduler(),
        add_watermarker=False,
    )
    pipeline.save_pretrained(tmp_path / "xl")
    pipeline.set_progress_bar_config(disable=True)
    backbone = Backbone.load(tmp_path / "xl")
    latents, generators = start(backbone, SIZE, SEEDS)
    shared: Any = {"num_inference_steps": 4, "latents": latents, "generator": generators, "output_type": "pt"}
    expected = pipeline(PROMPTS, width=SIZE[0], height=SIZE[1], guidance_scale=4.0, **shared).images
    drawn = finish(backbone, draw(backbone, PROMPTS, SEEDS, SIZE, steps=4, scheduler="ddim"))
    assert (drawn - expected).abs().max() < 1e-4
