"""A control network: a branch that speaks and one fusion a site that lays its signals on the locked skips.

It is one module, so that its `parameters()` are what a training optimises and its `state_dict()` what a file holds.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from underdraw.config import Config
from underdraw.errors import ConfigError
from underdraw.model.branches import BRANCHES, Branch, BranchConfig
from underdraw.model.fusions import FusionConfig, build_fusion
from underdraw.model.text import Text
from underdraw.model.trunk import Encoder, Encoding, Site


class ControlConfig(Config):
    """What kind of control network to build: the `[branch]` and `[fusion]` tables of a recipe."""

    branch: BranchConfig = BranchConfig()
    fusion: FusionConfig = FusionConfig()


class ControlNet(nn.Module):
    """Branch and fusions of one control; `build` makes a new one for a U-Net.

    config says what it is, factor how much smaller a sample is than its picture.
    """

    def __init__(self, branch: Branch, config: ControlConfig, factor: int) -> None:
        super().__init__()
        self.config, self.factor = config, factor
        self.branch = branch
        self.fusions = nn.ModuleDict({site.key: build_fusion(config.fusion, site.channels) for site in branch.spoken})

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where it speaks."""
        return self.branch.spoken

    def embed(self, condition: Tensor) -> Tensor:
        """The hint of a condition map B×C×H×W; once a picture is enough."""
        return self.branch.embed(condition)

    def forward(
        self,
        encoding: Encoding,
        hint: Tensor,
        sample: Tensor,
        timestep: Tensor | float,
        text: Text | None = None,
    ) -> dict[str, Tensor]:
        """The delta at each site: δ = fusion(skip, signal).

        encoding: the locked trunk's, of the same sample, timestep and text; hint: from `embed`.
        Raises ConfigError when the trunk is not the kind that this control was made for.
        """
        self._check(encoding)
        signals = self.branch(hint, sample, timestep, text)
        return {site.name: self.fusions[site.key](encoding.skips[site.name], signals[site.name]) for site in self.sites}

    def _check(self, encoding: Encoding) -> None:
        """Raises ConfigError when the trunk is of another shape, or its text of another width, than the own."""
        own = {site.name: site.channels for site in self.branch.every}
        base = {name: skip.shape[1] for name, skip in encoding.skips.items()}
        width = self.branch.config.get("cross_attention_dim")
        heard = width if encoding.states is None or not isinstance(width, int) else encoding.states.shape[-1]
        if own != base or width != heard:
            raise ConfigError(
                f"the control was made for skips of {list(own.values())} channels and text of {width}, and the base has"
                f" {list(base.values())} and {heard}; use a control made for this base"
            )


def build(unet: Encoder, factor: int, config: ControlConfig | None = None) -> ControlNet:
    """A new control network for a U-Net, on its device and in its precision.

    factor: the VAE's (`backbone.factor`; 1 in pixel space).
    """
    config = config or ControlConfig()
    branch = BRANCHES[config.branch.kind](unet, config.branch, factor)
    weight: Tensor = unet.conv_in.weight
    return ControlNet(branch, config, factor).to(device=weight.device, dtype=weight.dtype)


# What must agree between a control and its base, although the shapes of its weights may not show it.
_FAMILY = (
    "in_channels",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "addition_embed_type",
    "attention_head_dim",
    "norm_num_groups",
)


def misfit(config: Mapping[str, Any], unet: Encoder) -> str | None:
    """Why a control made for a U-Net of this config can't steer `unet`, in words; None when it can."""
    for key in _FAMILY:
        made_for, base = (_plain(each.get(key)) for each in (config, unet.config))
        if key == "in_channels" and made_for == unet.config.get("out_channels"):
            continue  # an inpainting base takes more beside the sample; a control sees the sample alone
        if made_for != base:
            return f"it was made for a base with {key} = {made_for}, and this base has {base}"
    return None


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
