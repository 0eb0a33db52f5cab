"""The families of Stable Diffusion as data: what their single files are made of, and what no shape tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["FAMILIES", "UNET", "VAE", "Family", "Tower", "family_of", "ignored", "pipeline_name"]

UNET = "model.diffusion_model."
"""Where the U-Net lies in a single file."""
VAE = "first_stage_model."
"""Where the autoencoder lies in a single file."""


@dataclass(frozen=True)
class Tower:
    """One text encoder of a single file.

    prefix: of its names. naming: of its parts. model: its class. pad: the token that fills a prompt up.
    heard: how many of its layers are; what comes after is left out, as everybody does. 0: all.
    """

    prefix: str
    naming: Literal["clip", "open-clip"]
    model: str = "CLIPTextModel"
    pad: str = "<|endoftext|>"
    heard: int = 0


@dataclass(frozen=True)
class Family:
    """One family: its names, its text encoders, and the settings that its published configs have.

    linear: whether transformers project by linear layers (else by 1×1 convolutions). width: of the text it hears.
    latent_scale: of its autoencoder. size: of its samples, each way.
    """

    name: str
    title: str
    architecture: str
    width: int
    linear: bool
    size: int
    latent_scale: float
    towers: tuple[Tower, ...]
    scheduler: Mapping[str, Any]
    short: str
    repository: str
    file: str
    zero_empty: bool = False


_NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "clip_sample": False,
}
_PNDM = {"_class_name": "PNDMScheduler", "set_alpha_to_one": False, "skip_prk_steps": True}
_EULER = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "interpolation_type": "linear"}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="sd1",
            title="Stable Diffusion 1.x",
            architecture="stable-diffusion-v1",
            width=768,
            linear=False,
            size=64,
            latent_scale=0.18215,
            towers=(Tower("cond_stage_model.transformer.", "clip"),),
            scheduler=_NOISE | _PNDM,
            short="sd15",
            repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
            file="v1-5-pruned-emaonly.safetensors",
        ),
        Family(
            name="sd2",
            title="Stable Diffusion 2.x",
            architecture="stable-diffusion-v2",
            width=1024,
            linear=True,
            size=96,
            latent_scale=0.18215,
            towers=(Tower("cond_stage_model.model.", "open-clip", pad="!", heard=23),),
            scheduler=_NOISE | _PNDM,
            short="sd21",
            repository="stabilityai/stable-diffusion-2-1",
            file="v2-1_768-ema-pruned.safetensors",
        ),
        Family(
            name="sdxl",
            title="Stable Diffusion XL",
            architecture="stable-diffusion-xl-v1-base",
            width=2048,
            linear=True,
            size=128,
            latent_scale=0.13025,
            towers=(
                Tower("conditioner.embedders.0.transformer.", "clip"),
                Tower("conditioner.embedders.1.model.", "open-clip", model="CLIPTextModelWithProjection", pad="!"),
            ),
            scheduler=_NOISE | _EULER,
            short="sdxl",
            repository="stabilityai/stable-diffusion-xl-base-1.0",
            file="sd_xl_base_1.0.safetensors",
            zero_empty=True,
        ),
    )
}

_PIPELINES = {
    4: "StableDiffusion{}Pipeline",
    8: "StableDiffusion{}InstructPix2PixPipeline",
    9: "StableDiffusion{}InpaintPipeline",
}
"""What diffusers calls the pipeline of a U-Net with so many input channels."""


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a U-Net or ControlNet of this (diffusers) config; a narrow relative counts as what it resembles."""
    by_width = [family for family in FAMILIES.values() if family.width == config.get("cross_attention_dim")]
    if config.get("addition_embed_type") == "text_time":
        return FAMILIES["sdxl"]
    return by_width[0] if by_width else FAMILIES["sd2" if config.get("use_linear_projection") else "sd1"]


def pipeline_name(family: Family, channels: int) -> str:
    """The class that diffusers' model_index.json names for a family and so many input channels."""
    return _PIPELINES.get(channels, _PIPELINES[4]).format("XL" if family.name == "sdxl" else "")


_IGNORED = {
    "a second copy of the weights (a moving average)": ("model_ema.",),
    "a ControlNet": ("control_model.",),
    "the table of the noise schedule": (
        *("betas", "alphas_", "sqrt_", "log_one_minus", "posterior_", "lvlb_", "logvar", "denoiser.", "sigmas"),
    ),
    "what training left behind": (
        *("first_stage_model.loss.", "loss.", "embedding_manager.", "optimizer", "callbacks", "lr_schedulers", "epoch"),
        *("global_step", "pytorch-lightning_version", "hyper_parameters", "hparams", "state.", "scale_factor"),
    ),
    "a mark that says how the model predicts": ("v_pred", "ztsnr"),
}
_IGNORED_ENDS = {
    "a table that every CLIP has": ("position_ids",),
    "the scale of CLIP's own loss": ("logit_scale",),
}
_TEXT_HEADS = (
    *(f"cond_stage_model.{part}text_projection" for part in ("", "transformer.", "model.")),
    "conditioner.embedders.0.transformer.text_projection",
)


def ignored(name: str) -> str | None:
    """Why nobody misses a tensor of a base file, or None for one that is not on the list."""
    if name.startswith(_TEXT_HEADS):
        return "the projection of a text encoder that is heard without it"
    for why, beginnings in _IGNORED.items():
        if name.startswith(beginnings):
            return why
    return next((why for why, ends in _IGNORED_ENDS.items() if name.endswith(ends)), None)
