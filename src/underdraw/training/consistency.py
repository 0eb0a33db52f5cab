"""The consistency reward: a second loss for hearing the map, in two forms.

map        ControlNet++ (Li et al. 2024, section 3.3): for small timesteps the one-step estimate of x0 is a picture that
           a differentiable annotator can look at; the error of its map goes back through annotator, VAE decoder and
           U-Net to the branch.
features   a learnt projection of the branch's features must equal, element by element, what the *decoder* makes of the
           true z_t (no gradient goes there). The encoder from which the branch was copied would be no target: it knows
           nothing of the map, and to ignore the map would be rewarded.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from underdraw.annotators import build
from underdraw.annotators.readers import load_reader
from underdraw.annotators.twins import twin
from underdraw.errors import ConfigError
from underdraw.model import Backbone, ControlNet, Text, Trunk, sites
from underdraw.training.objective import Draw, predicted
from underdraw.training.recipe import ControlRun, Watch

__all__ = ["Consistency", "FeatureConsistency", "MapConsistency", "consistency"]

Errors = Callable[[Tensor, Tensor], Tensor]
"""From pictures B×3×H×W and the maps B×C×H×W that they should show to an error each (B)."""


class Consistency(Protocol):
    """Either form: a scalar, times its weight; 0 (with a graph) where no sample of the batch is near its picture."""

    @property
    def learns(self) -> nn.Module | None:
        """What of it learns beside the net; None where nothing does."""

    def __call__(self, prediction: Tensor, drawn: Draw, maps: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """prediction: B×C×h×w of the noisy latents of `drawn`; maps: B×C×H×W; a source of randomness a sample."""


def consistency(config: ControlRun, watch: Watch, backbone: Backbone, net: ControlNet) -> Consistency | None:
    """The reward that a recipe asks for. Raises ConfigError as its form does."""
    if config.consistency is None:
        return None
    if config.consistency.form == "features":
        if config.lora is not None:
            raise ConfigError("learn.lora has no place for the projections of features; take consistency.form = 'map'")
        return FeatureConsistency(config, backbone, net)
    return MapConsistency(config, watch, backbone)


class MapConsistency:
    """The error of the map of the estimated picture, in a window of few samples.

    Raises ConfigError for a condition that has neither a twin nor a reader, and for a reader that also judges.
    """

    learns = None

    def __init__(self, config: ControlRun, watch: Watch, backbone: Backbone) -> None:
        assert config.consistency is not None
        self.config, self.backbone = config.consistency, backbone
        self._errors = _errors(config, watch, backbone)

    def __call__(self, prediction: Tensor, drawn: Draw, maps: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """As `Consistency`."""
        near = (drawn.timestep < self.config.below).nonzero()[: self.config.most, 0]
        if not len(near):
            return 0.0 * prediction.sum()
        clean = self.backbone.process.clean_from(prediction[near].float(), drawn.noisy[near], drawn.timestep[near])
        top, left, high, wide = self._window(clean.shape, draws[int(near[0])])
        factor = self.backbone.factor
        window = clean[..., top : top + high, left : left + wide]
        rows, columns = (slice(factor * start, factor * (start + size)) for start, size in ((top, high), (left, wide)))
        error = self._errors(self.backbone.decode_latents(window).float(), maps[near][..., rows, columns])
        return self.config.weight * error.sum() / len(prediction)

    def _window(self, shape: torch.Size, draw: torch.Generator) -> tuple[int, int, int, int]:
        """Top, left, height, width of what is decoded, in latent pixels."""
        high, wide = (min(self.config.crop or side, side) for side in shape[-2:])
        starts = [
            int(torch.randint(side - size + 1, (), generator=draw))
            for side, size in ((shape[-2], high), (shape[-1], wide))
        ]
        return starts[0], starts[1], high, wide


def _errors(config: ControlRun, watch: Watch, backbone: Backbone) -> Errors:
    assert config.consistency is not None
    path, kind = config.consistency.reader, config.kinds[0]
    if len(config.kinds) > 1 and config.join == "family":
        raise ConfigError("learn.consistency rewards maps of one kind, not of a family; take form = 'features'")
    if path is None:
        see = twin(build(kind))
        return lambda pictures, maps: _square(see(pictures).float(), maps)
    if watch.reader and Path(path).read_bytes() == Path(watch.reader).read_bytes():
        raise ConfigError(f"reader {path} is to teach and to judge; train another one for watch.reader")
    reader = load_reader(path).to(backbone.device)
    if kind not in reader.shape.reads:
        raise ConfigError(f"{path} reads {', '.join(reader.shape.reads)}, not {kind}; give a reader of that condition")
    head = reader.meanings[kind]
    return lambda pictures, maps: head.error(reader(pictures)[kind].float(), head.target(maps))


def _square(shown: Tensor, wanted: Tensor) -> Tensor:
    return (shown - wanted[:, : shown.shape[1]]).square().mean((1, 2, 3))


class FeatureConsistency:
    """How far the branch's features, projected, are from the decoder's of the true z_t, over few samples.

    Each site where the branch speaks is compared with what the last layers of the up block of its size leave; targets
    are brought to unit spread, so that every site counts alike. The projections learn with the net and are no part of
    it.
    """

    learns: nn.ModuleDict

    def __init__(self, config: ControlRun, backbone: Backbone, net: ControlNet) -> None:
        assert config.consistency is not None
        self.config, self.backbone, self.net = config.consistency, backbone, net
        self.decoder = _decoder(backbone.unet)
        self.learns = nn.ModuleDict(
            {site.key: nn.Conv2d(site.channels, self.decoder[site.scale].out_channels, 1) for site in net.sites}
        ).to(backbone.device)

    def __call__(self, prediction: Tensor, drawn: Draw, maps: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """As `Consistency`."""
        near = (drawn.timestep < self.config.below).nonzero()[: self.config.most, 0]
        if not len(near):
            return 0.0 * prediction.sum()
        noisy, timestep, text = drawn.noisy[near], drawn.timestep[near], drawn.text[near]
        targets = self._targets(noisy, timestep, text)
        kept, branch = self.backbone.dtype, self.net.branch
        heard = replace(text, states=text.states.to(kept))
        features = branch.features(branch.embed(maps[near]), noisy.to(kept), timestep, heard)
        errors = [
            functional.mse_loss(self.learns[site.key](features[site.name].float()).float(), targets[site.scale])
            for site in self.net.sites
        ]
        return self.config.weight * torch.stack(errors).mean() * len(near) / len(prediction)

    @torch.no_grad()
    def _targets(self, noisy: Tensor, timestep: Tensor, text: Text) -> dict[int, Tensor]:
        """What the decoder makes of z_t without the net, by scale, each sample with unit spread."""
        found: dict[int, Tensor] = {}
        hooks = [
            layer.register_forward_hook(lambda layer, given, made, scale=scale: found.update({scale: made}))
            for scale, layer in self.decoder.items()
        ]
        try:
            predicted(self.backbone, noisy, timestep, text)
        finally:
            for hook in hooks:
                hook.remove()
        return {scale: functional.layer_norm(made.float(), made.shape[1:]) for scale, made in found.items()}


def _decoder(unet: Trunk) -> dict[int, Any]:
    """The last residual layer of each size in the second half of a U-Net, by how much smaller it is than the sample."""
    scale, found = sites(unet)[-1].scale, {}
    for block in unet.up_blocks:
        found[scale] = block.resnets[-1]
        scale //= 1 if block.upsamplers is None else 2
    return found
