"""Small drawings that a base makes only to be looked at: what passes through its layers, and through a control's.

They are the same whatever is drawn afterwards: fixed noise, words and maps.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.generation.guidance import Guidance
from underdraw.generation.parts import remembered
from underdraw.generation.schedulers import build_scheduler
from underdraw.generation.sizes import native_size
from underdraw.generation.tasks import latent_channels
from underdraw.model import Backbone, Control, ControlNet, Split, Text, overlaid, through
from underdraw.model.rounded import Ranges, watched

__all__ = ["ranges_of"]

STEPS, GUIDANCE = 8, 5.0
LARGEST = 32
"""The longest side of a draft's samples."""
WORDS = ("a photograph of a house by a lake, trees and mountains", "a drawing of a red chair on a white background")


def ranges_of(backbone: Backbone, net: ControlNet | None = None) -> Ranges:
    """What passes through the layers of a base, or of a control's branch, in a draft; once for the same weights."""
    module: Any = backbone.unet if net is None else net.branch

    def look() -> Ranges:
        ranges: Ranges = {}
        with overlaid(watched(module, ranges)):
            draft(backbone, net)
        return ranges

    found: Ranges = remembered(module, "ranges", look)
    return found


@torch.no_grad()
def draft(backbone: Backbone, net: ControlNet | None) -> Tensor:
    """The samples of two small pictures, under a control where there is a net, by torch as it is."""
    generator = torch.Generator().manual_seed(0)
    side, channels = min(LARGEST, native_size(backbone)[0] // backbone.factor), latent_channels(backbone)

    def noise(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=generator).to(backbone.device)

    latents, more = noise(channels, side, side), int(backbone.unet.config["in_channels"]) - channels
    beside = noise(more, side, side).to(backbone.dtype) if more else None
    pull = Guidance(*_texts(backbone, side * backbone.factor, noise), GUIDANCE)
    controls = [] if net is None else [Control(net, _maps(net, side * net.factor, noise))]
    network = lambda *asked: through(Split(backbone.unet), *asked)  # noqa: E731
    path = build_scheduler("ddim", backbone.scheduler, STEPS)
    for timestep in path.timesteps:
        when = timestep.to(backbone.device)
        prediction = pull(network, latents.to(backbone.dtype), when, controls, beside)
        latents = path.step(prediction, timestep, latents).prev_sample
    return latents


def _texts(backbone: Backbone, side: int, noise: Callable[..., Tensor]) -> tuple[Text, Text]:
    """Some words and none; for a base without its text encoder what stands for them."""
    if not backbone.text_encoders:
        width = backbone.unet.config["cross_attention_dim"]
        return Text(noise(77, width).to(backbone.dtype)), Text(noise(77, width).to(backbone.dtype))
    told = backbone.encode_text(WORDS), backbone.empty_text(len(WORDS))
    text, empty = (each if each.pooled is None else each.sized(side, side) for each in told)
    return text, empty


def _maps(net: ControlNet, side: int, noise: Callable[..., Tensor]) -> Tensor:
    """A map of smooth shades, as depth is, and one of thin bright lines, as edges are."""
    shades = functional.interpolate(noise(1, 5, 5), (side, side), mode="bicubic").sigmoid()
    lines = (8 * shades % 1 < 0.15).float()
    return torch.cat([shades[:1], lines[1:]]).expand(-1, net.branch.hint_channels, -1, -1)
