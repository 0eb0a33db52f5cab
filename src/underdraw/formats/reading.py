"""Files of weights, opened without reading them: every tensor is mapped, and only what is used is ever loaded.

safetensors, and the pickles of torch (.ckpt, .pth, .pt, .bin) through its loader for weights alone: a pickle that asks
for anything else is refused before it has run.
"""

import json
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from underdraw.errors import CheckpointError
from underdraw.model.folders import first_line

__all__ = ["TensorFile", "open_tensors", "shapes_of"]

_INDEX_LIMIT = 64 * 2**20
"""No pickle is unpickled that is larger, in bytes; its tensors lie beside it."""
_LEGACY_LIMIT = 8 * 2**30
"""No pickle of before torch 1.6 is read that is larger, in bytes: those can't be mapped."""
_DEEPEST = 8
"""How deep tables may lie in tables."""
_MARKS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the weights; fetch them with git lfs pull",
    b"<!DOCTYPE": "is a web page, not the weights; download the file itself",
    b"<html": "is a web page, not the weights; download the file itself",
    b"GGUF": "is a GGUF file, whose quantised weights are not supported; use the safetensors of the same model",
}
_HARMLESS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
"""What published .ckpt files mention beside tensors; an inert stand-in takes their place, and nothing of it runs."""


@dataclass(frozen=True, eq=False)
class TensorFile:
    """The tensors of a file by name, mapped, and what the file says of itself.

    others: names of what is no tensor (step counters, the state of callbacks).
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, without that beginning."""
        return {name.removeprefix(prefix): each for name, each in self.tensors.items() if name.startswith(prefix)}

    def said(self) -> dict[str, Any]:
        """What we wrote into the file ourselves: the table under `underdraw` in its metadata, or nothing."""
        try:
            told = json.loads(self.metadata.get("underdraw", "{}"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.path}: its metadata can't be read ({error}); write it again") from error
        return told if isinstance(told, dict) else {}

    def told(self, key: str) -> dict[str, Any]:
        """A table of what we wrote, or nothing. Raises CheckpointError for metadata that only look like ours."""
        table = self.said().get(key, {})
        if not isinstance(table, dict):
            raise CheckpointError(f"{self.path}: {key} in its metadata is no table; write the file again")
        return table


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes alone."""
    return {name: tuple(each.shape) for name, each in tensors.items()}


class _Inert:
    """Takes the place of a class that a pickle mentions; does nothing, whatever it is told."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Parameters(dict[str, Tensor]):
    """Takes the place of torch's table of parameters, which the first textual inversions were saved as."""

    def __setstate__(self, state: object) -> None:
        self.update((state.get("_parameters") if isinstance(state, dict) else None) or {})


def open_tensors(path: str | Path) -> TensorFile:
    """Map a file of weights. Raises CheckpointError, in one line, for one that is missing, broken, hostile or empty."""
    place = Path(path)
    head = _head(place)
    for mark, sentence in _MARKS.items():
        if head.startswith(mark):
            raise CheckpointError(f"{place} {sentence}")
    zipped = head.startswith(b"PK\x03\x04")
    # A safetensors file may begin with any length, but then comes its header.
    if zipped or (head.startswith(b"\x80") and head[8:9] != b"{"):
        return _pickled(place, zipped)
    return _safe(place)


def _head(place: Path) -> bytes:
    try:
        with place.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {place}: {error.strerror or error}") from error
    if not head:
        raise CheckpointError(f"{place} is empty; copy it again")
    return head


def _safe(place: Path) -> TensorFile:
    try:
        with safe_open(place, framework="pt") as file:
            tensors, metadata = file.get_tensors(), file.metadata() or {}
    except (OSError, SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{place} is truncated or not a file of weights ({first_line(error)}); copy it again"
        ) from error
    return _checked(TensorFile(place, tensors, metadata))


def _pickled(place: Path, zipped: bool) -> TensorFile:
    size = place.stat().st_size
    if place.suffix == ".safetensors":
        raise CheckpointError(f"{place} is a pickle that calls itself safetensors; rename it to .ckpt to open it")
    if zipped:
        _check_archive(place)
    elif size > _LEGACY_LIMIT:
        raise CheckpointError(f"{place} is a pickle of {size:,} bytes in an old form; save it as safetensors")
    stand_ins: list[Any] = [(_Inert, name) for name in _HARMLESS]
    stand_ins.append((_Parameters, "torch.nn.modules.container.ParameterDict"))
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings(action="ignore"):
            told = torch.load(place, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{place} is a pickle that asks for more than tensors ({_asked(error)}), which could run code; "
            "it is not opened: use its safetensors"
        ) from error
    except Exception as error:  # torch's loader raises whatever a broken pickle makes of it
        raise CheckpointError(f"{place} is truncated or broken ({first_line(error)}); copy it again") from error
    for _ in range(_DEEPEST):
        told = told["state_dict"] if isinstance(told, dict) and isinstance(told.get("state_dict"), dict) else told
    found = dict(_flat(told, "", place))
    tensors = {name: each for name, each in found.items() if isinstance(each, Tensor)}
    if sum(each.numel() * each.element_size() for each in tensors.values()) > 4 * size:
        raise CheckpointError(f"{place} claims more weights than it holds; it is not opened")
    return _checked(TensorFile(place, tensors, others=tuple(sorted(found.keys() - tensors.keys()))))


def _check_archive(place: Path) -> None:
    """Raises CheckpointError for archives that torch would not have written: compressed ones, and a vast index."""
    try:
        with zipfile.ZipFile(place) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise CheckpointError(f"{place} is truncated or broken ({first_line(error)}); copy it again") from error
    for member in members:
        vast = member.filename.endswith("data.pkl") and member.file_size > _INDEX_LIMIT
        if vast or member.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"{place} is no archive that torch has written ({member.filename}); it is not opened")


def _flat(told: object, prefix: str, place: Path, depth: int = 0) -> Iterator[tuple[str, object]]:
    """The leaves of nested tables under dotted names. Raises CheckpointError for tables without end."""
    if not isinstance(told, Mapping):
        yield prefix.removesuffix("."), told
        return
    if depth > _DEEPEST:
        raise CheckpointError(f"{place} nests tables in tables without end; it is not opened")
    for key, value in told.items():
        yield from _flat(value, f"{prefix}{key}.", place, depth + 1)


def _asked(error: Exception) -> str:
    """What a refused pickle asked for: torch tells it at length, and then how to allow it."""
    words = str(error).replace("Unsupported global: GLOBAL", "GLOBAL").split("GLOBAL ")
    return words[1].split()[0].rstrip(".") if len(words) > 1 else "an unknown instruction"


def _checked(file: TensorFile) -> TensorFile:
    if not file.tensors:
        raise CheckpointError(f"{file.path} holds no tensors; copy it again")
    return file
