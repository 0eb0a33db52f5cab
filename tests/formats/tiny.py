"""Tiny bases and nets of the real families, for the tests of their files."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from underdraw.formats.base_writing import parts_of
from underdraw.formats.bases import BaseParts
from underdraw.formats.families import FAMILIES
from underdraw.formats.vocabulary import clip_tokenizer
from underdraw.model import Backbone, ControlNet, Process, build

from ..conftest import NARROW, REAL

SHORT = {family.name: family.short for family in FAMILIES.values()}
HOME = Path("anywhere")
"""What errors call a file that there is none of."""


def unet(family: str, seed: int = 0, **settings: Any) -> Any:
    """A narrow U-Net of a family (sd1, sd2, sdxl), whose pooled text is as wide as `texts` makes it."""
    torch.manual_seed(seed)
    config = NARROW[SHORT[family]] | settings
    if family == "sdxl":
        config["projection_class_embeddings_input_dim"] = 6 * config["addition_time_embed_dim"] + 64
    return UNet2DConditionModel(**config).requires_grad_(False).eval()


@cache
def real_unet(family: str) -> Any:
    """A U-Net of the real widths, without memory."""
    with torch.device("meta"):
        return UNet2DConditionModel(**REAL[SHORT[family]])


@cache
def real_control(family: str) -> Any:
    """A ControlNet of the real widths, without memory."""
    with torch.device("meta"):
        return ControlNetModel.from_unet(real_unet(family), load_weights_from_unet=False)


def vae() -> Any:
    torch.manual_seed(3)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    made = AutoencoderKL(block_out_channels=(8, 8, 8, 8), layers_per_block=2, norm_num_groups=4, **kinds)
    return made.requires_grad_(False).eval()


def text(width: int, act: str, projected: bool = False, layers: int = 3) -> Any:
    torch.manual_seed(width)
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        projection_dim=width,
        hidden_act=act,
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).requires_grad_(False).eval()


@cache
def texts(family: str) -> tuple[Any, ...]:
    if family == "sd1":
        return (text(48, "quick_gelu"),)
    if family == "sd2":
        return (text(64, "gelu"),)
    return text(32, "quick_gelu"), text(64, "gelu", projected=True)


@cache
def tokenizer(pad: str) -> Any:
    return clip_tokenizer(pad)


def base(family: str, seed: int = 0, **settings: Any) -> Backbone:
    """A whole narrow base."""
    told = FAMILIES[family]
    return Backbone(
        unet=unet(family, seed, **settings),
        process=Process.from_config(told.scheduler),
        vae=vae(),
        text_encoders=texts(family),
        tokenizers=tuple(tokenizer(tower.pad) for tower in told.towers),
        scheduler=told.scheduler,
        zero_empty=told.zero_empty,
    )


def parts(family: str, seed: int = 0, **settings: Any) -> BaseParts:
    return parts_of(base(family, seed, **settings))


def control(of: Any, seed: int = 4) -> ControlNet:
    """A full control for a U-Net, different from it and silent nowhere."""
    net = build(of, 8).requires_grad_(False).eval()
    torch.manual_seed(seed)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return net


def branch(of: Any, **settings: Any) -> Any:
    """A ControlNetModel of diffusers for a U-Net, silent nowhere; settings: of its config."""
    torch.manual_seed(5)
    made = ControlNetModel.from_config(dict(ControlNetModel.from_unet(of).config) | settings)
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made.requires_grad_(False).eval()


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def same_tensors(left: Any, right: Any) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
