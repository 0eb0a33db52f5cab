"""Law 2: diffusers' pipelines leave the same latents from the same folder, noise, scheduler and steps."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from underdraw.generation import Studio, Task, denoise, encode_prompts, find_scheduler, make_task, start
from underdraw.model import Backbone, Control

from .conftest import SAMPLERS, TINY_TEXT, TINY_UNET, tiny_scheduler, tiny_tokenizer, tiny_vae

PROMPTS, SEEDS, SIZE = ["a red mushroom", "红色蘑菇"], [3, 4], (48, 32)
FIRST, SECOND, PICTURE = (torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
MASK = torch.zeros(2, 1, 32, 48)
MASK[0, :, 8:24, 16:40], MASK[1, :, :16] = 1, 1
FOUR = ["ddim", "euler", "dpm++ 2m", "unipc"]
STARTS = [*((name, 0.65) for name in FOUR), ("ddim", 1.0), ("dpm++ 2m", 1.0)]


def ours(
    backbone: Backbone,
    scheduler: str,
    controls: tuple[Control, ...] = (),
    guidance: float = 4.0,
    picture: float | None = None,
    task: Task | None = None,
    **start_from: Any,
) -> Tensor:
    pull = encode_prompts(backbone, PROMPTS, SIZE, guidance, "" if backbone.zero_empty else "blue", picture=picture)
    noise, generators = start(backbone, SIZE, SEEDS)
    task = make_task(backbone, SIZE, **start_from) if task is None else task
    *_, last = denoise(backbone, pull, noise, generators, steps=5, scheduler=scheduler, controls=controls, task=task)
    return last.latents


def theirs(base: Path, kind: Any, scheduler: str, kinds: tuple[str, ...] = (), **extra: Any) -> Tensor:
    nets = [ControlNetModel.from_pretrained(base / f"controlnet-{each}") for each in kinds]
    parts = {"controlnet": nets if len(nets) > 1 else nets[0]} if nets else {}
    pipeline = kind.from_pretrained(base, **parts)
    chosen = find_scheduler(scheduler)
    pipeline.scheduler = getattr(diffusers, chosen.kind).from_config(pipeline.scheduler.config, **chosen.settings)
    pipeline.set_progress_bar_config(disable=True)
    if "strength" not in extra and "image_guidance_scale" not in extra and not hasattr(pipeline, "mask_processor"):
        extra |= {"width": SIZE[0], "height": SIZE[1]}
    negative = {} if pipeline.config.get("force_zeros_for_empty_prompt") else {"negative_prompt": ["blue"] * 2}
    latents: Tensor = pipeline(
        PROMPTS,
        num_inference_steps=5,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="latent",
        **{"guidance_scale": 4.0} | negative | extra,
    ).images
    return latents


def assert_same(mine: Tensor, other: Tensor) -> None:
    assert mine.shape == other.shape
    assert (mine - other).abs().max() < 1e-4


@pytest.fixture
def likely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures become their most likely latents, as with us; diffusers draws some by chance."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:numpy")
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_text_only(studio: Studio, base: Path, scheduler: str) -> None:
    extra: Any = {"eta": 0.3} if scheduler == "tcd" else {}  # the paper's; the pipelines say 0 unless asked
    assert_same(ours(studio.backbone, scheduler), theirs(base, StableDiffusionPipeline, scheduler, **extra))


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_without_and_with_guidance(studio: Studio, base: Path, guidance: float) -> None:
    expected = theirs(base, StableDiffusionPipeline, "ddim", guidance_scale=guidance)
    assert_same(ours(studio.backbone, "ddim", guidance=guidance), expected)


@pytest.mark.parametrize("scheduler", FOUR)
def test_one_control(studio: Studio, base: Path, scheduler: str) -> None:
    control = Control(studio.net("canny"), FIRST, weight=0.7, span=(0.2, 0.9))
    span = {"control_guidance_start": 0.2, "control_guidance_end": 0.9}
    heard = {"image": FIRST, "controlnet_conditioning_scale": 0.7, **span}
    expected = theirs(base, StableDiffusionControlNetPipeline, scheduler, ("canny",), **heard)
    drawn = ours(studio.backbone, scheduler, (control,))
    assert_same(drawn, expected)
    assert (drawn - ours(studio.backbone, scheduler)).abs().mean() > 1e-2, "the control must be heard"


def test_guess_mode(studio: Studio, base: Path) -> None:
    """Its layer curve and its side; diffusers' guess mode is our preset of that name."""
    from underdraw.generation import PRESETS, layer_curve

    net, preset = studio.net("canny"), PRESETS["guess mode"]
    control = Control(net, FIRST, curve=layer_curve(preset.curve, net.sites), side="conditional")
    expected = theirs(base, StableDiffusionControlNetPipeline, "ddim", ("canny",), image=FIRST, guess_mode=True)
    assert preset.side == "conditional"
    assert_same(ours(studio.backbone, "ddim", (control,)), expected)


