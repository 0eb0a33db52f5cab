"""Files of weights, written: streamed tensor by tensor, so that a conversion needs no memory for a second model."""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import underdraw
from underdraw.errors import ConfigError
from underdraw.files import atomic
from underdraw.model.folders import owned

__all__ = ["DTYPES", "parse_dtype", "told", "write_tensors"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""What `--dtype` understands, beside torch's own names."""
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def parse_dtype(name: str | None) -> torch.dtype | None:
    """A precision by its name (fp16, float16 …); None stays None: each tensor as it is. Raises ConfigError."""
    found = DTYPES | {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}
    if name is not None and name not in found:
        raise ConfigError(f"unknown dtype {name!r}; there is {', '.join(DTYPES)}")
    return found[name] if name else None


def told(**facts: Any) -> dict[str, str]:
    """Metadata of a file: what we say of it under `underdraw`, as JSON, and who wrote it."""
    return {
        "format": "pt",
        "underdraw": json.dumps(facts, sort_keys=True),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.implementation": f"underdraw {underdraw.__version__}",
    }


def write_tensors(
    tensors: Mapping[str, Tensor],
    path: str | Path,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file, whole or not at all; mapped tensors are read one at a time.

    dtype: of all tensors of floats; None leaves each as it is. The SHA-256 of the tensors' bytes stands in the
    metadata as `modelspec.hash_sha256`, as other tools write it. Raises CheckpointError for NaN, infinity, and numbers
    that do not fit into the precision.
    """
    kinds = {name: dtype if dtype and each.is_floating_point() else each.dtype for name, each in tensors.items()}
    # Wide kinds first, as the format's own library orders them: so every tensor is aligned to its numbers.
    order = sorted(tensors, key=lambda name: (-kinds[name].itemsize, name))
    digest = hashlib.sha256()
    for chunk in _bytes(tensors, order, kinds, Path(path)):
        digest.update(chunk)
    header: dict[str, Any] = {"__metadata__": {**(metadata or {}), "modelspec.hash_sha256": f"0x{digest.hexdigest()}"}}
    start = 0
    for name in order:
        end = start + tensors[name].numel() * kinds[name].itemsize
        header[name] = {
            "dtype": _NAMES[kinds[name]],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
        start = end
    index = json.dumps(header, separators=(",", ":")).encode()
    index += b" " * (-(8 + len(index)) % 64)
    with atomic(path) as draft, draft.open("wb") as file:
        file.write(struct.pack("<Q", len(index)) + index)
        for chunk in _bytes(tensors, order, kinds):
            file.write(chunk)


def _bytes(
    tensors: Mapping[str, Tensor], order: list[str], kinds: Mapping[str, torch.dtype], place: Path | None = None
) -> Iterator[bytes]:
    """The bytes of each tensor, in order, in its kind; with a `place` for errors the numbers are looked at."""
    for name in order:
        tensor = tensors[name].detach()
        if place and tensor.is_floating_point():
            tensor = owned(tensor, name, place, kinds[name])
        flat = tensor.to("cpu", kinds[name]).contiguous().flatten()
        yield flat.view(torch.uint8).numpy().tobytes()
