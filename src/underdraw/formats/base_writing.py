"""Bases, written: one file in the original layout, or a folder in diffusers layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw.errors import CheckpointError
from underdraw.files import atomic
from underdraw.formats.bases import BaseParts
from underdraw.formats.families import UNET, VAE, Tower, family_of, pipeline_name
from underdraw.formats.parts import Part, full_config
from underdraw.formats.tables import flip, translate
from underdraw.formats.text_names import open_clip_to_original
from underdraw.formats.unet_names import unet_table
from underdraw.formats.vae_names import vae_to_original
from underdraw.formats.vocabulary import is_clip, open_tokenizer, write_tokenizer
from underdraw.formats.writing import told, write_tensors
from underdraw.model import Backbone

__all__ = ["parts_of", "write_base_file", "write_base_folder", "write_part"]

_PASSING = ("architectures", "dtype", "torch_dtype", "transformers_version", "model_type")
"""What a config says of the library that wrote it, not of the model."""
_SPEC = {"epsilon": "epsilon", "v_prediction": "v"}


def parts_of(backbone: Backbone, place: str | Path = "the base") -> BaseParts:
    """The parts that a backbone is made of, sharing its memory."""
    unet = Part.of(backbone.unet)
    return BaseParts(
        place=Path(place),
        family=family_of(unet.config),
        unet=unet,
        vae=None if backbone.vae is None else Part.of(backbone.vae),
        texts=tuple(map(Part.of, backbone.text_encoders)),
        tokenizers=backbone.tokenizers,
        scheduler=backbone.scheduler,
        prediction=backbone.process.prediction,
        zero_empty=backbone.zero_empty,
    )


def write_base_file(
    parts: BaseParts, path: str | Path, dtype: torch.dtype | None = None, about: Mapping[str, Any] | None = None
) -> None:
    """Write a base as one safetensors file in the original layout, as A1111, ComfyUI and diffusers read it.

    about: what else to say of it in the metadata. Raises CheckpointError where that layout can't hold this base.
    """
    if parts.vae is None or len(parts.texts) != len(parts.family.towers):
        raise CheckpointError(f"{parts.place} is not a whole {parts.family.title}; write it as a folder")
    if not all(isinstance(told, str) or is_clip(open_tokenizer(told)) for told in parts.tokenizers):
        raise CheckpointError(f"{parts.place} has a vocabulary of its own, which one file can't hold; write a folder")
    place = parts.place
    tensors = _under(UNET, translate(parts.unet.tensors, flip(unet_table(parts.unet.config)), place))
    tensors |= _under(VAE, vae_to_original(parts.vae.tensors, parts.vae.config, place))
    for tower, text in zip(parts.family.towers, parts.texts, strict=True):
        tensors |= _under(tower.prefix, _text(tower, text, place))
    said = told(
        kind="base",
        unet=parts.unet.config,
        vae=parts.vae.config,
        **{f"text_encoder_{place + 1}": _lasting(text.config) for place, text in enumerate(parts.texts)},
        scheduler=parts.scheduler,
        zero_empty=parts.zero_empty,
        **(about or {}),
    )
    spec = {"architecture": parts.family.architecture, "prediction_type": _SPEC.get(parts.prediction or "", "")}
    said |= {f"modelspec.{key}": each for key, each in spec.items() if each}
    write_tensors(tensors, path, dtype, said)


def write_base_folder(parts: BaseParts, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a base as a folder in diffusers layout, whole or not at all; a folder that is there is replaced."""
    texts = [(f"text_encoder{'_2' * place}", text) for place, text in enumerate(parts.texts)]
    found = [("unet", parts.unet), *([("vae", parts.vae)] if parts.vae else []), *texts]
    index: dict[str, Any] = {
        "_class_name": pipeline_name(parts.family, parts.unet.config["in_channels"]),
        "scheduler": ["diffusers", parts.scheduler.get("_class_name", "DDIMScheduler")],
    }
    if parts.family.name == "sdxl":
        index["force_zeros_for_empty_prompt"] = parts.zero_empty
    else:
        index |= {name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")}
        index["requires_safety_checker"] = False
    with atomic(folder) as draft:
        for name, part in found:
            index[name] = ["transformers" if name.startswith("text") else "diffusers", part.model]
            write_part(part, draft / name, parts.place, dtype)
        for (name, _), tokenizer in zip(texts, parts.tokenizers, strict=True):
            words = name.replace("text_encoder", "tokenizer")
            index[words] = ["transformers", "CLIPTokenizer"]
            write_tokenizer(open_tokenizer(tokenizer), draft / words)
        _write_json({"_class_name": "DDIMScheduler", **parts.scheduler}, draft / "scheduler" / "scheduler_config.json")
        _write_json(index, draft / "model_index.json")


def write_part(
    part: Part,
    folder: Path,
    place: Path,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write one component as diffusers and transformers do: config.json, and its weights.

    place: what errors call the model. Not atomic by itself: call it inside `files.atomic`.
    """
    stem = "model" if part.model.startswith("CLIPText") else "diffusion_pytorch_model"
    _write_json(full_config(part.model, part.config, place), folder / "config.json")
    write_tensors(part.tensors, folder / f"{stem}.safetensors", dtype, metadata or {"format": "pt"})


def _lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in config.items() if key not in _PASSING}


def _text(tower: Tower, text: Part, place: Path) -> dict[str, Tensor]:
    if tower.naming == "clip":
        return dict(text.tensors)
    return open_clip_to_original(text.tensors, text.config["num_hidden_layers"], place)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: each for name, each in tensors.items()}


def _write_json(table: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")
