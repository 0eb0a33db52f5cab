"""A folder of models as people have one: a narrow base of a family as a folder and as one file, nets, and a LoRA."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import T2IAdapter
from torch import nn

from underdraw.formats.base_writing import write_base_file, write_base_folder
from underdraw.formats.control_writing import write_control_file, write_control_folder, write_control_lora
from underdraw.formats.controls import control_parts
from underdraw.formats.lora import write_lora
from underdraw.model import Backbone, LoraConfig, build_lora
from underdraw.model.lora import parts

from ..formats.tiny import base, control
from ..formats.tiny import parts as parts_of_base

NETS = {"sd1": ("control_v11p_sd15_canny", "control_v11f1p_sd15_depth"), "sdxl": ("canny-xl", "depth-xl")}


@dataclass(frozen=True)
class Shelf:
    """Where everything lies: folder and file are one base."""

    root: Path
    family: str
    folder: Path
    file: Path

    @property
    def nets(self) -> tuple[str, str]:
        """Two nets by name."""
        return NETS[self.family]


def fill(root: Path, family: str) -> Shelf:
    """Write everything into a folder."""
    whole = base(family)
    write_base_folder(parts_of_base(family), root / "stock")
    write_base_file(parts_of_base(family), root / "single.safetensors")
    nets = [control_parts(control(whole.unet, seed)) for seed in (4, 5)]
    for net, name in zip(nets, NETS[family], strict=True):
        write_control_folder(net, root / "diffusers" / name)
        write_control_file(net, root / f"{name}.safetensors")
    if family == "sd1":
        unet = {name: each.detach() for name, each in whole.unet.state_dict().items()}
        write_control_lora(nets[0], unet, root / "small.safetensors", 10_000)
        torch.save({f"control_model.{name}": each for name, each in _original(root).items()}, root / "old.pth")
        adapter().save_pretrained(root / "adapter")
    for seed, name in enumerate(("first", "second")):
        write_lora(trained(whole, seed), root / f"{name}.safetensors")
    return Shelf(root, family, root / "stock", root / "single.safetensors")


def _original(root: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors = load_file(root / f"{NETS['sd1'][0]}.safetensors")
    return {name.removeprefix("control_model."): each for name, each in tensors.items()}


def adapter() -> Any:
    """A full T2I-Adapter for the narrow SD 1.5."""
    torch.manual_seed(2)
    settings: dict[str, Any] = {"adapter_type": "full_adapter", "channels": [32, 64, 64, 64], "in_channels": 3}
    return T2IAdapter(**settings).requires_grad_(False).eval()


def trained(backbone: Backbone, seed: int = 0) -> Any:
    """A LoRA of the U-Net and all text encoders whose B is not zero."""
    torch.manual_seed(seed)
    lora = build_lora(backbone, LoraConfig(parts=[*parts(backbone)], rank=4, alpha=2.0))
    for each in lora.adapters.values():
        nn.init.normal_(each.get_parameter("up"), std=0.3)
    return lora.requires_grad_(False)
