"""Bases opened: whatever people call them, and whichever form they come in, as one `Backbone`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from underdraw.errors import CheckpointError
from underdraw.formats.bases import BaseParts, read_base, read_vae
from underdraw.formats.families import Family, family_of
from underdraw.formats.parts import assemble
from underdraw.formats.places import locate_base, locate_vae
from underdraw.formats.vocabulary import open_tokenizer
from underdraw.model import Backbone, Process, Text
from underdraw.model.trunk import check, decode, encode

__all__ = ["backbone_of", "open_base", "predicts_noise", "settled"]


def open_base(
    name: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    vae: str | Path | None = None,
    prediction: str | None = None,
) -> Backbone:
    """A locked base by its name: "embedded", a short name (sd15 sd21 sdxl), a hub id, a folder, or a single file.

    vae: another autoencoder, by the same kinds of names. prediction: "epsilon" or "v_prediction", where a file of
    SD 2.x does not say it (otherwise it is found out by asking the U-Net). Raises CheckpointError, in one line, for
    what is missing, broken or of another family; it says which file to put where.
    """
    place = locate_base(name)
    if place.is_dir():
        backbone = Backbone.load(place, device, dtype)
    else:
        parts = read_base(place)
        backbone = backbone_of(parts.predicting(prediction) if prediction else parts, device, dtype)
    if vae is None:
        return backbone
    return replace(backbone, vae=_open_vae(locate_vae(vae), backbone, family_of(backbone.unet.config)))


def backbone_of(parts: BaseParts, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Backbone:
    """The backbone that these parts make, each tensor loaded once, in the wanted precision. Raises CheckpointError."""
    if parts.vae is None:
        raise CheckpointError(f"{parts.place} has no autoencoder; give one, too (vae)")
    unet = assemble(parts.unet, parts.place, dtype, device)
    check(cast(Any, unet))
    texts = tuple(assemble(text, parts.place, dtype, device) for text in parts.texts)
    backbone = Backbone(
        unet=unet,
        process=Process.from_config(parts.scheduler),
        vae=assemble(parts.vae, parts.place, _vae_precision(parts.vae.config, dtype), device),
        text_encoders=texts,
        tokenizers=tuple(map(open_tokenizer, parts.tokenizers)),
        scheduler=dict(parts.scheduler),
        zero_empty=parts.zero_empty,
    )
    if parts.prediction is not None:
        return backbone
    scheduler = {**parts.scheduler, "prediction_type": _asked(backbone)}
    return replace(backbone, scheduler=scheduler, process=Process.from_config(scheduler))


def settled(parts: BaseParts) -> BaseParts:
    """The same parts with what the U-Net predicts said; where the file does not say it, the U-Net is asked."""
    return parts if parts.prediction else parts.predicting(_asked(backbone_of(parts, dtype=torch.bfloat16)))


@torch.no_grad()
def predicts_noise(unet: Any, text: Text, steps: int = 1000) -> bool:
    """Whether a U-Net answers noise with that noise (ε), or with something else (v).

    At the last timestep a sample is all noise: ε is the sample itself, and v = √ᾱ·ε - √(1-ᾱ)·x0 has nearly none of it.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, unet.config["in_channels"], 16, 16, generator=generator).to(unet.conv_in.weight)
    answer: Tensor = decode(unet, encode(unet, noise, steps - 1, text))
    both = torch.stack([noise.flatten(), answer.flatten()]).float()
    return bool(torch.corrcoef(both)[0, 1] > 0.5)


def _asked(backbone: Backbone) -> str:
    noise = predicts_noise(backbone.unet, backbone.empty_text(), len(backbone.process))
    return "epsilon" if noise else "v_prediction"


def _open_vae(place: Path, backbone: Backbone, family: Family) -> nn.Module:
    part = read_vae(place, family)
    latents = backbone.unet.config["out_channels"]
    if part.config.get("latent_channels", 4) != latents:
        raise CheckpointError(f"{place} makes {part.config['latent_channels']} latent channels, the base has {latents}")
    dtype = _vae_precision(part.config, backbone.dtype)
    return assemble(part, place, dtype, backbone.device)


def _vae_precision(config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
    """Many autoencoders overflow in half precision and draw black pictures; those that say so stay in float32."""
    return torch.float32 if dtype == torch.float16 and config.get("force_upcast", True) else dtype