@pytest.mark.parametrize("scheduler", FOUR)
def test_two_controls(studio: Studio, base: Path, scheduler: str) -> None:
    controls = (
        Control(studio.net("canny"), FIRST, weight=0.5),
        Control(studio.net("depth"), SECOND, weight=1.2, span=(0.0, 0.5)),
    )
    heard = {"image": [FIRST, SECOND], "controlnet_conditioning_scale": [0.5, 1.2]}
    span = {"control_guidance_start": [0.0, 0.0], "control_guidance_end": [1.0, 0.5]}
    expected = theirs(base, StableDiffusionControlNetPipeline, scheduler, ("canny", "depth"), **heard, **span)
    assert_same(ours(studio.backbone, scheduler, controls), expected)


@pytest.mark.usefixtures("likely")
@pytest.mark.parametrize(("scheduler", "strength"), STARTS)
def test_picture_to_picture(studio: Studio, base: Path, scheduler: str, strength: float) -> None:
    plain = theirs(base, StableDiffusionImg2ImgPipeline, scheduler, image=PICTURE, strength=strength)
    assert_same(ours(studio.backbone, scheduler, pictures=PICTURE, strength=strength), plain)
    control = Control(studio.net("canny"), FIRST, weight=0.6, span=(0.0, 0.7))
    heard = {"control_image": FIRST, "controlnet_conditioning_scale": 0.6, "control_guidance_end": 0.7}
    shared: Any = {"image": PICTURE, "strength": strength}
    bound = theirs(base, StableDiffusionControlNetImg2ImgPipeline, scheduler, ("canny",), **shared, **heard)
    assert_same(ours(studio.backbone, scheduler, (control,), pictures=PICTURE, strength=strength), bound)


@pytest.mark.usefixtures("likely")
@pytest.mark.parametrize(("scheduler", "strength"), STARTS)
def test_inpainting(studio: Studio, base: Path, scheduler: str, strength: float) -> None:
    shared: Any = {"image": PICTURE, "mask_image": MASK, "strength": strength, "width": 48, "height": 32}
    mine: Any = {"pictures": PICTURE, "mask": MASK, "strength": strength}
    plain = theirs(base, StableDiffusionInpaintPipeline, scheduler, **shared)
    assert_same(ours(studio.backbone, scheduler, **mine), plain)
    control = Control(studio.net("canny"), FIRST, weight=0.6)
    heard = {"control_image": FIRST, "controlnet_conditioning_scale": 0.6}
    bound = theirs(base, StableDiffusionControlNetInpaintPipeline, scheduler, ("canny",), **shared, **heard)
    assert_same(ours(studio.backbone, scheduler, (control,), **mine), bound)


