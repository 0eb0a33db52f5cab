"""The real shape of SDXL in bfloat16, 2.6 billion random weights and a ControlNet of 1.25: diffusers draws the same.

U-Net, ControlNet and autoencoder are held once, and the text is random numbers in place of two text encoders. We carry
latents and predictions in float32; asked to do so too, diffusers' pipeline leaves the same bits, where the networks are
computed in the same way. The laid-out weights of a usual drawing sum in another order, and after some steps that shows
as what the pipeline loses by rounding everything to bfloat16 does, which it does by itself; not much more.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import diffusers
import pytest
import torch
from diffusers import StableDiffusionXLControlNetPipeline
from torch import Tensor, nn

from underdraw.formats.families import FAMILIES
from underdraw.formats.parts import assemble
from underdraw.generation import Guidance, denoise, engines, find_scheduler, start
from underdraw.model import Backbone, Control, ControlNet, Process, Text, predict
from underdraw.model.store import control_of

from ..formats.test_real import filled, real_vae
from ..formats.tiny import HOME, real_control, real_unet
from .test_real import stock

pytestmark = pytest.mark.slow

SIZE, SEED, STEPS, SCALE = (256, 192), 7, 3, 5.0
FIRST, SECOND = (torch.rand(1, 3, 192, 256, generator=torch.Generator().manual_seed(seed)) for seed in range(2))


@dataclass(frozen=True, eq=False)
class Large:
    """A base and a net, and diffusers' own net over the same tensors."""

    backbone: Backbone
    net: ControlNet
    stock: Any


@pytest.fixture(scope="module")
def large() -> Large:
    told = FAMILIES["sdxl"]
    unet: Any = assemble(filled(real_unet("sdxl")), HOME, torch.bfloat16)
    assert 2.5e9 < sum(each.numel() for each in unet.parameters()) < 2.6e9
    part = filled(real_control("sdxl"), 1)
    net = control_of(part.config, part.tensors, unet, HOME)
    vae = assemble(real_vae(), HOME, torch.bfloat16)
    process = Process.from_config(told.scheduler)
    return Large(Backbone(unet, process, vae, scheduler=told.scheduler, zero_empty=True), net, stock(net))


def text(seed: int) -> Text:
    generator = torch.Generator().manual_seed(seed)
    states, pooled = torch.randn(1, 77, 2048, generator=generator), torch.randn(1, 1280, generator=generator)
    return Text(states.bfloat16(), pooled.bfloat16()).sized(*SIZE)


PROMPT, EMPTY = text(1), text(2)


def controls(large: Large, count: int) -> list[Control]:
    return [
        Control(large.net, hint, weight=weight) for hint, weight in list(zip((FIRST, SECOND), (0.8, 0.5), strict=True))
    ][:count]


def ours(large: Large, scheduler: str, count: int) -> Tensor:
    noise, generators = start(large.backbone, SIZE, [SEED])
    pull, heard = Guidance(PROMPT, EMPTY, SCALE), controls(large, count)
    *_, last = denoise(large.backbone, pull, noise, generators, steps=STEPS, scheduler=scheduler, controls=heard)
    return last.latents


@contextmanager
def in_float32(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the block the modules take samples of float32, and a U-Net's prediction leaves as float32."""

    def entering(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        rounded = {name: each.bfloat16() for name, each in named.items() if name == "sample"}
        return tuple(each.bfloat16() if place == 0 else each for place, each in enumerate(given)), named | rounded

    def leaving(module: nn.Module, given: Any, told: Any) -> Any:
        return (told[0].float(),) if len(told) == 1 else told

    hooks: list[Any] = [module.register_forward_pre_hook(entering, with_kwargs=True) for module in modules]
    hooks += [module.register_forward_hook(leaving) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Plain:
    """In place of `Quick`: the layers as torch computes them."""

    def __init__(self, *_: Any) -> None:
        pass

    def at(self, step: int) -> AbstractContextManager[None]:
        return nullcontext()


@torch.no_grad()
def theirs(large: Large, scheduler: str, count: int, dtype: torch.dtype) -> Tensor:
    chosen, backbone = find_scheduler(scheduler), large.backbone
    pipeline: Any = StableDiffusionXLControlNetPipeline(
        vae=backbone.vae,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        unet=backbone.unet,
        controlnet=large.stock if count == 1 else [large.stock] * count,
        scheduler=getattr(diffusers, chosen.kind).from_config(dict(backbone.scheduler), **chosen.settings),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    latents: Tensor = pipeline(
        prompt_embeds=PROMPT.states,
        pooled_prompt_embeds=PROMPT.pooled,
        negative_prompt_embeds=EMPTY.states,
        negative_pooled_prompt_embeds=EMPTY.pooled,
        image=FIRST if count == 1 else [FIRST, SECOND],
        controlnet_conditioning_scale=0.8 if count == 1 else [0.8, 0.5],
        num_inference_steps=STEPS,
        guidance_scale=SCALE,
        latents=start(backbone, SIZE, [SEED])[0].to(dtype),
        width=SIZE[0],
        height=SIZE[1],
        output_type="latent",
    ).images
    return latents.float()


@torch.no_grad()
def test_the_same_prediction_to_the_bit(large: Large) -> None:
    unet, (control,) = large.backbone.unet, controls(large, 1)
    sample = start(large.backbone, SIZE, [SEED])[0].bfloat16()
    told = {"text_embeds": PROMPT.pooled, "time_ids": PROMPT.time_ids}
    mine = predict(unet, sample, 500, PROMPT, [control])
    shared: Any = {"encoder_hidden_states": PROMPT.states, "added_cond_kwargs": told, "return_dict": False}
    skips, middle = large.stock(sample, 500, controlnet_cond=FIRST.bfloat16(), conditioning_scale=0.8, **shared)
    told_by_it: Any = {"down_block_additional_residuals": skips, "mid_block_additional_residual": middle}
    assert torch.equal(mine, unet(sample, 500, **shared, **told_by_it)[0])
    assert (mine - predict(unet, sample, 500, PROMPT)).abs().mean() > 0.05 * mine.abs().mean()


@pytest.mark.parametrize(("scheduler", "count"), [("euler", 1), ("dpm++ 2m", 2)])
def test_diffusers_leaves_the_same_latents(
    large: Large, scheduler: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_float32([large.backbone.unet, large.stock]):
        expected = theirs(large, scheduler, count, torch.float32)
    rounded, quick = theirs(large, scheduler, count, torch.bfloat16), ours(large, scheduler, count)
    monkeypatch.setattr(engines, "Quick", Plain)
    plain = ours(large, scheduler, count)
    scale = float(expected.abs().max())
    apart = {
        name: float((each - expected).abs().max()) / scale
        for name, each in (("plain", plain), ("quick", quick), ("diffusers in bfloat16", rounded))
    }
    print(f"{scheduler}, {count} nets, of {scale:.1f}: {apart}")
    assert torch.equal(plain, expected)
    assert apart["quick"] < 3 * apart["diffusers in bfloat16"] < 0.3
