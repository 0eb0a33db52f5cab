"""Control branches: the trainable path from a condition map to one signal at each site of the locked trunk.

    full   the trainable copy of the whole encoder (the ControlNet)
    lite   one 3×3 convolution in place of each copied block (the paper's ControlNet-lite)
    mlp    one 1×1 convolution in place of each, average pooling between them: a perceptron a pixel

All have the parts of diffusers' ControlNetModel under its names (`controlnet_cond_embedding`,
`controlnet_down_blocks`, `controlnet_mid_block`), so a full branch *is* a ControlNet file.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from underdraw.config import Config
from underdraw.errors import InputError
from underdraw.model.taps import HINTS, tap
from underdraw.model.text import Text
from underdraw.model.trunk import Encoder, Site, encode, fitting, sites
from underdraw.registry import Registry


class BranchConfig(Config):
    """The `[branch]` table of a recipe."""

    kind: str = "full"
    """full, lite or mlp."""
    tap: str = "zero"
    """zero, or gaussian (the ablation)."""
    hint: str = "code"
    """The hint encoder: code (what checkpoints have) or paper."""
    hint_channels: int = 3
    """Channels of the condition map."""
    hint_widths: tuple[int, ...] = ()
    """Widths of the hint encoder's stages; empty are the usual ones (16-32-96-256 of the code)."""
    sites: Literal["all", "middle"] = "all"
    """Where the branch speaks: at every skip and the middle, or at the middle only."""
    pool: bool = False
    """Average every signal over the picture (what ControlNet-shuffle does)."""


class Branch(nn.Module, ABC):
    """A hint encoder, a path of one feature a site, and a tap at each site that it speaks to.

    `spoken` are those sites; `every` site and the `config` are of the U-Net it was made for. A subclass lays its path
    in `features`.
    """

    def __init__(self, unet: Encoder, config: BranchConfig, factor: int) -> None:
        super().__init__()
        self.every = every = sites(unet)
        self.config: Mapping[str, Any] = unet.config
        self.spoken = tuple(site for site in every if config.sites == "all" or site.name == "middle")
        self.hint_channels, self.pool = config.hint_channels, config.pool
        self.controlnet_cond_embedding = HINTS[config.hint](
            config.hint_channels, every[0].channels, factor, config.tap, config.hint_widths
        )
        self.controlnet_down_blocks = nn.ModuleDict(
            {site.key: tap(config.tap, site.channels) for site in self.spoken if site.name != "middle"}
        )
        self.controlnet_mid_block = tap(config.tap, every[-1].channels)

    def embed(self, condition: Tensor) -> Tensor:
        """The hint of a condition map B×C×H×W: depends on nothing else, so once a picture is enough.

        The map may be float32 on the CPU, wherever the branch is. Raises InputError for other channels.
        """
        if condition.ndim != 4 or condition.shape[1] != self.hint_channels:
            shape = "×".join(map(str, condition.shape))
            raise InputError(f"this control takes maps of B×{self.hint_channels}×H×W, not {shape}; convert the map")
        hint: Tensor = self.controlnet_cond_embedding(condition.to(self.controlnet_mid_block.weight))
        return hint

    @abstractmethod
    def features(
        self, hint: Tensor, sample: Tensor, timestep: Tensor | float, text: Text | None
    ) -> Mapping[str, Tensor]:
        """One feature B×C×h×w a site, before its tap."""

    def forward(
        self, hint: Tensor, sample: Tensor, timestep: Tensor | float, text: Text | None = None
    ) -> dict[str, Tensor]:
        """The signal at each spoken site.

        hint: from `embed`, of 1 or B pictures; sample, timestep and text: as the trunk's `encode` takes them.
        """
        features = self.features(hint, sample, timestep, text)
        signals = {site.name: self._tap(site)(features[site.name]) for site in self.spoken}
        if self.pool:
            return {name: signal.mean((2, 3), keepdim=True).expand_as(signal) for name, signal in signals.items()}
        return signals

    def _tap(self, site: Site) -> nn.Module:
        return self.controlnet_mid_block if site.name == "middle" else self.controlnet_down_blocks[site.key]


BRANCHES: Registry[type[Branch]] = Registry("branch")


@BRANCHES.register("full")
class Full(Branch):
    """The trainable copy: the encoder of the locked U-Net, weights and all, which starts where the U-Net is.

    Works for every U-Net of the trunk; for those with text its state dict is diffusers' ControlNetModel's.
    """

    _PARTS = ("conv_in", "time_proj", "time_embedding", "add_time_proj", "add_embedding", "down_blocks", "mid_block")
    conv_in: nn.Module
    time_proj: nn.Module
    time_embedding: nn.Module
    down_blocks: nn.ModuleList

    def __init__(self, unet: Encoder, config: BranchConfig, factor: int) -> None:
        super().__init__(unet, config, factor)
        for name in self._PARTS:
            if (part := getattr(unet, name, None)) is not None:
                setattr(self, name, copy.deepcopy(part).requires_grad_(True))

    def features(
        self, hint: Tensor, sample: Tensor, timestep: Tensor | float, text: Text | None
    ) -> Mapping[str, Tensor]:
        """F(x + Z(c)): the copy encodes the sample with the hint laid on after its first convolution."""
        return encode(self, sample, timestep, text, hint=hint).skips


class _Chain(Branch):
    """A chain with one layer a site, SiLU after each; it hears the noisy sample and the hint, not the time or text."""

    def __init__(self, unet: Encoder, config: BranchConfig, factor: int) -> None:
        super().__init__(unet, config, factor)
        every = self.every
        self.enter = self.layer(unet.config["in_channels"], every[0].channels, 1)
        self.layers = nn.ModuleDict(
            {
                site.key: self.layer(last.channels, site.channels, site.scale // last.scale)
                for last, site in pairwise(every)
            }
        )

    @staticmethod
    @abstractmethod
    def layer(channels: int, out: int, stride: int) -> nn.Module:
        """One layer; a stride of 2 halves the size, rounding up as the trunk does."""

    def features(
        self, hint: Tensor, sample: Tensor, timestep: Tensor | float, text: Text | None
    ) -> Mapping[str, Tensor]:
        """The outputs along the chain."""
        hidden = self.enter(sample)
        hidden = hidden + fitting(hint, hidden)
        features = {"down.0": hidden}
        for key, layer in self.layers.items():
            hidden = functional.silu(layer(hidden))
            features[key if key == "middle" else f"down.{key}"] = hidden
        return features


@BRANCHES.register("lite")
class Lite(_Chain):
    """ControlNet-lite: a 3×3 convolution in place of each block (Zhang et al. 2023, section 4.2)."""

    @staticmethod
    def layer(channels: int, out: int, stride: int) -> nn.Module:
        """A 3×3 convolution."""
        return _scaled(nn.Conv2d(channels, out, kernel_size=3, padding=1, stride=stride))


@BRANCHES.register("mlp")
class Mlp(_Chain):
    """ControlNet-MLP: a perceptron a pixel, that is 1×1 convolutions; average pooling halves the size."""

    @staticmethod
    def layer(channels: int, out: int, stride: int) -> nn.Module:
        """A 1×1 convolution, after a 2×2 mean where the size is halved."""
        convolution = _scaled(nn.Conv2d(channels, out, kernel_size=1))
        return convolution if stride == 1 else nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), convolution)


def _scaled(convolution: nn.Conv2d) -> nn.Conv2d:
    """Weights that keep the variance through the SiLU; torch's default would silence the end of a long chain."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution
