"""Control networks in files.

A full branch with the add fusion is a diffusers ControlNet and is written as one: config.json and
diffusion_pytorch_model*.safetensors, which diffusers' `ControlNetModel.from_pretrained` reads. All other kinds are
written as one file, control.safetensors, whose metadata carries the configuration that made it.
"""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from underdraw.errors import CheckpointError
from underdraw.files import atomic
from underdraw.model.branches import BranchConfig
from underdraw.model.controlnet import ControlConfig, ControlNet, build, misfit
from underdraw.model.folders import first_line, owned, read_json, read_tensors, refuse_keys, whole
from underdraw.model.trunk import Trunk

_FILE = "control.safetensors"
_STEM = "diffusion_pytorch_model"


def save_control(
    net: ControlNet, folder: str | Path, dtype: torch.dtype | None = None, shard_size: str = "10GB"
) -> None:
    """Write a control network to a folder, whole or not at all; a folder that is there is replaced.

    dtype: the precision in the file (default: as it is). shard_size: of each file in diffusers form ("15MB").
    """
    model = _as_diffusers(net, dtype)
    with atomic(folder) as draft:
        draft.mkdir()
        if model is not None:
            model.save_pretrained(draft, safe_serialization=True, max_shard_size=shard_size)
            return
        told = {"config": net.config.model_dump(), "factor": net.factor, "unet": _public(net.branch.config)}
        save_file(_tensors(net, dtype), draft / _FILE, metadata={"underdraw": json.dumps(told)})


def load_control(folder: str | Path, unet: Trunk) -> ControlNet:
    """The control network in a folder, of either form, for this U-Net: on its device, in its precision, to draw with.

    Raises CheckpointError naming the file, and why, when it is broken or made for another base.
    """
    root = Path(folder)
    if not (root / _FILE).exists():
        config = read_json(root / "config.json")
        if config.get("_class_name") != "ControlNetModel":
            raise CheckpointError(
                f"{root} holds a {config.get('_class_name')}, not a ControlNetModel; choose another folder"
            )
        return control_of(config, read_tensors(root, _STEM), unet, root)
    own, factor, made_for, tensors = _read_own(root / _FILE)
    if reason := misfit(made_for, unet):
        raise CheckpointError(f"{root} can't steer this base: {reason}; use a control of its family")
    net = build(unet, factor, own)
    _fill(net, tensors, root)
    return net.eval()


def control_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor], unet: Trunk, place: str | Path) -> ControlNet:
    """The control network that a ControlNetModel of this config and these tensors (under its names) is, for this U-Net.

    Its encoder is its own, and may be smaller than the base's (SDXL's mid and small ones). The tensors get memory of
    their own, on the base's device, in its precision; maps are RGB, whatever order it was trained on.
    place: what errors call the file. Raises CheckpointError when it is broken or made for another base.
    """
    if reason := misfit(config, unet):
        raise CheckpointError(f"{place} can't steer this base: {reason}; use a control of its family")
    try:
        net = _hollow(config)
    except Exception as error:  # whatever a library makes of a config that makes no sense
        raise CheckpointError(f"{place}: its config does not make a ControlNet ({first_line(error)})") from error
    _fill(net, {f"branch.{name}": each for name, each in tensors.items()}, place, unet.conv_in.weight)
    order = config.get("controlnet_conditioning_channel_order", "rgb")
    if order not in ("rgb", "bgr"):
        raise CheckpointError(f"{place} was trained on maps of channels {order!r}; there is rgb and bgr")
    if order == "bgr":
        first: Any = net.branch.controlnet_cond_embedding
        first.conv_in.weight.data = first.conv_in.weight.data.flip(1)
    return net.eval()


