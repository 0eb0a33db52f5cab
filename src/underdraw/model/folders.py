"""Reading folders in diffusers layout: every file is whole and every tensor is meant, or one line says which is not."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from underdraw.errors import CheckpointError

# Tensors that old files carry and no model needs.
_IGNORED = ("position_ids", "alphas_cumprod")
_QUANTISED = "quantised weights are not supported, use float ones"


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file. Raises CheckpointError naming the file."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; give a folder in diffusers layout, copied whole") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read as JSON ({error}); copy it again") from error
    if not isinstance(table, dict):
        raise CheckpointError(f"{path} does not hold a table; copy it again")
    return table


def load_model(kind: Any, folder: Path, stem: str, dtype: torch.dtype) -> nn.Module:
    """A diffusers or transformers model of class `kind`, locked and in evaluation mode.

    stem: the name of its weight files. Raises CheckpointError naming the file, or counting the keys, that don't fit.
    """
    read_json(folder / "config.json")
    files, variant = weight_files(folder, stem)
    _refuse_kinds(files)
    said: dict[str, Any] = {"variant": variant, "use_safetensors": True, "local_files_only": True}
    # In the wanted precision at once: the whole model in another would double the memory.
    said["dtype" if kind.__module__.startswith("transformers") else "torch_dtype"] = dtype
    try:
        with _quietly(kind):
            model, report = kind.from_pretrained(str(folder), output_loading_info=True, **said)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder} does not hold a {kind.__name__}: {first_line(error)}; use its own files"
        ) from error
    refuse_keys(folder, missing=report["missing_keys"], unknown=report["unexpected_keys"])
    for name, each in model.state_dict().items():
        if not _is_finite(each):
            kind = str(dtype).removeprefix("torch.")
            raise CheckpointError(f"{folder}: {name} holds NaN or infinity, read as {kind}; the file is broken")
    locked: nn.Module = model.requires_grad_(False).eval()
    return locked


def load_tokenizer(folder: Path) -> Any:
    """The CLIP tokenizer in a folder. Raises CheckpointError naming it where it is missing or holds none."""
    from transformers import CLIPTokenizer

    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing; copy the folder whole")
    try:
        # Of a folder without words the library would make a tokenizer that knows none.
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise OSError("no tokenizer.json and no vocab.json")
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{folder} does not hold a CLIP tokenizer ({error}); copy it again") from error


@contextmanager
def _quietly(kind: Any) -> Iterator[None]:
    """Inside the block, the library that `kind` comes from shows no bars and reports of its own; then as before."""
    logging = sys.modules[kind.__module__.partition(".")[0]].utils.logging
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def read_tensors(folder: Path, stem: str) -> dict[str, Tensor]:
    """All tensors of a component, of one file or of many shards. Raises CheckpointError."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder, stem)[0]:
        tensors |= load_file(path)
    return tensors


def weight_files(folder: Path, stem: str) -> tuple[list[Path], str | None]:
    """The whole safetensors files of a component (one, or the shards of an index), and their variant ("fp16").

    Raises CheckpointError for missing, truncated or pickled ones.
    """
    for variant in (None, "fp16", "bf16"):
        mark = f".{variant}" if variant else ""
        single, index = folder / f"{stem}{mark}.safetensors", folder / f"{stem}.safetensors.index{mark}.json"
        if single.is_file():
            return [whole(single)], variant
        if index.is_file():
            names = read_json(index).get("weight_map", {}).values()
            return [whole(folder / name) for name in sorted(set(names))], variant
    pickles = sorted(path.name for path in folder.glob("*.bin")) if folder.is_dir() else []
    if pickles:
        raise CheckpointError(f"{folder / pickles[0]} is a pickle, which could run code; convert it to safetensors")
    raise CheckpointError(f"{folder / stem}.safetensors is missing; copy the folder whole")


def whole(path: Path) -> Path:
    """The path, if it is a complete safetensors file. Raises CheckpointError."""
    try:
        with safe_open(path, framework="pt"):
            return path
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; copy the folder whole") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is truncated or not safetensors ({error}); copy it again") from error


def _refuse_kinds(files: Iterable[Path]) -> None:
    """Raises CheckpointError for weights that are whole numbers, which a library would take for what they say."""
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                kind = file.get_slice(name).get_dtype()
                if not kind.startswith(("F", "BF")) and not name.endswith(_IGNORED):
                    raise CheckpointError(f"{path}: {name} is {kind}; {_QUANTISED}")


def _is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite: where any is the extremes are, and they are found far quicker."""
    wide = tensor if tensor.itemsize > 1 else tensor.float()
    return not wide.numel() or bool(torch.stack(wide.flatten().aminmax()).isfinite().all())


def owned(
    tensor: Tensor, name: str, place: str | Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """A mapped tensor in memory of its own: its file may be replaced, and results don't depend on where in it it lay.

    Raises CheckpointError for whole numbers and for NaN or infinity.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(f"{place}: {name} is {kind}; {_QUANTISED}")
    mine = tensor.to(device=device, dtype=dtype or tensor.dtype, copy=True).contiguous()
    if not _is_finite(mine):
        whole = bool(tensor.float().isfinite().all())
        reason = f"does not fit into {dtype}; use a wider one" if whole else "holds NaN or infinity; the file is broken"
        raise CheckpointError(f"{place}: {name} {reason}")
    return mine


def refuse_keys(place: Path, missing: Iterable[str], unknown: Iterable[str]) -> None:
    """Raises CheckpointError counting and naming keys that a model lacks or does not know (a few old ones pass)."""
    for what, keys in (("lacks", missing), ("has unknown", unknown)):
        named = sorted(key for key in keys if not key.endswith(_IGNORED))
        if named:
            shown = ", ".join(named[:3]) + (" …" if len(named) > 3 else "")
            raise CheckpointError(f"{place} {what} {len(named)} tensors ({shown}); it belongs to another model")


def first_line(error: Exception) -> str:
    """The first line of what an error of a library says; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
