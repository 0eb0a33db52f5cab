"""A tiny base with two ControlNets, randomly initialised, in a diffusers-layout folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from underdraw.generation import SCHEDULERS, Studio

WORDS = 16
"""Tokens a prompt."""
SPACINGS = ("karras", "exponential", "beta", "trailing")
SAMPLERS = [name for name in SCHEDULERS.names() if not name.endswith(SPACINGS)]
"""Each sampler once, as it spaces its steps by itself."""


LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
VOCABULARY = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
TINY_TEXT: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": WORDS,
    "bos_token_id": len(VOCABULARY) - 2,
    "eos_token_id": len(VOCABULARY) - 1,
}
TINY_UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": 4,
    "cross_attention_dim": 16,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
}


def tiny_tokenizer() -> Any:
    return CLIPTokenizer({word: place for place, word in enumerate(VOCABULARY)}, [], model_max_length=WORDS)


def tiny_vae() -> Any:
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=[8, 8, 16],
        norm_num_groups=4,
        scaling_factor=1.0,
    )


def tiny_scheduler() -> Any:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def tiny_base(folder: Path, width: int = 16) -> Path:
    """A base for 32×32 pictures (factor 4, two U-Net levels), with controlnet-canny and controlnet-depth.

    width: of its text; 768 is that of SD 1.x.
    """
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**TINY_UNET | {"cross_attention_dim": width})
    text = CLIPTextModel(CLIPTextConfig(**TINY_TEXT | {"hidden_size": width}))
    parts = (tiny_vae(), text, tiny_tokenizer(), unet, tiny_scheduler(), None, None)
    StableDiffusionPipeline(*parts, requires_safety_checker=False).save_pretrained(folder)
    for kind in ("canny", "depth"):
        net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16))
        for parameter in net.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        net.save_pretrained(folder / f"controlnet-{kind}")
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; do not write in it."""
    return tiny_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def studio(base: Path) -> Studio:
    return Studio.open(str(base), device="cpu")
