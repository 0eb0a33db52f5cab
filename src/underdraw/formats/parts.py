"""Models between files and modules: a class, its config, and its tensors under diffusers' names, mapped.

`read` functions make parts of files, `assemble` makes a module of a part, and files are written from parts; so a
conversion never builds a module, and a file is loaded once, in the precision that is wanted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.errors import CheckpointError
from underdraw.model.folders import first_line, owned, refuse_keys

__all__ = ["Part", "assemble", "full_config", "hollow", "owned", "public"]


@dataclass(frozen=True, eq=False)
class Part:
    """One model: the name of its class in diffusers or transformers, its config, and its tensors."""

    model: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module) -> "Part":
        """The part that a module of diffusers or transformers is, sharing its memory."""
        config: Any = module.config
        told = config.to_dict() if hasattr(config, "to_dict") else dict(config)
        tensors = {_written(type(module).__name__, name): each.detach() for name, each in module.state_dict().items()}
        return cls(type(module).__name__, public(told), tensors)


def assemble(
    part: Part, place: Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """The module of a part, locked and in evaluation mode; `dtype` None keeps each tensor's precision.

    place: what errors call the file. The tensors get memory of their own: the file may be replaced while they are
    used, and results do not depend on where in it they lay. Raises CheckpointError counting and naming keys that are
    missing or unknown, and for shapes, kinds of numbers or values that can't be meant.
    """
    module = hollow(part, place)
    wanted = module.state_dict()
    tensors = {_spelled(name, wanted): each for name, each in part.tensors.items()}
    refuse_keys(place, missing=wanted.keys() - tensors.keys(), unknown=tensors.keys() - wanted.keys())
    filled = {}
    for name, like in wanted.items():
        tensor = _as_shaped(tensors.pop(name), like.shape)
        if tensor is None:
            raise CheckpointError(f"{place}: {name} has another shape than {tuple(like.shape)}; it is of another model")
        filled[name] = owned(tensor, name, place, dtype, device)
    module.load_state_dict(filled, assign=True)
    return module.to(device).requires_grad_(False).eval()


def hollow(part: Part, place: Path) -> nn.Module:
    """The module of a part without memory: its layers and their shapes. Raises CheckpointError as `assemble`."""
    return _empty(part.model, dict(part.config), place)


def full_config(model: str, config: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """A config with all that its class adds by default, as config.json wants it."""
    whole: Any = _empty(model, dict(config), place).config
    if hasattr(whole, "to_dict"):
        return public(whole.to_dict()) | {"architectures": [model]}
    return {"_class_name": model} | public(dict(whole))


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the libraries' private keys, among them the path that it was read from."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


@cache
def _classes() -> dict[str, Any]:
    from diffusers import AutoencoderKL, ControlNetModel, T2IAdapter, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    kinds = (AutoencoderKL, ControlNetModel, T2IAdapter, UNet2DConditionModel)
    return {kind.__name__: kind for kind in (*kinds, CLIPTextModel, CLIPTextModelWithProjection)}


def _empty(model: str, config: dict[str, Any], place: Path) -> nn.Module:
    """A module whose parameters have shapes but no memory. Raises CheckpointError for a config that makes no sense."""
    from accelerate import init_empty_weights

    kind = _classes()[model]
    try:
        with init_empty_weights(include_buffers=False):
            built = kind(kind.config_class(**config)) if hasattr(kind, "config_class") else kind.from_config(config)
    except Exception as error:  # whatever a library makes of a config that makes no sense
        raise CheckpointError(f"{place}: its config does not make a {model} ({first_line(error)})") from error
    module: nn.Module = built
    return module


def _spelled(name: str, wanted: Mapping[str, object]) -> str:
    """transformers keeps a text encoder's parts with or without `text_model.`, by class and version."""
    bare = name.removeprefix("text_model.")
    return bare if name not in wanted and bare in wanted else name


def _written(model: str, name: str) -> str:
    """The name in files: text encoders are read everywhere with `text_model.`."""
    return name if not model.startswith("CLIPText") or name.startswith("text_") else f"text_model.{name}"


def _as_shaped(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """The tensor in this shape, if it is the same matrix: a 1×1 convolution and a linear layer are."""
    if tensor.shape == shape:
        return tensor
    plain = [side for side in tensor.shape if side != 1] == [side for side in shape if side != 1]
    return tensor.reshape(shape) if plain else None
