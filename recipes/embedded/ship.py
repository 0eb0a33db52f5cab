"""From finished runs to the base that ships: half precision, shards of at most 15 MB, ControlNets and LoRAs beside it.

python recipes/embedded/ship.py runs/embedded/cpu/denoiser runs/embedded/cpu/control-lines … runs/lora-ink …

A run `control-NAME` becomes the folder `controlnet-NAME`, a run `lora-NAME` the file `loras/NAME.safetensors`.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict

from underdraw.errors import CheckpointError, UnderdrawError
from underdraw.files import atomic
from underdraw.formats.checkpoint import load_tensors
from underdraw.formats.lora import read_lora, write_lora

PACKAGE = Path("src/underdraw/embedded")
CONTROL, LORA = "control-", "lora-"
LORAS = "loras"


def ship(base: Path, beside: Sequence[Path], target: Path, shard_size: str = "15MB") -> None:
    """Write the base of a run, and what the runs `beside` have made for it, to a folder, whole or not at all.

    Raises CheckpointError for a run that is missing or broken, or that is none of a ControlNet or a LoRA.
    """
    for run in (base, *beside):
        if not (run / "export").is_dir():
            raise CheckpointError(f"{run / 'export'} is missing; finish that run first")
    with atomic(target) as draft:
        shutil.copytree(base / "export", draft, dirs_exist_ok=True)
        for run in beside:
            _add(run, draft)
        for weights in sorted(draft.rglob("*.safetensors")):
            if weights.parent.name != LORAS:
                halve(weights, shard_size)
        for config in draft.rglob("config.json"):
            told = json.loads(config.read_text())
            told.pop("_name_or_path", None)  # where it lay on the machine that trained it
            config.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")


def _add(run: Path, draft: Path) -> None:
    if run.name.startswith(CONTROL):
        shutil.copytree(run / "export", draft / f"controlnet-{run.name.removeprefix(CONTROL)}")
    elif run.name.startswith(LORA):
        file = read_lora(run / "export" / "lora.safetensors")
        (draft / LORAS).mkdir(exist_ok=True)
        path = draft / LORAS / f"{run.name.removeprefix(LORA)}.safetensors"
        write_lora(file.lora, path, "kohya", file.metadata, torch.float16)
    else:
        raise CheckpointError(f"{run} is neither {CONTROL}NAME nor {LORA}NAME; what it made has no place beside a base")


def halve(weights: Path, shard_size: str) -> None:
    """Replace a file of weights by the same in half precision, in as many shards as needed."""
    tensors = {
        name: tensor.to(torch.float16) if tensor.is_floating_point() else tensor
        for name, tensor in load_tensors(weights).items()
    }
    weights.unlink()
    save_torch_state_dict(
        tensors, weights.parent, filename_pattern=f"{weights.stem}{{suffix}}.safetensors", max_shard_size=shard_size
    )


def sizes(target: Path) -> str:
    """What the base, each ControlNet and all LoRAs weigh, in MB."""
    files = {path: path.stat().st_size for path in target.rglob("*.safetensors")}
    parts: dict[str, int] = {}
    for path, size in files.items():
        first = path.relative_to(target).parts[0]
        part = first if first.startswith(("controlnet-", LORAS)) else "base"
        parts[part] = parts.get(part, 0) + size
    told = {**dict(sorted(parts.items())), "together": sum(parts.values())}
    return ", ".join(f"{part} {size / 1e6:.1f} MB" for part, size in told.items())


if __name__ == "__main__":
    try:
        ship(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]], PACKAGE)
    except UnderdrawError as error:
        sys.exit(str(error))
    print(f"{PACKAGE}: {sizes(PACKAGE)}")
