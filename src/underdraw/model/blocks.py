"""The blocks of a U-Net as the original code counts them, by which LoRAs are weighted one by one."""

import math
import re
from collections.abc import Mapping, Sequence

from underdraw.errors import ConfigError, InputError
from underdraw.registry import nearest

BLOCKS = ("BASE", *(f"IN{index:02}" for index in range(12)), "MID", *(f"OUT{index:02}" for index in range(12)))
"""All names. BASE is the text encoders and what lies outside of the blocks."""

_COUNTED = {
    # What people's lists of weights mean, by their length: only blocks with attention (SD 1.x and 2.x, SDXL), or all.
    17: ("BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{index:02}" for index in range(3, 12))),
    12: ("BASE", "IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{index:02}" for index in range(6))),
    26: BLOCKS,
    20: ("BASE", *(f"IN{index:02}" for index in range(9)), "MID", *(f"OUT{index:02}" for index in range(9))),
}


def block_weights(weights: Sequence[float]) -> dict[str, float]:
    """Weights by block from a list as kohya's scripts and the web UIs take it.

    17 numbers (12 for SDXL) are of the blocks with attention, 26 (20 for SDXL) of all. Raises InputError otherwise.
    """
    if len(weights) not in _COUNTED:
        raise InputError(f"{len(weights)} block weights mean nothing; give {', '.join(map(str, sorted(_COUNTED)))}")
    named = dict(zip(_COUNTED[len(weights)], map(float, weights), strict=True))
    check_blocks(named)
    return named


def check_blocks(weights: Mapping[str, float]) -> None:
    """Raises ConfigError for a block that does not exist, InputError for a weight that is no number."""
    for name, weight in weights.items():
        if name not in BLOCKS:
            raise ConfigError(f"unknown block {name!r}; {nearest(name, list(BLOCKS))}")
        if not math.isfinite(weight):
            raise InputError(f"weight {weight} of block {name} is not a number; 1 is the usual one")


_PLACE = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.")


def block_of(address: str, layers: int) -> str:
    """The block of an address; the U-Net (or branch) has `layers` resnets a level, two in Stable Diffusion."""
    part, _, path = address.partition(".")
    if part.startswith("text_encoder"):
        return "BASE"
    if path.startswith("mid_block."):
        return "MID"
    if path.startswith("conv_in"):
        return "IN00"
    place = _PLACE.match(path)
    if place is None:
        return "BASE"
    way, level, kind, index = place[1], int(place[2]), place[3], int(place[4])
    if kind.endswith("samplers"):
        index = layers  # a block of its own on the way down; on the way up, part of the level's last
    inner = level * (layers + 1) + index
    return f"IN{inner + 1:02}" if way == "down" else f"OUT{inner:02}"
