"""Which layers a new LoRA changes, by the names that they have in U-Nets, control branches and text encoders."""

import re
from typing import Annotated

from pydantic import Field

from underdraw.config import Config
from underdraw.errors import ConfigError
from underdraw.model.adapters import Layer, LowRank
from underdraw.model.lora import Host, Lora, layers, parts
from underdraw.registry import Registry, nearest

TARGETS: Registry[str] = Registry("LoRA target")
"""Sets of layers: patterns that the end of an address has."""
TARGETS.register("cross-attention")(r"\.attn2\.to_(q|k|v|out\.0)")
TARGETS.register("attention")(r"\.to_(q|k|v|out\.0)|\.self_attn\.(q|k|v|out)_proj")
TARGETS.register("feed-forward")(r"\.ff\.net\.(0\.proj|2)|\.mlp\.fc[12]")
TARGETS.register("projections")(r"\.attentions\.\d+\.proj_(in|out)")
TARGETS.register("convolutions")(r"\.resnets\.\d+\.conv(1|2|_shortcut)|\.(down|up)samplers\.\d+\.conv")


class LoraConfig(Config):
    """The `[lora]` table of a recipe."""

    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)
    """α of the scale α/r; empty is the rank, so a scale of 1."""
    targets: list[str] = ["attention"]
    """cross-attention, attention, feed-forward, projections (the ways into and out of a transformer), convolutions."""
    parts: list[str] = ["unet"]
    """unet, text_encoder, text_encoder_2; control inside a control branch."""
    ranks: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Other ranks, by a piece of the layer's address: {"resnets" = 4}; the first that is in it counts."""
    alphas: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Other alphas, likewise."""


def build_lora(host: Host, config: LoraConfig | None = None) -> Lora:
    """A new LoRA for a host: it trains, and changes nothing yet. Draws from torch's generator.

    Raises ConfigError for parts or targets that do not exist, or that the host does not have.
    """
    config = config or LoraConfig()
    known = parts(host)
    for part in config.parts:
        if part not in known:
            raise ConfigError(f"there is no {part!r} to put a LoRA into; {nearest(part, sorted(known))}")
    chosen = re.compile("|".join(f"(?:{TARGETS[target]})$" for target in config.targets))
    adapters = {
        address: LowRank.fresh(layer, *_size(config, address))
        for address, layer in layers({part: known[part] for part in config.parts})
        if chosen.search(address) and isinstance(layer, Layer)
    }
    if not adapters:
        raise ConfigError(f"no layer of {', '.join(config.parts)} is in {', '.join(config.targets)}; choose others")
    return Lora(adapters)


def _size(config: LoraConfig, address: str) -> tuple[int, float]:
    """Rank and α of one layer."""
    rank = next((rank for piece, rank in config.ranks.items() if piece in address), config.rank)
    usual = rank if config.alpha is None else config.alpha
    return rank, next((alpha for piece, alpha in config.alphas.items() if piece in address), usual)