def wide_base(folder: Path, channels: int, kind: Any) -> Path:
    """The tiny base with more input channels."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**TINY_UNET | {"in_channels": channels})
    text = CLIPTextModel(CLIPTextConfig(**TINY_TEXT))
    parts = (tiny_vae(), text, tiny_tokenizer(), unet, tiny_scheduler(), None, None)
    kind(*parts, requires_safety_checker=False).save_pretrained(folder)
    return folder


@pytest.mark.usefixtures("likely")
@pytest.mark.parametrize("scheduler", FOUR)
def test_a_base_for_inpainting(tmp_path: Path, scheduler: str) -> None:
    """Nine channels: the mask and the masked picture lie beside the latents."""
    base = wide_base(tmp_path / "nine", 9, StableDiffusionInpaintPipeline)
    shared: Any = {"image": PICTURE, "mask_image": MASK, "strength": 1.0, "width": 48, "height": 32}
    expected = theirs(base, StableDiffusionInpaintPipeline, scheduler, **shared)
    backbone = Backbone.load(base)
    # diffusers leaves the rest to the network; we keep it as well, so here only what is seen beside.
    beside = Task(beside=make_task(backbone, SIZE, PICTURE, MASK).beside)
    assert_same(ours(backbone, scheduler, task=beside), expected)


@pytest.mark.parametrize("scheduler", FOUR)
def test_instruct_pix2pix(tmp_path: Path, scheduler: str) -> None:
    """Eight channels, and guidance with three rungs."""
    base = wide_base(tmp_path / "eight", 8, StableDiffusionInstructPix2PixPipeline)
    told: Any = {"image": PICTURE, "image_guidance_scale": 1.7}
    expected = theirs(base, StableDiffusionInstructPix2PixPipeline, scheduler, **told)
    assert_same(ours(Backbone.load(base), scheduler, picture=1.7, pictures=PICTURE), expected)


@pytest.fixture(scope="module")
def large(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SDXL with a ControlNet: two text encoders, pooled text and sizes, zeros for no negative prompt."""
    folder = tmp_path_factory.mktemp("models") / "xl"
    torch.manual_seed(0)
    first, second = ({"projection_dim": 32, **TINY_TEXT, "hidden_size": width} for width in (32, 64))
    unet = models.unet("sdxl")
    StableDiffusionXLPipeline(
        tiny_vae(),
        CLIPTextModel(CLIPTextConfig(**first)),
        CLIPTextModelWithProjection(CLIPTextConfig(**second)),
        tiny_tokenizer(),
        tiny_tokenizer(),
        unet,
        tiny_scheduler(),
        add_watermarker=False,
    ).save_pretrained(folder)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16))
    models.awaken(net)
    net.save_pretrained(folder / "controlnet-canny")
    return folder


@pytest.mark.usefixtures("likely")
@pytest.mark.parametrize("scheduler", FOUR)
def test_sdxl(large: Path, scheduler: str) -> None:
    studio = Studio.open(str(large), "cpu")
    plain = theirs(large, StableDiffusionXLPipeline, scheduler)
    assert_same(ours(studio.backbone, scheduler), plain)
    control = Control(studio.net("canny"), FIRST, weight=0.6)
    heard: Any = {"controlnet_conditioning_scale": 0.6}
    bound = theirs(large, StableDiffusionXLControlNetPipeline, scheduler, ("canny",), image=FIRST, **heard)
    assert_same(ours(studio.backbone, scheduler, (control,)), bound)
    heard |= {"control_image": FIRST, "image": PICTURE, "strength": 0.7}
    again = theirs(large, StableDiffusionXLControlNetImg2ImgPipeline, scheduler, ("canny",), **heard)
    assert_same(ours(studio.backbone, scheduler, (control,), pictures=PICTURE, strength=0.7), again)


@pytest.mark.usefixtures("likely")
def test_inpainting_with_sdxl(large: Path) -> None:
    studio = Studio.open(str(large), "cpu")
    control = Control(studio.net("canny"), FIRST, weight=0.6)
    heard: Any = {"control_image": FIRST, "controlnet_conditioning_scale": 0.6}
    told: Any = {"image": PICTURE, "mask_image": MASK, "strength": 0.65, "width": 48, "height": 32}
    expected = theirs(large, StableDiffusionXLControlNetInpaintPipeline, "euler", ("canny",), **told, **heard)
    mine: Any = {"pictures": PICTURE, "mask": MASK, "strength": 0.65}
    assert_same(ours(studio.backbone, "euler", (control,), **mine), expected)


@pytest.mark.parametrize("scheduler", FOUR)
def test_zero_terminal_snr(base: Path, tmp_path: Path, scheduler: str) -> None:
    """With v-prediction, from pure noise, on the same betas."""
    import shutil

    copy = shutil.copytree(base, tmp_path / "zero")
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"rescale_betas_zero_snr": false', '"rescale_betas_zero_snr": true'))
    backbone = Backbone.load(copy)
    assert backbone.process.alphas_cumprod[-1] == 0
    assert_same(ours(backbone, scheduler), theirs(copy, StableDiffusionPipeline, scheduler))
