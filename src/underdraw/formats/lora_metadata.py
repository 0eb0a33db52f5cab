"""What files of LoRAs say of themselves: kohya's `ss_*`, and the adapter configs in which diffusers keeps α."""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from torch import Tensor

from underdraw.model.adapters import Adapter, LowRank
from underdraw.model.lora import Lora

__all__ = ["ADAPTERS", "adapter_metadata", "kohya_metadata", "told_alphas"]

ADAPTERS = "lora_adapter_metadata"
"""Where diffusers keeps the configs of peft's adapters."""
_VERSIONS = {768: "sd_v1", 1024: "sd_v2", 2048: "sdxl_base_v1-0"}


def kohya_metadata(lora: Lora, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> dict[str, str]:
    """The network's module, rank, α and base as kohya's scripts name them, what is `told` over it, and the hashes.

    The hashes are those by which the web UIs know a file: of the tensors, and (the older one) of a stretch of bytes.
    """
    plain = all(isinstance(adapter, LowRank) and adapter.mid is None for adapter in lora.adapters.values())
    facts = {
        "ss_network_module": "networks.lora" if plain else "lycoris.kohya",
        "ss_network_dim": _common([adapter.rank for adapter in lora.adapters.values()]),
        "ss_network_alpha": _common([_alpha(adapter.scale, adapter.rank) for adapter in lora.adapters.values()]),
    }
    if version := _VERSIONS.get(lora.text_width or 0):
        facts |= {"ss_base_model_version": version, "ss_v2": str(version == "sd_v2")}
    facts |= told
    whole = safetensors.torch.save(dict(tensors), {key: text for key, text in facts.items() if key.startswith("ss_")})
    body = 8 + int.from_bytes(whole[:8], "little")
    facts["sshs_model_hash"] = hashlib.sha256(memoryview(whole)[body:]).hexdigest()
    facts["sshs_legacy_hash"] = hashlib.sha256(whole[0x100000:0x110000]).hexdigest()[:8]
    return facts


def _common(values: list[Any]) -> str:
    """The one value that all have, or "Dynamic"."""
    (usual, count), *_ = Counter(values).most_common(1)
    return str(usual) if count == len(values) else "Dynamic"


def _alpha(scale: float, rank: int | None) -> float:
    return scale * (rank or 1)


def adapter_metadata(lora: Lora) -> dict[str, str]:
    """The configs of peft's adapters, one a part: without them diffusers would take every α for the rank.

    Empty when every α is the rank. The paths are without `text_model.`: peft compares their ends, and some versions of
    transformers have that level and some don't.
    """
    if all(adapter.scale == 1 for adapter in lora.adapters.values()):
        return {}
    told: dict[str, Any] = {}
    for part in dict.fromkeys(address.partition(".")[0] for address in lora.adapters):
        mine = {
            address.removeprefix(f"{part}.").removeprefix("text_model."): each
            for address, each in lora.adapters.items()
            if address.startswith(f"{part}.")
        }
        told |= {f"{part}.{key}": value for key, value in _config(mine).items()}
    return {ADAPTERS: json.dumps(told, indent=2, sort_keys=True)}


def _config(adapters: Mapping[str, Adapter]) -> dict[str, Any]:
    ranks = {path: adapter.rank for path, adapter in adapters.items()}
    alphas = {path: _alpha(adapter.scale, adapter.rank) for path, adapter in adapters.items()}
    rank, alpha = (Counter(each.values()).most_common(1)[0][0] for each in (ranks, alphas))
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {path: each for path, each in ranks.items() if each != rank},
        "alpha_pattern": {path: each for path, each in alphas.items() if each != alpha},
        "target_modules": sorted(adapters),
        "use_dora": any(getattr(adapter, "magnitude", None) is not None for adapter in adapters.values()),
        "lora_bias": False,
    }


def told_alphas(metadata: Mapping[str, str], ranks: Mapping[str, int]) -> dict[str, float]:
    """α by address as the adapter configs tell it; nothing for parts without one. Raises ValueError for broken ones."""
    told = json.loads(metadata.get(ADAPTERS, "{}"))
    if not isinstance(told, dict):
        raise ValueError("not a table")
    alphas = {}
    for address, rank in ranks.items():
        part, _, path = address.partition(".")
        config = {key.removeprefix(f"{part}."): value for key, value in told.items() if key.startswith(f"{part}.")}
        if "lora_alpha" in config:
            alpha = _matching(config.get("alpha_pattern") or {}, path, config["lora_alpha"])
            # peft's rank-stabilised variant divides by √r; the same scale as an α is larger by √r.
            alphas[address] = float(alpha) * (math.sqrt(rank) if config.get("use_rslora") else 1.0)
    return alphas


def _matching(patterns: Mapping[str, Any], path: str, usual: Any) -> Any:
    """peft's rule: the first pattern that is the path, or its end after a dot."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", path)), usual)
