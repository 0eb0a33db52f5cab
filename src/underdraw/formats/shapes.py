"""Configs from shapes: what a file's tensors tell of the model that they are of, in either naming.

What no shape tells (the size of attention heads, groups at odd widths) comes from the family, or from what we wrote
into the file's metadata ourselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any, Literal

from underdraw.errors import CheckpointError
from underdraw.formats.families import Family, Tower

__all__ = [
    "Naming",
    "Shapes",
    "control_config",
    "encoder_config",
    "heads",
    "text_config",
    "text_unsaid",
    "unet_config",
    "unsaid",
    "vae_config",
]

Shapes = Mapping[str, tuple[int, ...]]
Naming = Literal["original", "diffusers"]

HEAD = 64
"""Channels of one attention head, in every family but the first (which has eight heads everywhere)."""


@dataclass(frozen=True)
class _Names:
    """Where one naming keeps what an encoder's structure is read from."""

    conv_in: str
    conv_out: str
    hint: Callable[[int], str]
    resnet: Callable[[int, int], str]
    attention: Callable[[int], str]
    middle: str
    labels: str


def _names(shapes: Shapes, naming: Naming) -> _Names:
    if naming == "diffusers":
        return _Names(
            conv_in="conv_in.weight",
            conv_out="conv_out.weight",
            hint=lambda index: f"controlnet_cond_embedding.{f'blocks.{index - 1}' if index else 'conv_in'}.weight",
            resnet=lambda block, layer: f"down_blocks.{block}.resnets.{layer}.conv2.weight",
            attention=lambda block: f"down_blocks.{block}.attentions.0",
            middle="mid_block.attentions.0",
            labels="add_embedding.linear_1.weight",
        )
    inputs = _count(lambda index: f"input_blocks.{index}.0", shapes)
    halvings = [index for index in range(inputs) if f"input_blocks.{index}.0.op.weight" in shapes]
    each = halvings[0] if halvings else inputs  # a resolution's residual blocks, and what halves it (or conv_in)
    return _Names(
        conv_in="input_blocks.0.0.weight",
        conv_out="out.2.weight",
        hint=lambda index: f"input_hint_block.{2 * index}.weight",
        resnet=lambda block, layer: f"input_blocks.{1 + block * each + layer}.0.out_layers.3.weight",
        attention=lambda block: f"input_blocks.{1 + block * each}.1",
        middle="middle_block.1",
        labels="label_emb.0.0.weight",
    )


def encoder_config(shapes: Shapes, naming: Naming) -> dict[str, Any]:
    """The (diffusers) config of a U-Net's first half, as far as shapes tell it. Raises KeyError for another thing."""
    names = _names(shapes, naming)
    blocks = list(takewhile(lambda block: names.resnet(block, 0) in shapes, count()))
    attention = [_depth(names.attention(block), shapes) for block in blocks]
    middle = _depth(names.middle, shapes)
    config: dict[str, Any] = {
        "in_channels": shapes[names.conv_in][1],
        "block_out_channels": [shapes[names.resnet(block, 0)][0] for block in blocks],
        "layers_per_block": _layers(names, shapes),
        "down_block_types": ["DownBlock2D" if depth is None else "CrossAttnDownBlock2D" for depth in attention],
        "mid_block_type": "UNetMidBlock2D" if middle is None else "UNetMidBlock2DCrossAttn",
        "transformer_layers_per_block": _said_depths(attention, middle),
        "use_linear_projection": any(
            len(each) == 2 for name, each in shapes.items() if name.endswith("proj_in.weight")
        ),
    }
    heard = [each[1] for name, each in shapes.items() if name.endswith("attn2.to_k.weight")]
    if heard:
        config["cross_attention_dim"] = heard[0]
    if names.labels in shapes:
        width = shapes[names.labels][1]
        config |= {"addition_embed_type": "text_time", "projection_class_embeddings_input_dim": width}
    return config


def unet_config(shapes: Shapes, naming: Naming = "original") -> dict[str, Any]:
    """The config of a whole U-Net, as far as shapes tell it. Raises KeyError for another thing."""
    config = encoder_config(shapes, naming)
    ups = [kind.replace("Down", "Up") for kind in reversed(config["down_block_types"])]
    return config | {"out_channels": shapes[_names(shapes, naming).conv_out][0], "up_block_types": ups}


