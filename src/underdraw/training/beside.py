"""The baseline without a control branch: the base itself learns to see the map beside its latents.

Its first convolution gets more input channels, whose weights are 0 at first; there the map enters, encoded as a picture
(InstructPix2Pix, Brooks et al. 2023). Then all of the U-Net learns, or (with `learn.lora`) that convolution and a LoRA.
What it becomes is a base in InstructPix2Pix's shape, which draws from a map as that does from a picture.
"""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.errors import ConfigError
from underdraw.files import atomic
from underdraw.formats.delta import merge
from underdraw.model import Attached, apply_policy, attach, build_lora
from underdraw.training.denoiser import sketch
from underdraw.training.lora import plainly
from underdraw.training.mapped import MapTask, Steering
from underdraw.training.pictures import sizes, spread
from underdraw.training.precision import fit
from underdraw.training.recipe import BesideRun
from underdraw.training.sheets import mosaic

__all__ = ["BesideTask", "widen"]


class BesideTask(MapTask[BesideRun]):
    """The whole U-Net learns, or its first convolution and a LoRA."""

    def learner(self) -> nn.Module:
        """The U-Net, or those two. Raises ConfigError for maps that are no pictures."""
        if self.hints.channels != 3:
            raise ConfigError(f"maps of {self.hints.channels} channels are no pictures; use learn.join = family")
        unet: nn.Module = self.backbone.unet
        apply_policy(unet, "lora" if self.config.lora else "all")
        widen(unet, self.backbone.vae.config.latent_channels)
        fit(unet, self.recipe)
        self.attached: Attached | None = None
        if self.config.lora is None:
            return unet
        lora = build_lora({"unet": unet}, self.config.lora)
        self.attached = attach({"unet": unet}, lora)
        return nn.ModuleDict({"lora": lora, "conv_in": unet.get_submodule("conv_in")})

    @torch.no_grad()
    def steering(self, maps: Tensor | None) -> Steering:
        """The map's latents, in the units of InstructPix2Pix; without a map zeros."""
        width, height = (side // self.backbone.factor for side in sizes(self.watched)[0])
        if maps is None:
            return Steering(beside=torch.zeros(1, self.backbone.vae.config.latent_channels, height, width))
        moments = self.backbone.encode_picture(maps.to(self.backbone.device))
        return Steering(beside=moments.mean / self.backbone.vae.config.scaling_factor)

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Twelve watched pictures, their maps, and a sample each under the map and the caption."""
        chosen = spread(len(self.watched))
        maps, captions = self.hints(self.watched, chosen), [self.watched.texts[int(row)][0] for row in chosen]
        beside = self.steering(maps).beside
        drawn = sketch(self.backbone, captions, sizes(self.watched)[0], self.recipe.seed, beside=beside)
        return mosaic(torch.cat([self.watched.pictures(chosen), maps, drawn]), columns=len(chosen))

    def export(self, folder: Path) -> None:
        """Write the whole base that it makes; diffusers' `StableDiffusionInstructPix2PixPipeline` opens it."""
        with atomic(folder) as draft, plainly(self.attached) if self.attached else nullcontext():
            merge(self.config.base, self.backbone.unet, draft)
            index = json.loads((draft / "model_index.json").read_text(encoding="utf-8"))
            index["_class_name"] = "StableDiffusionInstructPix2PixPipeline"
            (draft / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def widen(unet: Any, more: int) -> None:
    """Give a U-Net more input channels, to which it listens not at all yet but will learn to."""
    narrow: nn.Conv2d = unet.conv_in
    shape = (narrow.in_channels + more, narrow.out_channels, narrow.kernel_size, narrow.stride, narrow.padding)
    unet.conv_in = wide = nn.Conv2d(*shape).to(narrow.weight)  # type: ignore[arg-type]
    wide.load_state_dict(narrow.state_dict() | {"weight": torch.zeros_like(wide.weight)})
    wide.weight[:, : narrow.in_channels] = narrow.weight
    unet.register_to_config(in_channels=wide.in_channels)
