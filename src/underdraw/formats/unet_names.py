"""What the original code calls the parts of a U-Net and of its ControlNet, and what diffusers calls them.

The original numbers its blocks through (`input_blocks.4.1`), diffusers by resolution (`down_blocks.1.attentions.0`);
inside, the residual blocks have other names and the transformers the same. Which block is what follows from the
config, so the same functions serve SD 1.x, 2.x, SDXL and their narrow relatives.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from underdraw.formats.tables import joined

__all__ = ["control_table", "depths", "unet_table"]

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_TRANSFORMER = ("norm", "proj_in", "proj_out")
_LAYER = (
    *(f"{attention}.{part}" for attention in ("attn1", "attn2") for part in ("to_q", "to_k", "to_v", "to_out.0")),
    *("ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"),
)
_ENTRY = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"}
_LABELS = {"label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2"}
_EXIT = {"out.0": "conv_norm_out", "out.2": "conv_out"}

Pairs = Iterator[tuple[str, str]]


def unet_table(config: Mapping[str, Any]) -> dict[str, str]:
    """Original → diffusers for a U-Net of this (diffusers) config."""
    return joined(_encoder(config), dict(_up(config)), _EXIT)


def control_table(config: Mapping[str, Any]) -> dict[str, str]:
    """Original → diffusers for a ControlNet: the encoder, the hint encoder, and the zero convolutions."""
    count = sum(1 for _ in _inputs(config))
    zeros = {f"zero_convs.{index}.0": f"controlnet_down_blocks.{index}" for index in range(count)}
    widths = config.get("conditioning_embedding_out_channels") or (16, 32, 96, 256)
    return joined(
        _encoder(config), zeros, {"middle_block_out.0": "controlnet_mid_block"}, dict(_hint(2 * (len(widths) - 1)))
    )


def depths(config: Mapping[str, Any]) -> tuple[int, ...]:
    """How many transformer layers each resolution has, where it has attention."""
    told = config.get("transformer_layers_per_block", 1)
    return (told,) * len(config["block_out_channels"]) if isinstance(told, int) else tuple(told)


def _encoder(config: Mapping[str, Any]) -> dict[str, str]:
    labels = _LABELS if config.get("addition_embed_type") == "text_time" else {}
    return joined(_ENTRY, labels, dict(_down(config)), dict(_middle(config)))


def _inputs(config: Mapping[str, Any]) -> Iterator[tuple[int, int, str]]:
    """(resolution, index there, what it is) of each of the original's input blocks."""
    yield 0, 0, "conv_in"
    last = len(config["block_out_channels"]) - 1
    for block in range(last + 1):
        for layer in range(config["layers_per_block"]):
            yield block, layer, "resnet"
        if block < last:
            yield block, 0, "downsampler"


def _down(config: Mapping[str, Any]) -> Pairs:
    for number, (block, layer, kind) in enumerate(_inputs(config)):
        there, here = f"down_blocks.{block}", f"input_blocks.{number}"
        if kind == "conv_in":
            yield f"{here}.0", "conv_in"
        elif kind == "downsampler":
            yield f"{here}.0.op", f"{there}.downsamplers.0.conv"
        else:
            yield from _resnet(f"{here}.0", f"{there}.resnets.{layer}")
            if "CrossAttn" in config["down_block_types"][block]:
                yield from _transformer(f"{here}.1", f"{there}.attentions.{layer}", depths(config)[block])


def _middle(config: Mapping[str, Any]) -> Pairs:
    yield from _resnet("middle_block.0", "mid_block.resnets.0")
    if (config.get("mid_block_type") or "UNetMidBlock2DCrossAttn") == "UNetMidBlock2DCrossAttn":
        yield from _transformer("middle_block.1", "mid_block.attentions.0", depths(config)[-1])
        yield from _resnet("middle_block.2", "mid_block.resnets.1")


def _up(config: Mapping[str, Any]) -> Pairs:
    kinds, each = config["up_block_types"], config["layers_per_block"] + 1
    for number in range(len(kinds) * each):
        block, layer = divmod(number, each)
        there, here, crosses = f"up_blocks.{block}", f"output_blocks.{number}", "CrossAttn" in kinds[block]
        yield from _resnet(f"{here}.0", f"{there}.resnets.{layer}")
        if crosses:
            yield from _transformer(f"{here}.1", f"{there}.attentions.{layer}", depths(config)[-1 - block])
        if layer == each - 1 and block < len(kinds) - 1:
            yield f"{here}.{1 + crosses}.conv", f"{there}.upsamplers.0.conv"


def _resnet(here: str, there: str) -> Pairs:
    return ((f"{here}.{original}", f"{there}.{diffusers}") for original, diffusers in _RESNET.items())


def _transformer(here: str, there: str, depth: int) -> Pairs:
    names = [*_TRANSFORMER, *(f"transformer_blocks.{layer}.{part}" for layer in range(depth) for part in _LAYER)]
    return ((f"{here}.{name}", f"{there}.{name}") for name in names)


def _hint(blocks: int) -> Pairs:
    """The hint encoder: a convolution at every even place, an activation between."""
    names = ["conv_in", *(f"blocks.{index}" for index in range(blocks)), "conv_out"]
    return ((f"input_hint_block.{2 * place}", f"controlnet_cond_embedding.{name}") for place, name in enumerate(names))
