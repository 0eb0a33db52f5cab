"""What an unlocked training changed in a base: a file of differences, and whole bases made of it.

`<name of a U-Net's tensor>` = new - old, for those that changed at all. Added to the base that it was made from it
gives the trained U-Net to the bit (nearly always: never more than the last place of a float off); added to another base
of the same shape it moves that one as far.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from underdraw.errors import CheckpointError
from underdraw.files import atomic
from underdraw.formats.checkpoint import load_tensors
from underdraw.formats.writing import told, write_tensors

__all__ = ["DELTA", "apply_delta", "difference", "merge", "write_delta"]

DELTA = "unet-delta.safetensors"
"""The name of the file beside its ControlNet."""
_KIND = "unet-delta"


def difference(new: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What must be added to `old`, in its precision, to have `new`; tensors that are the same are left out."""
    found = {}
    for name, before in old.items():
        after = new[name].detach().to("cpu", before.dtype)
        before = before.detach().cpu()
        if not torch.equal(after, before):
            step = after - before
            found[name] = step + (after - (before + step))  # what rounding took from the sum is laid on
    return found


def write_delta(new: Mapping[str, Tensor], old: Mapping[str, Tensor], path: str | Path) -> None:
    """Write the difference of two U-Nets of one shape, whole or not at all."""
    write_tensors(difference(new, old), path, metadata=told(kind=_KIND))


@torch.no_grad()
def apply_delta(unet: nn.Module, path: str | Path) -> None:
    """Add a written difference to a U-Net of the same shape, on its device, in its precision.

    Raises CheckpointError for a file that is no difference or belongs to another shape; nothing is changed then.
    """
    tensors, place = load_tensors(Path(path)), unet.state_dict()
    if _kind(Path(path)) != _KIND:
        raise CheckpointError(f"{path} is not the difference of two U-Nets; give the {DELTA} of an unlocked training")
    unfit = [name for name, each in tensors.items() if name not in place or place[name].shape != each.shape]
    if unfit:
        raise CheckpointError(f"{path}: {unfit[0]} does not fit this base; use the base that it was made from")
    for name, each in tensors.items():
        place[name].add_(each.to(place[name]))


def _kind(path: Path) -> str | None:
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {}).get("underdraw", "{}"))
    return facts.get("kind") if isinstance(facts, dict) else None


def merge(base: str | Path, unet: nn.Module, target: str | Path) -> None:
    """Write a whole base: the parts of the one in the folder `base`, with this U-Net in the place of its own.

    diffusers reads it, and so does `--base`; ControlNets that lie beside the base stay where they are.
    """
    with atomic(target) as draft:
        shutil.copytree(base, draft, ignore=_beside(Path(base)))
        unet.save_pretrained(draft / "unet")  # type: ignore[operator]


def _beside(base: Path) -> Callable[[str, list[str]], set[str]]:
    """What of a base's folder is not copied: its U-Net, and what lies beside it (ControlNets, notes)."""
    index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
    wanted = {"model_index.json", *index} - {"unet"}

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name not in wanted} if Path(folder) == base else set()

    return ignored
