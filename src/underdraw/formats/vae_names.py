"""What the original code calls the parts of the autoencoder, and what diffusers calls them.

The decoder's resolutions are numbered the other way round, and the original's attention has 1×1 convolutions where
diffusers has linear layers: the same matrices in other shapes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from underdraw.formats.tables import flip, joined, translate

__all__ = ["modern", "vae_from_original", "vae_table", "vae_to_original"]

_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {"nin_shortcut": "conv_shortcut"}
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_EDGES = {"conv_in": "conv_in", "conv_out": "conv_out", "norm_out": "conv_norm_out"}
_QUANT = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}

Pairs = Iterator[tuple[str, str]]


def vae_table(config: Mapping[str, Any]) -> dict[str, str]:
    """Original → diffusers for an autoencoder of this (diffusers) config."""
    return joined(_QUANT, dict(_half("encoder", config)), dict(_half("decoder", config)))


def vae_from_original(tensors: Mapping[str, Tensor], config: Mapping[str, Any], place: Path) -> dict[str, Tensor]:
    """Original tensors in diffusers' names and shapes. Raises CheckpointError for unknown ones."""
    renamed = translate(tensors, vae_table(config), place)
    return {name: each.flatten(1) if _is_matrix(name) else each for name, each in renamed.items()}


def vae_to_original(tensors: Mapping[str, Tensor], config: Mapping[str, Any], place: Path) -> dict[str, Tensor]:
    """The inverse of `vae_from_original`; the attention's names of before 2023 are understood as well."""
    shaped = {
        name: each.reshape(*each.shape, *[1] * (4 - each.ndim)) if _is_matrix(name) else each
        for name, each in modern(tensors).items()
    }
    return translate(shaped, flip(vae_table(config)), place)


def modern(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' old names of the attention (`query`, `proj_attn`), which published folders still have, made new."""
    return {_modern_name(name): each for name, each in tensors.items()}


def _modern_name(name: str) -> str:
    head, _, parameter = name.rpartition(".")
    module, _, last = head.rpartition(".")
    return f"{module}.{_OLD_ATTENTION[last]}.{parameter}" if last in _OLD_ATTENTION else name


def _is_matrix(name: str) -> bool:
    """Whether a tensor, in diffusers' naming, is one of the attention's matrices."""
    return ".attentions." in name and name.endswith(".weight") and ".group_norm." not in name


def _half(half: str, config: Mapping[str, Any]) -> Pairs:
    last = len(config["block_out_channels"]) - 1
    layers = config["layers_per_block"] + (half == "decoder")
    here, there, resampler = {
        "encoder": ("down", "down_blocks", ("downsample", "downsamplers.0")),
        "decoder": ("up", "up_blocks", ("upsample", "upsamplers.0")),
    }[half]
    yield from _renamed(half, half, _EDGES)
    for block in range(last + 1):
        mine, theirs = f"{half}.{here}.{block if half == 'encoder' else last - block}", f"{half}.{there}.{block}"
        for layer in range(layers):
            yield from _renamed(f"{mine}.block.{layer}", f"{theirs}.resnets.{layer}", _RESNET)
        if block < last:
            yield f"{mine}.{resampler[0]}.conv", f"{theirs}.{resampler[1]}.conv"
    for index in range(2):
        yield from _renamed(f"{half}.mid.block_{index + 1}", f"{half}.mid_block.resnets.{index}", _RESNET)
    yield from _renamed(f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0", _ATTENTION)


def _renamed(here: str, there: str, parts: Mapping[str, str]) -> Pairs:
    return ((f"{here}.{original}", f"{there}.{diffusers}") for original, diffusers in parts.items())
