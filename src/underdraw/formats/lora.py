"""LoRAs in files: kohya's (A1111, ComfyUI), LyCORIS' for LoCon, DoRA, LoHa and LoKr, and diffusers' (peft).

    layout       read        written    lossless
    kohya        yes         yes        every tensor, with its precision and true α; SDXL's own names are "kohya-xl"
    diffusers    yes         yes        every tensor; α in the metadata where it isn't the rank; LoRA, LoCon and DoRA
    older        yes         no         diffusers' `processor`, `lora.down` and `lora_linear_layer` forms, peft's own

Reading is strict: every key is a factor of a layer that has all its factors, or the file is refused with their names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from underdraw.errors import CheckpointError, ConfigError
from underdraw.files import atomic
from underdraw.formats.lora_metadata import ADAPTERS, adapter_metadata, kohya_metadata, told_alphas
from underdraw.formats.lora_names import (
    KOHYA_FACTORS,
    LAYOUTS,
    factor_key,
    kohya_table,
    old_key,
    refusal,
    spoken_table,
)
from underdraw.formats.parts import owned
from underdraw.formats.reading import TensorFile, open_tensors
from underdraw.model.adapters import Adapter, adapter
from underdraw.model.folders import refuse_keys
from underdraw.model.lora import Host, Lora, misfit, parts
from underdraw.registry import nearest

__all__ = ["LoraFile", "load_lora", "read_lora", "write_lora"]

Factors = dict[str, dict[str, Tensor]]
"""Factors by name, by address."""


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A LoRA as a file has it: its precision, its layout (of `LAYOUTS`), and what the file says of itself."""

    lora: Lora
    layout: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def load_lora(path: str | Path, host: Host) -> Lora:
    """The LoRA in a file, of any layout, ready to `attach` to a backbone or control network: there, in its precision.

    Raises CheckpointError, in one line, for files that are broken, no LoRA, or made for another base.
    """
    lora = read_lora(path).lora
    if reason := misfit(lora, host):
        raise CheckpointError(f"{path} can't change this base: {reason}; use a LoRA of its family")
    like = next(next(iter(parts(host).values())).parameters())
    return lora.to(like.device, like.dtype)


def read_lora(path: str | Path) -> LoraFile:
    """A file as it is, with its precision and α. Raises CheckpointError as `load_lora`."""
    file = open_tensors(path)
    kohya = any(name.startswith(("lora_unet_", "lora_te")) for name in file.tensors)
    layout, found = _kohya(file) if kohya else ("diffusers", _diffusers(file))
    whole = {address: adapter(factors) for address, factors in found.items()}
    broken = [address for address, made in whole.items() if made is None]
    refuse_keys(file.path, missing=[f"factors of {address}" for address in broken], unknown=())
    for address, made in whole.items():
        if made and not _is_product(made):
            raise CheckpointError(f"{file.path}: the factors of {address} don't fit together; copy it again")
    return LoraFile(Lora({address: made for address, made in whole.items() if made}), layout, file.metadata)


def _is_product(made: Adapter) -> bool:
    """Whether an adapter's factors have shapes that can be multiplied."""
    try:
        return bool(made.shape())
    except (RuntimeError, IndexError):
        return False


def _kohya(file: TensorFile) -> tuple[str, Factors]:
    """Layout and factors of a file with kohya's names."""
    table, found, unknown = spoken_table(), Factors(), list[str]()
    for name, tensor in file.tensors.items():
        layer, _, ending = name.partition(".")
        if layer in table and ending in KOHYA_FACTORS:
            found.setdefault(table[layer], {})[KOHYA_FACTORS[ending]] = _mine(file, name, tensor)
        else:
            unknown.append(name)
    _refuse(file, unknown)
    plain = {name.partition(".")[0] for name in file.tensors} <= kohya_table("kohya").keys()
    return "kohya" if plain else "kohya-xl", found