def control_config(shapes: Shapes, naming: Naming = "original") -> dict[str, Any]:
    """The config of a ControlNet, as far as shapes tell it. Raises KeyError for another thing."""
    names = _names(shapes, naming)
    hints = [shapes[names.hint(index)] for index in range(_count(names.hint, shapes, whole=True))]
    if naming == "original":
        hints = hints[:-1]  # the last is the zero convolution
    return encoder_config(shapes, naming) | {
        "conditioning_channels": hints[0][1],
        "conditioning_embedding_out_channels": [hints[0][0], *(each[0] for each in hints[2::2])],
    }


def heads(config: Mapping[str, Any], family: Family, place: Path) -> int | list[int]:
    """diffusers' `attention_head_dim` (which counts heads) of a family. Raises CheckpointError at odd widths."""
    if not family.linear:
        return 8
    widths = config["block_out_channels"]
    if any(width % HEAD for width in widths):
        raise CheckpointError(
            f"{place}: no shape tells the size of its attention heads at widths of {widths}; "
            "use a folder in diffusers layout"
        )
    return [width // HEAD for width in widths]


def vae_config(shapes: Shapes, naming: Naming = "original") -> dict[str, Any]:
    """The config of an autoencoder, as far as shapes tell it. Raises KeyError for another thing."""
    block, layer = ("down", "block") if naming == "original" else ("down_blocks", "resnets")

    def convolution(index: int, place: int = 0) -> str:
        return f"encoder.{block}.{index}.{layer}.{place}.conv1.weight"

    blocks = range(_count(convolution, shapes, whole=True))
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[convolution(index)][0] for index in blocks],
        "layers_per_block": _count(lambda place: convolution(0, place), shapes, whole=True),
        "down_block_types": ["DownEncoderBlock2D" for _ in blocks],
        "up_block_types": ["UpDecoderBlock2D" for _ in blocks],
    }


def text_config(shapes: Shapes) -> dict[str, Any]:
    """The config of a text encoder in transformers' names, as far as shapes tell. Raises KeyError for another thing."""
    words, width = shapes["text_model.embeddings.token_embedding.weight"]
    config = {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(lambda index: f"text_model.encoder.layers.{index}", shapes),
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
    }
    if "text_projection.weight" in shapes:
        config["projection_dim"] = shapes["text_projection.weight"][0]
    return config


def unsaid(config: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """What published configs of a family have that no shape tells, for a U-Net or ControlNet."""
    sizes = {"addition_time_embed_dim": 256} if "addition_embed_type" in config else {}
    return sizes | {"cross_attention_dim": family.width}


def text_unsaid(config: Mapping[str, Any], tower: Tower) -> dict[str, Any]:
    """The same for a text encoder."""
    words, width = config["vocab_size"], config["hidden_size"]
    return {
        "num_attention_heads": max(1, width // HEAD),
        "hidden_act": "quick_gelu" if tower.naming == "clip" else "gelu",
        "projection_dim": width,
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1 if tower.pad == "<|endoftext|>" else 0,
    }


def _layers(names: _Names, shapes: Shapes) -> int:
    return _count(lambda layer: names.resnet(0, layer), shapes, whole=True)


def _count(name: Callable[[int], str], shapes: Shapes, whole: bool = False) -> int:
    """How many in a row there are, from 0 on: names, or (unless `whole`) beginnings of names."""
    if whole:
        return next(index for index in count() if name(index) not in shapes)
    return next(index for index in count() if not any(each.startswith(f"{name(index)}.") for each in shapes))


def _depth(attention: str, shapes: Shapes) -> int | None:
    """How many layers a transformer has, or None where there is none."""
    if f"{attention}.norm.weight" not in shapes:
        return None
    return _count(lambda layer: f"{attention}.transformer_blocks.{layer}", shapes)


def _said_depths(attention: list[int | None], middle: int | None) -> int | list[int]:
    """As diffusers says it: one number where all are equal; the middle is as deep as the last resolution."""
    told = [1 if depth is None else depth for depth in attention]
    if attention and attention[-1] is None and middle is not None:
        told[-1] = middle
    return told[0] if len(set(told)) == 1 else told
