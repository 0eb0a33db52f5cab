"""LoRAs put into a base's weights for good: a base of its own, for tools that know none, or to save what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from underdraw.errors import CheckpointError
from underdraw.formats.bases import BaseParts
from underdraw.formats.lora import read_lora
from underdraw.formats.parts import Part, hollow
from underdraw.model import block_weights
from underdraw.model.adapters import Adapter
from underdraw.model.blocks import block_of
from underdraw.model.lora import misfit

__all__ = ["Loud", "merged"]

Changes = dict[str, list[tuple[float, Adapter]]]
"""By address: how loud, and what."""


@dataclass(frozen=True)
class Loud:
    """A LoRA in a file, and how loud it is in the U-Net and in the text; blocks: as `block_weights` takes them."""

    path: Path
    weight: float = 1.0
    text_weight: float = 1.0
    blocks: tuple[float, ...] = ()


def merged(parts: BaseParts, loras: Sequence[Loud]) -> BaseParts:
    """The base with LoRAs in its weights, W + Σ w·ΔW, added in float32; each weight keeps its precision.

    Raises CheckpointError for files that are broken, no LoRA, or made for another base.
    """
    found = {"unet": parts.unet} | dict(zip(("text_encoder", "text_encoder_2"), parts.texts, strict=False))
    host = {name: hollow(part, parts.place) for name, part in found.items()}
    changes = Changes()
    for each in loras:
        _gather(changes, each, host)
    made = {name: replace(part, tensors=_changed(part, name, changes)) for name, part in found.items()}
    return replace(parts, unet=made.pop("unet"), texts=tuple(made.values()))


def _gather(changes: Changes, loud: Loud, host: Mapping[str, nn.Module]) -> None:
    """Add what one LoRA changes."""
    lora, unet = read_lora(loud.path).lora, host["unet"]
    if reason := misfit(lora, host):
        raise CheckpointError(f"{loud.path} can't change this base: {reason}; use a LoRA of its family")
    depth, blocks = _depth(unet), block_weights(loud.blocks) if loud.blocks else {}
    for address, adapter in lora.adapters.items():
        level = loud.text_weight if address.startswith("text_encoder") else loud.weight
        changes.setdefault(address, []).append((level * blocks.get(block_of(address, depth), 1.0), adapter))


def _depth(unet: Any) -> int:
    """Resnets a level: what its blocks are counted by."""
    return len(unet.down_blocks[0].resnets)


def _changed(part: Part, name: str, changes: Changes) -> dict[str, Tensor]:
    tensors = dict(part.tensors)
    for address, told in changes.items():
        owner, _, path = address.partition(".")
        if owner == name:
            key = f"{path}.weight" if f"{path}.weight" in tensors else f"{path.removeprefix('text_model.')}.weight"
            own = tensors[key]
            change = sum(
                (level * adapter.delta(own) for level, adapter in told[1:]), told[0][0] * told[0][1].delta(own)
            )
            tensors[key] = (own.float() + change).to(own.dtype)
    return tensors
