"""ControlNets, written: one file in the original layout, a folder in diffusers layout, or a Control-LoRA."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw.errors import CheckpointError, ConfigError
from underdraw.files import atomic
from underdraw.formats.base_writing import write_part
from underdraw.formats.control_lora import MARK, Factored, factored
from underdraw.formats.controls import CONTROL, ControlParts
from underdraw.formats.families import family_of
from underdraw.formats.tables import flip, translate
from underdraw.formats.unet_names import control_table
from underdraw.formats.writing import told, write_tensors

__all__ = ["write_control_file", "write_control_folder", "write_control_lora"]

RANK = 128
"""The usual rank of a Control-LoRA."""
_HINT_STAGES = 4


def write_control_file(parts: ControlParts, path: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a ControlNet as one safetensors file in the original layout, as A1111, ComfyUI and diffusers read it.

    What is known beside it (`parts.about`) goes into the metadata. Raises CheckpointError for a hint encoder that the
    original has not.
    """
    tensors = {f"{CONTROL}{name}": each for name, each in _original(parts, parts.tensors).items()}
    write_tensors(tensors, path, dtype, _said(parts, "controlnet"))


def write_control_folder(parts: ControlParts, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a ControlNet as a folder in diffusers layout, whole or not at all; one that is there is replaced."""
    with atomic(folder) as draft:
        write_part(parts.part, draft, parts.place, dtype, _said(parts, "controlnet"))


def write_control_lora(
    parts: ControlParts,
    base: Mapping[str, Tensor],
    path: str | Path,
    rank: int = RANK,
    dtype: torch.dtype | None = None,
) -> Factored:
    """Write a ControlNet as a Control-LoRA, as ComfyUI, A1111 and diffusers read it; what was lost comes back.

    base: the tensors of the U-Net that it was trained on, under diffusers' names.
    """
    if rank < 1:
        raise ConfigError(f"a Control-LoRA of rank {rank} makes no sense; {RANK} and 256 are usual")
    made = factored(parts.tensors, base, rank)
    if not any(name.endswith(".up") for name in made.tensors):
        raise CheckpointError(f"{parts.place} has nothing in common with that base; give the one it was trained on")
    facts = {"rank": str(rank), "error": f"{made.error:.6f}"}
    said = _said(parts, "control-lora", **facts)
    write_tensors({**_original(parts, made.tensors), MARK: torch.zeros(0)}, path, dtype, said)
    return made


def _original(parts: ControlParts, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    widths = parts.config.get("conditioning_embedding_out_channels") or (16, 32, 96, 256)
    if len(widths) != _HINT_STAGES:
        raise CheckpointError(
            f"{parts.place} has a hint encoder for another autoencoder ({len(widths)} stages); write a folder instead"
        )
    return translate(tensors, flip(control_table(parts.config)), parts.place)


def _said(parts: ControlParts, kind: str, **more: Any) -> dict[str, str]:
    family = family_of(parts.config)
    said = told(kind=kind, control=dict(parts.config), **parts.about.said(), **more)
    return said | {"modelspec.architecture": f"{family.architecture}/controlnet"}
