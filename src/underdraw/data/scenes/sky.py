"""The view through the window glass."""

import torch
from torch import Tensor

from underdraw.data.scenes.textures import noise
from underdraw.data.scenes.world import World


def outside(world: World, point: Tensor, scene: Tensor) -> Tensor:
    """The view through the glass for N samples: sky, clouds, sun or moon, stars, hills and trees; linear 3×N."""
    sky = world.light["sky"][:, scene]
    outlook, night = world.light["outlook"][:, scene]
    way = point - world.eye[:, scene]
    way = way * torch.rsqrt((way * way).sum(0))
    bearing, rise = torch.atan2(way[0], -way[2]), way[1]
    high = (rise * 2.6 + 0.10).clamp(0, 1).sqrt()
    colour = sky[:3] + (sky[3:6] - sky[:3]) * high
    cloud = ((noise(bearing * 5 + outlook, rise * 16 + outlook, outlook) - 0.3) * 1.4).clamp(0, 1) * (1 - night)
    colour = colour + (0.95 * sky[:3].clamp_min(0.5) - colour) * cloud * 0.9
    stars = (noise(bearing * 71, rise * 67) * noise(bearing * 43 + 3, rise * 51) > 0.78).float() * night
    colour = colour + stars * 0.5
    towards = (way * world.light["sun"][:, scene]).sum(0)
    disc = ((towards - 0.9965) * 900).clamp(0, 1)
    bright = sky[:3] * 0.5 + torch.where(night > 0.5, 0.55, 0.9)
    colour = colour + (towards.clamp_min(0) ** 24) * (1 - night) * 0.35 * sky[:3]
    colour = colour + (bright - colour) * disc
    return _land(colour, sky, bearing, rise, outlook)


def _land(colour: Tensor, sky: Tensor, bearing: Tensor, rise: Tensor, outlook: Tensor) -> Tensor:
    """Hills in the haze and nearer trees, in front of the sky."""
    hills = 0.05 * torch.sin(bearing * 4 + outlook) + 0.025 * torch.sin(bearing * 11 + outlook * 2) - 0.03
    trees = 0.03 * noise(bearing * 23, bearing * 9 + outlook) - 0.09
    far, close = ((hills - rise) * 60 + 0.5).clamp(0, 1), ((trees - rise) * 60 + 0.5).clamp(0, 1)
    colour = colour + (0.6 * sky[6:9] + 0.25 * sky[:3] - colour) * far
    return colour + (sky[6:9] * 0.8 - colour) * close