def _hollow(config: Mapping[str, Any]) -> ControlNet:
    """The control network that a ControlNetModel of this config is, without memory."""
    widths = tuple(config.get("conditioning_embedding_out_channels") or (16, 32, 96, 256))
    branch = BranchConfig(
        hint_channels=config.get("conditioning_channels", 3),
        hint_widths=widths,
        pool=config.get("global_pool_conditions", False),
    )
    with torch.device("meta"):
        encoder = ControlNetModel.from_config(_understood(config))
        return build(encoder, 2 ** (len(widths) - 1), ControlConfig(branch=branch))


def _read_own(path: Path) -> tuple[ControlConfig, int, Mapping[str, Any], dict[str, Tensor]]:
    with safe_open(whole(path), framework="pt") as file:
        metadata = file.metadata() or {}
    try:
        told = json.loads(metadata["underdraw"])
        return ControlConfig.model_validate(told["config"]), int(told["factor"]), told["unet"], load_file(path)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not say which control it is; write it again with this version") from error


def _fill(net: ControlNet, tensors: Mapping[str, Tensor], place: str | Path, like: Tensor | None = None) -> None:
    """Load every tensor, all of them and no others; with `like` into new memory, on its device and in its precision."""
    known = net.state_dict()
    refuse_keys(Path(place), missing=known.keys() - tensors.keys(), unknown=tensors.keys() - known.keys())
    for name, tensor in tensors.items():
        if tensor.shape != known[name].shape:
            shapes = f"{tuple(tensor.shape)} where the base needs {tuple(known[name].shape)}"
            raise CheckpointError(f"{place}: {name} is {shapes}; use a control made for this base")
    if like is None:
        net.load_state_dict(tensors)
        return
    own = {name: owned(each, name, place, like.dtype, like.device) for name, each in tensors.items()}
    net.load_state_dict(own, assign=True)


# Settings of a U-Net that a ControlNetModel can't repeat and that no shape shows.
_UNSAID = {
    "cross_attention_norm": None,
    "mid_block_only_cross_attention": None,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "timestep_post_act": None,
}


def _as_diffusers(net: ControlNet, dtype: torch.dtype | None) -> Any | None:
    """The network as a ControlNetModel, or None if it is something else."""
    unet = net.branch.config
    kind = (net.config.branch.kind, net.config.branch.hint, net.config.fusion.kind)
    if kind != ("full", "code", "add") or "cross_attention_dim" not in unet or unet.get("mid_block_type") is None:
        return None
    if any(unet.get(key, usual) != usual for key, usual in _UNSAID.items()):
        return None
    with torch.device("meta"):
        model = ControlNetModel.from_config(control_config(net))
    tensors = {name.removeprefix("branch."): tensor for name, tensor in _tensors(net, dtype).items()}
    for name, wanted in model.state_dict().items():
        # A control of the middle only has no taps elsewhere: there it is silent.
        if name not in tensors and name.startswith("controlnet_down_blocks."):
            tensors[name] = torch.zeros(wanted.shape, dtype=dtype or net.branch.controlnet_mid_block.weight.dtype)
    model.load_state_dict(tensors, assign=True)
    return model


def control_config(net: ControlNet) -> dict[str, Any]:
    """The config of the ControlNetModel that a full branch is."""
    return _understood(net.branch.config) | {
        "conditioning_embedding_out_channels": _hint_widths(net),
        "conditioning_channels": net.config.branch.hint_channels,
        "global_pool_conditions": net.config.branch.pool,
        "controlnet_conditioning_channel_order": "rgb",
    }


def _understood(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config, a U-Net's or a ControlNet's, a ControlNetModel takes."""
    known = inspect.signature(ControlNetModel.__init__).parameters
    return {key: value for key, value in config.items() if key in known}


def _hint_widths(net: ControlNet) -> tuple[int, ...]:
    encoder: Any = net.branch.controlnet_cond_embedding
    return (encoder.conv_in.out_channels, *(block.out_channels for block in encoder.blocks[1::2]))


def _tensors(net: ControlNet, dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in net.state_dict().items()}


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without diffusers' private keys, among them the path that it was read from."""
    return {key: value for key, value in config.items() if not key.startswith("_")}