def _diffusers(file: TensorFile) -> Factors:
    """Factors of a file with dotted names; α from the metadata, and the rank where nothing is told."""
    found, unknown = Factors(), list[str]()
    for name, tensor in file.tensors.items():
        place = old_key(name)
        if place is None:
            unknown.append(name)
        else:
            found.setdefault(place[0], {})[place[1]] = _mine(file, name, tensor)
    _refuse(file, unknown)
    ranks = {address: len(factors["down"]) for address, factors in found.items() if "down" in factors}
    try:
        alphas = ranks | told_alphas(file.metadata, ranks)
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file.path}: its adapter metadata can't be read ({error}); write it again") from error
    for address, factors in found.items():
        if address in alphas:
            factors.setdefault("alpha", torch.tensor(float(alphas[address]), dtype=factors["down"].dtype))
        if "magnitude" in factors and "down" in factors:
            factors["magnitude"] = factors["magnitude"].reshape(-1, *[1] * (factors["down"].ndim - 1))
    return found


def _refuse(file: TensorFile, unknown: list[str]) -> None:
    """Raises CheckpointError for keys that are no factor: what the file is instead, or their count and names."""
    if unknown and (said := refusal(unknown)):
        raise CheckpointError(f"{file.path} {said}")
    if len(unknown) == len(file.tensors):
        raise CheckpointError(f"{file.path} is not a LoRA (its first tensor is {unknown[0]}); give one")
    refuse_keys(file.path, missing=(), unknown=unknown)


def _mine(file: TensorFile, name: str, tensor: Tensor) -> Tensor:
    """A tensor in memory of its own. α is one number, whole or not."""
    if not name.endswith(".alpha"):
        if not tensor.ndim:
            raise CheckpointError(f"{file.path}: {name} is one number, not a factor; the file is broken")
        return owned(tensor, name, file.path)
    if tensor.numel() != 1:
        raise CheckpointError(f"{file.path}: {name} is {tensor.numel()} numbers, not one; the file is broken")
    return owned(tensor, name, file.path) if tensor.is_floating_point() else tensor.clone()


def write_lora(
    lora: Lora,
    path: str | Path,
    layout: str = "kohya",
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a safetensors file, whole or not at all.

    layout: "kohya" (for A1111 and ComfyUI; SDXL's names for a LoRA of SDXL), "kohya-xl" or "diffusers". metadata: over
    what is known of itself. dtype: the precision in the file (default: as it is).
    Raises ConfigError for an unknown layout, CheckpointError for what the layout has no place for.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"unknown layout {layout!r}; {nearest(layout, list(LAYOUTS))}")
    if layout == "kohya" and _is_xl(lora):
        layout = "kohya-xl"
    tensors = {key: tensor.to("cpu", dtype).contiguous() for key, tensor in _named(lora, layout).items()}
    told = {key: text for key, text in (metadata or {}).items() if key != ADAPTERS}
    facts = told | adapter_metadata(lora) if layout == "diffusers" else kohya_metadata(lora, tensors, told)
    with atomic(path) as draft:
        save_file(tensors, draft, metadata={"format": "pt"} | facts)


def _is_xl(lora: Lora) -> bool:
    return lora.text_width == 2048 or any(address.startswith("text_encoder_2.") for address in lora.adapters)


def _named(lora: Lora, layout: str) -> dict[str, Tensor]:
    """All factors by their keys. Raises CheckpointError counting and naming those that have none."""
    factors = [
        (address, factor, tensor)
        for address, each in lora.adapters.items()
        for factor, tensor in (_as_peft(each) if layout == "diffusers" else each.factors()).items()
    ]
    named = {factor_key(address, factor, layout): tensor for address, factor, tensor in factors}
    if None in named:
        homeless = [f"{each[0]} ({each[1]})" for each in factors if factor_key(each[0], each[1], layout) is None]
        shown = ", ".join(homeless[:3]) + (" …" if len(homeless) > 3 else "")
        other = "kohya" if layout == "diffusers" else "diffusers"
        raise CheckpointError(f"the {layout} layout has no place for {len(homeless)} factors ({shown}); write {other}")
    return {key: tensor for key, tensor in named.items() if key is not None}


def _as_peft(each: Adapter) -> dict[str, Tensor]:
    """An adapter's factors as diffusers keeps them: α is told in the metadata, magnitudes have other shapes."""
    factors = each.factors()
    factors.pop("alpha", None)
    magnitude = factors.pop("magnitude", None)
    if magnitude is None:
        return factors
    if len(magnitude) != len(factors.get("up", ())):
        return factors | {"magnitude by input": magnitude}
    return factors | {"magnitude": magnitude.reshape(1, -1, 1, 1) if factors["down"].ndim == 4 else magnitude.flatten()}
