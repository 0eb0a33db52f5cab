"""The two ways of diffusion, as every introduction draws them: a picture into noise, and that noise back."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.errors import ConfigError
from underdraw.generation.sampler import decode_frame, denoise, encode_prompts, start
from underdraw.generation.sheets import Cell, Row, sheet
from underdraw.generation.sizes import check_size
from underdraw.model import Backbone

__all__ = ["Walk", "walk", "walk_sheet"]


@dataclass(frozen=True, eq=False)
class Walk:
    """Where the two ways pass at some timesteps, from 0 to the noisiest; every tensor is T×3×H×W in [0, 1].

    timesteps: T; shares: ᾱ at each. pixels: noise laid on the picture itself; latents: on its latents, decoded.
    states: the way back, decoded; estimates: the x0 that the model sees from there.
    """

    timesteps: Sequence[int]
    shares: Sequence[float]
    pixels: Tensor
    latents: Tensor
    states: Tensor
    estimates: Tensor


@torch.no_grad()
def walk(
    backbone: Backbone, picture: Tensor, prompt: str = "", *, seed: int = 0, steps: int = 28, stops: int = 8
) -> Walk:
    """Take a picture 1×3×H×W forward to noise, and from that very noise back in `steps` DDIM steps.

    The way is looked at `stops` times, ends included. Raises InputError for a size that does not fit the base.
    """
    size = (picture.shape[-1], picture.shape[-2])
    check_size(backbone, size)
    clean = backbone.encode_picture(picture.to(backbone.device, backbone.dtype)).mean.float()
    noise = start(backbone, size, [seed])[0].to(backbone.device)
    pull = encode_prompts(backbone, [prompt], size, 4.0 if prompt else 1.0)
    far = backbone.process.add_noise(clean, noise, len(backbone.process) - 1)
    frames = list(denoise(backbone, pull, far, steps=steps, scheduler="ddim"))
    seen = [frames[place] for place in _places(len(frames), stops - 1)]
    timesteps = [int(frame.timestep) for frame in seen]
    there = [clean, *(backbone.process.add_noise(clean, noise, timestep) for timestep in timesteps)]
    return Walk(
        (0, *timesteps),
        (1.0, *(float(backbone.process.alphas_cumprod[timestep]) for timestep in timesteps)),
        _pixels(backbone, picture, timesteps, seed),
        decode_frame(backbone, torch.cat(there)),
        decode_frame(backbone, torch.cat([frames[-1].latents, *(frame.noisy for frame in seen)])),
        decode_frame(backbone, torch.cat([frames[-1].latents, *(frame.clean for frame in seen)])),
    )


def _places(count: int, stops: int) -> list[int]:
    """Steps spread evenly over a way of `count`, from its last to its first: timesteps rise."""
    if count < stops:
        raise ConfigError(f"steps = {count} are too few to look {stops} times; give at least {stops}")
    return [round((count - 1) * (1 - stop / max(1, stops - 1))) for stop in range(stops)]


def _pixels(backbone: Backbone, picture: Tensor, timesteps: Sequence[int], seed: int) -> Tensor:
    """The forward way in pixel space, where noise looks like noise."""
    inside = 2 * picture.float() - 1
    noise = torch.randn(inside.shape, generator=torch.Generator().manual_seed(seed))
    process = backbone.process.to("cpu")
    noisy = [inside, *(process.add_noise(inside, noise, timestep) for timestep in timesteps)]
    return (torch.cat(noisy) / 2 + 0.5).clamp(0, 1)


def walk_sheet(way: Walk, title: str = "") -> Tensor:
    """The walk as one picture 3×H×W: timesteps rise to the right; the way there reads →, the way back ←."""
    heads = [f"t = {timestep}\nᾱ = {share:.3f}" for timestep, share in zip(way.timesteps, way.shares, strict=True)]
    rows = {
        "→ forward, pixels\n√ᾱ·x₀ + √(1-ᾱ)·ε": way.pixels,
        "→ forward, latents\n(decoded)": way.latents,
        "← reverse: xₜ\n(decoded)": way.states,
        "← reverse: what the model takes for x₀": way.estimates,
    }
    told = [Row(label, [Cell(picture) for picture in pictures]) for label, pictures in rows.items()]
    height, width = way.pixels.shape[-2:]
    cell = (round(112 * max(1.0, width / height)), round(112 * max(1.0, height / width)))
    return sheet(told, heads, title, cell=cell)
