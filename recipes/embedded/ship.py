"""From finished runs to the base that ships: half precision, shards of at most 15 MB, ControlNets beside the base.

python recipes/embedded/ship.py runs/embedded/cpu
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict

from underdraw.errors import CheckpointError, UnderdrawError
from underdraw.files import atomic
from underdraw.formats.checkpoint import load_tensors

PACKAGE = Path("src/underdraw/embedded")
CONTROLS = "control-"


def ship(runs: Path, target: Path, shard_size: str = "15MB") -> None:
    """Write the base of `runs/denoiser` and all `runs/control-*` to the folder `target`, whole or not at all.

    Raises CheckpointError for a run that is missing or broken.
    """
    exports = {".": runs / "denoiser" / "export"}
    for run in sorted(runs.glob(f"{CONTROLS}*")):
        exports[f"controlnet-{run.name.removeprefix(CONTROLS)}"] = run / "export"
    with atomic(target) as draft:
        for name, export in exports.items():
            if not export.is_dir():
                raise CheckpointError(f"{export} is missing; finish that run first")
            shutil.copytree(export, draft / name, dirs_exist_ok=True)
        for weights in sorted(draft.rglob("*.safetensors")):
            halve(weights, shard_size)
        for config in draft.rglob("config.json"):
            told = json.loads(config.read_text())
            told.pop("_name_or_path", None)  # where it lay on the machine that trained it
            config.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")


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
    """What the base and each ControlNet weigh, in MB."""
    files = {path: path.stat().st_size for path in target.rglob("*.safetensors")}
    parts: dict[str, int] = {}
    for path, size in files.items():
        first = path.relative_to(target).parts[0]
        part = first if first.startswith("controlnet-") else "base"
        parts[part] = parts.get(part, 0) + size
    return ", ".join(f"{part} {size / 1e6:.1f} MB" for part, size in sorted(parts.items()))


if __name__ == "__main__":
    try:
        ship(Path(sys.argv[1]), PACKAGE)
    except UnderdrawError as error:
        sys.exit(str(error))
    print(f"{PACKAGE}: {sizes(PACKAGE)}")
