"""The networks of a run without numbers, and what a step does with them: what `plan` counts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from underdraw.errors import ConfigError
from underdraw.model import Text, apply_policy, attach, build, build_lora, decode, encode
from underdraw.model.folders import read_json
from underdraw.model.lora import Host, Lora
from underdraw.training.census import Census
from underdraw.training.control import Unlocked
from underdraw.training.control_lora import Grown, grown
from underdraw.training.denoiser import build_unet
from underdraw.training.hints import Hints
from underdraw.training.precision import computing, fit
from underdraw.training.recipe import ControlRun, Denoiser, FinetuneRun, LoraRun, Recipe
from underdraw.training.unlocked import unlocked

__all__ = ["Learning", "Parts", "latents", "learning", "loss", "networks", "predicted"]

Learning = ControlRun | Denoiser | FinetuneRun | LoraRun
"""What is counted."""


@dataclass
class Parts:
    """The networks of a run: `module` learns. together: how many batches a step sees at once (a prior is another)."""

    unet: Any
    vae: Any
    text: Any
    net: Any
    module: nn.Module
    together: int = 1

    @property
    def factor(self) -> int:
        """How many pixels, each way, a latent stands for."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


def learning(recipe: Recipe) -> Learning:
    """What a recipe learns. Raises ConfigError for what is not counted."""
    learn = recipe.learn
    if isinstance(learn, LoraRun) and learn.lora.parts != ["unet"]:
        raise ConfigError(f"plan knows of LoRAs on the unet alone, not on {', '.join(learn.lora.parts)}")
    if not isinstance(learn, Learning):
        raise ConfigError(f"plan knows of runs of control, denoiser, finetune and lora, not of {learn.task}")
    return learn


def networks(recipe: Recipe, learn: Learning, seen: Census) -> Parts:
    """On the meta device, laid out as the run does it."""
    if isinstance(learn, Denoiser):
        vae, text = _frozen(Path(learn.vae), Path(learn.clip))
        side = seen.size[0] // 2 ** (len(vae.config.block_out_channels) - 1)
        unet = build_unet(learn, vae.config.latent_channels, side, text.config.hidden_size)
        fit(unet, recipe)
        return Parts(unet, vae, text, None, unet)
    base = Path(learn.base)
    vae, text = _frozen(base / "vae", base / "text_encoder")
    unet = UNet2DConditionModel.from_config(read_json(base / "unet" / "config.json"))
    policy = apply_policy(unet, getattr(learn, "unlock", None) or "locked")
    parts = Parts(unet, vae, text, None, unet, 2 if getattr(learn, "prior", None) else 1)
    if isinstance(learn, ControlRun):
        parts.net = build(unet, parts.factor, learn.control_of(Hints(learn).channels))
        parts.module = Unlocked(parts.net, unet, policy.unlocked) if learn.unlock else parts.net
        fit(parts.net, recipe)
    elif isinstance(learn, FinetuneRun):
        parts.module = unlocked(unet, policy.unlocked)
    fit(unet, recipe)
    if isinstance(learn, LoraRun):
        parts.module = _attached({"unet": unet}, build_lora({"unet": unet}, learn.lora))
    elif isinstance(learn, ControlRun) and learn.lora:
        parts.module = Grown(parts.net, _attached(parts.net, grown(parts.net, learn)))
    return parts


def _attached(host: Host, lora: Lora) -> Lora:
    """On its host, without α, a number that can't be read where there are none."""
    for adapter in lora.adapters.values():
        adapter.alpha = None
    attach(host, lora)
    return lora


def _frozen(vae_folder: Path, text_folder: Path) -> tuple[Any, Any]:
    """Autoencoder and text encoder."""
    vae: Any = AutoencoderKL.from_config(read_json(vae_folder / "config.json"))
    told = read_json(text_folder / "config.json")
    text = CLIPTextModel(CLIPTextConfig(**told.get("text_config", told)))
    return vae.requires_grad_(False).eval(), text.requires_grad_(False).eval()


def loss(recipe: Recipe, parts: Parts, seen: Census) -> Tensor:
    """Of one part of a batch, forward."""
    count = max(1, recipe.batch // recipe.accumulate)
    with computing(recipe, "cpu"):
        pairs = [predicted(parts, seen, count) for _ in range(parts.together)]
    return sum(((told.float() - wanted).square().mean() for told, wanted in pairs), torch.zeros(()))


def predicted(parts: Parts, seen: Census, count: int) -> tuple[Tensor, Tensor]:
    """The prediction of so many noisy latents, and what it is compared with."""
    dtype = parts.unet.conv_in.weight.dtype
    clean, noise = latents(parts, seen, count), latents(parts, seen, count)
    noisy = (clean + noise).to(dtype)
    length = parts.text.config.max_position_embeddings
    text = Text(torch.empty(count, length, parts.text.config.hidden_size).to(dtype))
    level = torch.empty(count, dtype=torch.long)
    encoding = encode(parts.unet, noisy, level, text)
    deltas = {}
    if parts.net is not None:
        maps = torch.empty(count, parts.net.branch.hint_channels, seen.size[1], seen.size[0])
        spoken = parts.net(encoding, parts.net.embed(maps), noisy, level, text)
        deltas = {name: (delta * 1.0).to(delta.dtype) for name, delta in spoken.items()}
    return decode(parts.unet, encoding.plus(deltas)), noise


def latents(parts: Parts, seen: Census, count: int) -> Tensor:
    """So many, as large as the pictures want them."""
    return torch.empty(count, parts.unet.config.in_channels, seen.size[1] // parts.factor, seen.size[0] // parts.factor)
