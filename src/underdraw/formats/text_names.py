"""What text encoders are called in single files, and what transformers calls them.

CLIP-L (SD 1.x, SDXL's first) has transformers' own names. OpenCLIP (SD 2.x, SDXL's second) has others, one fused
projection for query, key and value, and the transposed text projection.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from underdraw.errors import CheckpointError
from underdraw.formats.tables import flip, translate

__all__ = ["clip_from_original", "clip_table", "open_clip_from_original", "open_clip_table", "open_clip_to_original"]

_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
}
_REST = {
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
}
_QKV = ("q_proj", "k_proj", "v_proj")


def clip_from_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP-L as transformers writes it; files of before 2023 leave out `text_model.`."""
    return {name if name.startswith("text_") else f"text_model.{name}": each for name, each in tensors.items()}


def clip_table(layers: int) -> dict[str, str]:
    """The parts of CLIP-L, which are called the same on both sides."""
    return {name: name for name in open_clip_table(layers).values() if not name.startswith("text_projection")}


def open_clip_table(layers: int) -> dict[str, str]:
    """OpenCLIP → transformers, the fused projection taken apart."""
    blocks = {
        f"transformer.resblocks.{layer}.{original}": f"text_model.encoder.layers.{layer}.{name}"
        for layer in range(layers)
        for original, name in _LAYER.items()
    }
    return _REST | blocks


def open_clip_from_original(tensors: Mapping[str, Tensor], layers: int, place: Path) -> dict[str, Tensor]:
    """OpenCLIP's tensors in transformers' names and shapes. Raises CheckpointError for unknown ones."""
    renamed = translate(_parted(tensors, place), open_clip_table(layers), place)
    return {name: each.T if name == "text_projection.weight" else each for name, each in renamed.items()}


def open_clip_to_original(tensors: Mapping[str, Tensor], layers: int, place: Path) -> dict[str, Tensor]:
    """The inverse of `open_clip_from_original`."""
    turned = {name: each.T if name == "text_projection.weight" else each for name, each in tensors.items()}
    return _fused(translate(turned, flip(open_clip_table(layers)), place))


def _parted(tensors: Mapping[str, Tensor], place: Path) -> dict[str, Tensor]:
    """`attn.in_proj_weight` as the weights of three projections, and so the biases; views, not copies."""
    parted: dict[str, Tensor] = {}
    for name, each in tensors.items():
        layer, mark, parameter = name.partition("in_proj_")
        if not mark:
            parted[name] = each
        elif len(each) % 3:
            raise CheckpointError(
                f"{place}: {name} has {len(each)} rows, which are not three projections; copy it again"
            )
        else:
            parted |= {f"{layer}{part}.{parameter}": rows for part, rows in zip(_QKV, each.chunk(3), strict=True)}
    return parted


def _fused(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    fused = {name: each for name, each in tensors.items() if not _is_projection(name)}
    for name in filter(_is_projection, tensors):
        layer, _, parameter = name.rpartition(".")
        stem = layer.rpartition(".")[0]
        if layer.endswith(_QKV[0]):
            fused[f"{stem}.in_proj_{parameter}"] = torch.cat([tensors[f"{stem}.{part}.{parameter}"] for part in _QKV])
    return fused


def _is_projection(name: str) -> bool:
    return ".attn." in name and name.rpartition(".")[0].endswith(_QKV)
