"""A training's checkpoint: one folder a step, tensors as safetensors, the rest as JSON, whole or absent.

step-00000500/
    state.json            step, and what the run was told
    model.safetensors     the module that trains
    average.safetensors   its moving average
    optimizer.safetensors one tensor a state and parameter, `exp_avg/<parameter>`
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from underdraw.errors import CheckpointError
from underdraw.files import atomic

__all__ = [
    "Checkpoint",
    "latest",
    "load_tensors",
    "optimizer_tensors",
    "prune",
    "restore_optimizer",
    "save_tensors",
]


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on with the same bits."""

    step: int
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    about: Mapping[str, Any]

    def save(self, folder: Path) -> Path:
        """Write `folder/step-<step>`; a kill in the middle leaves the earlier checkpoints as they were."""
        place = folder / f"step-{self.step:08d}"
        if place.exists():
            return place
        with atomic(place) as draft:
            draft.mkdir(parents=True)
            for part in ("model", "average", "optimizer"):
                save_tensors(getattr(self, part), draft / f"{part}.safetensors")
            (draft / "state.json").write_text(json.dumps({"step": self.step, "about": self.about}, indent=1))
        return place

    @classmethod
    def load(cls, place: Path) -> "Checkpoint":
        """Read one. Raises CheckpointError naming the file that is missing or broken."""
        try:
            state = json.loads((place / "state.json").read_text())
            parts = {part: load_tensors(place / f"{part}.safetensors") for part in ("model", "average", "optimizer")}
            return cls(step=state["step"], about=state["about"], **parts)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"checkpoint {place} is broken ({error}); delete it to go on from the one before"
            ) from error


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a run, or None."""
    return max(folder.glob("step-*"), default=None)


def prune(folder: Path, keep: int) -> None:
    """Delete all checkpoints but the newest `keep`."""
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file. Raises CheckpointError naming it when it is missing, truncated or not one."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"cannot read weights {path}: {error}; fetch or train them again") from error
    return tensors


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file (not atomic by itself: call it in `files.atomic`). Raises OSError for a full disk."""
    try:
        save_file({key: value.detach().contiguous().cpu() for key, value in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state under names: `exp_avg/<parameter>`; scalars become tensors."""
    return {
        f"{key}/{name}": torch.as_tensor(value)
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`; each state is laid out in memory as its parameter."""
    parameters = dict(module.named_parameters())
    for name, value in tensors.items():
        key, _, parameter = name.partition("/")
        like = parameters[parameter] if value.shape == parameters[parameter].shape else value
        empty = torch.empty_like(like, dtype=value.dtype, requires_grad=False)
        optimizer.state[parameters[parameter]][key] = empty.copy_(value)
