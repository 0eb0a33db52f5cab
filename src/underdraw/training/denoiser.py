"""Learning the latent U-Net from nothing, on the frozen autoencoder and text tower."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from underdraw.data.batches import PictureSet
from underdraw.data.buckets import Size
from underdraw.errors import CheckpointError
from underdraw.model import Backbone, Control, ControlNet, Process
from underdraw.training.latents import LatentSet
from underdraw.training.objective import denoising_loss, draw_batch, mask_of, predicted
from underdraw.training.pictures import WHOLE, Share, samples, sizes, spread
from underdraw.training.precision import fit
from underdraw.training.recipe import Denoiser, Recipe
from underdraw.training.sheets import mosaic

__all__ = ["DenoiserTask", "build_unet", "export_backbone", "sketch", "warm_up"]

LOOKED = 2**17
"""Pixels that are sketched at once."""


def build_unet(config: Denoiser, channels: int, size: int, text_width: int) -> UNet2DConditionModel:
    """A randomly initialised U-Net in the shape of Stable Diffusion's; `size` is that of the latents."""
    kinds = ["CrossAttn" if attends else "" for attends in config.attention]
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        attention_head_dim=config.heads,
        cross_attention_dim=text_width,
        down_block_types=[f"{kind}DownBlock2D" for kind in kinds],
        up_block_types=[f"{kind}UpBlock2D" for kind in reversed(kinds)],
    )


def _schedule(prediction: str) -> DDIMScheduler:
    """Stable Diffusion's betas; trailing timesteps, so that a drawing of few steps begins at pure noise."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
        timestep_spacing="trailing",
    )


class DenoiserTask:
    """Predict noise (or velocity) of latents whose captions are sometimes left out."""

    def __init__(self, recipe: Recipe, config: Denoiser, pictures: PictureSet, watched: PictureSet) -> None:
        self.recipe, self.config, self.pictures, self.watched = recipe, config, pictures, watched
        vae = AutoencoderKL.from_pretrained(config.vae).to(recipe.device).requires_grad_(False).eval()
        text_encoder = CLIPTextModel.from_pretrained(config.clip).to(recipe.device).requires_grad_(False).eval()
        self.scheduler = _schedule(config.prediction)
        torch.manual_seed(recipe.seed)
        size = pictures.pixels.shape[-1] // 2 ** (len(vae.config.block_out_channels) - 1)
        unet = build_unet(config, vae.config.latent_channels, size, text_encoder.config.hidden_size)
        if config.warm_start:
            warm_up(unet, Backbone.load(config.warm_start).unet, config.warm_start)
        fit(unet.to(recipe.device), recipe)
        self.module: nn.Module = unet
        self.backbone = Backbone(
            unet=unet,
            process=Process.from_config(self.scheduler.config),
            vae=vae,
            text_encoders=(text_encoder,),
            tokenizers=(CLIPTokenizer.from_pretrained(config.clip),),
            scheduler=self.scheduler.config,
        )
        self.latents = LatentSet.encode(self.backbone, pictures, Path(recipe.output).parent / "cache")

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """`denoise`: the weighted squared error of the prediction."""
        seen = samples(self.pictures, self.recipe.seed, step, self.recipe.batch, share)
        mask = mask_of(self.pictures, seen.indices, self.config, self.latents.shape(seen.indices))
        drawn = draw_batch(
            self.latents, seen.indices, seen.draws, self.backbone.process, self.config, self.recipe.device, mask
        )
        prediction = predicted(self.backbone, drawn.noisy, drawn.timestep, drawn.text)
        return {"denoise": denoising_loss(prediction, drawn, self.backbone.process, self.config)}

    def sheet(self) -> Tensor:
        """Twelve watched pictures above two samples each from their captions."""
        chosen = spread(len(self.watched))
        captions = [self.watched.texts[int(i)][0] for i in chosen] * 2
        drawn = sketch(self.backbone, captions, sizes(self.watched)[0], self.recipe.seed)
        return mosaic(torch.cat([self.watched.pictures(chosen), drawn]), columns=len(chosen))

    def export(self, folder: Path) -> None:
        """Write a diffusers-layout folder: U-Net, autoencoder, text tower, tokenizer, schedule."""
        export_backbone(self.backbone, self.scheduler, folder)


def warm_up(learner: nn.Module, before: nn.Module, where: str) -> None:
    """Begin with the weights of a module of the same shape. Raises CheckpointError naming what does not fit."""
    wanted, there = ({name: tuple(value.shape) for name, value in m.state_dict().items()} for m in (learner, before))
    if unfit := sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name)):
        told = f"{len(unfit)} tensors differ, {unfit[0]} among them: {there.get(unfit[0])}, not {wanted.get(unfit[0])}"
        raise CheckpointError(f"warm_start {where} has another shape than the recipe ({told}); make them alike")
    learner.load_state_dict(before.state_dict())


@torch.no_grad()
def sketch(
    backbone: Backbone,
    captions: list[str],
    size: Size,
    seed: int,
    control: tuple[ControlNet, Tensor] | None = None,
    beside: Tensor | None = None,
) -> Tensor:
    """Quick looks B×3×height×width during a training: 20 DDIM steps at guidance 4, noise from `seed`.

    size: (width, height). control: a net, and a map for each caption. beside: B×C×h×w, seen beside the latents. Few at
    once where pictures are large.
    """
    side = [length // backbone.factor for length in reversed(size)]
    shape = (len(captions), backbone.unet.config.out_channels, *side)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(backbone.device)
    together = max(1, LOOKED // (size[0] * size[1]))
    drawn = []
    for start in range(0, len(captions), together):
        part = slice(start, start + together)
        shown = None if control is None else (control[0], control[1][part])
        seen = latents.new_empty(len(captions), 0, *side) if beside is None else beside
        drawn.append(_sketched(backbone, captions[part], latents[part], shown, seen[part]))
    return torch.cat(drawn)


def _sketched(
    backbone: Backbone,
    captions: list[str],
    latents: Tensor,
    control: tuple[ControlNet, Tensor] | None,
    beside: Tensor,
) -> Tensor:
    scheduler = DDIMScheduler.from_config(backbone.scheduler)
    scheduler.set_timesteps(20)
    controls = () if control is None else (Control(control[0], control[1].to(backbone.device)).prepared(),)
    text, empty = backbone.encode_text(captions), backbone.empty_text(len(captions))
    for timestep in scheduler.timesteps:
        seen = torch.cat([latents, beside], 1)
        free, bound = (predicted(backbone, seen, timestep, told, controls).float() for told in (empty, text))
        latents = scheduler.step(free + 4.0 * (bound - free), timestep, latents).prev_sample
    return backbone.decode_latents(latents).cpu()


def export_backbone(backbone: Backbone, scheduler: DDIMScheduler, folder: Path) -> None:
    """A base as diffusers lays it out (`StableDiffusionPipeline`)."""
    parts = {
        "unet": ("diffusers", backbone.unet),
        "vae": ("diffusers", backbone.vae),
        "scheduler": ("diffusers", scheduler),
        "text_encoder": ("transformers", backbone.text_encoders[0]),
        "tokenizer": ("transformers", backbone.tokenizers[0]),
    }
    index: dict[str, object] = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    index |= {key: [None, None] for key in ("feature_extractor", "image_encoder", "safety_checker")}
    for name, (library, part) in parts.items():
        part.save_pretrained(folder / name)
        index[name] = [library, type(part).__name__]
    backbone.tokenizers[0].backend_tokenizer.model.save(str(folder / "tokenizer"))
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
