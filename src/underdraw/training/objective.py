"""The denoising objective: what a step draws at random, and how the error is weighted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from underdraw import images
from underdraw.errors import ConfigError
from underdraw.model import Backbone, Control, Process, Text, predict
from underdraw.training.latents import LatentSet
from underdraw.training.pictures import Pictures
from underdraw.training.recipe import Objective

__all__ = ["Draw", "denoising_loss", "draw_batch", "mask_of", "predicted"]


@dataclass(frozen=True)
class Draw:
    """One batch: clean latents, noise and noisy latents B×C×h×w, timesteps B, and the prompts' text.

    mask: B×1×h×w in [0, 1], how much the error of each place counts; None: all the same.
    """

    clean: Tensor
    noise: Tensor
    noisy: Tensor
    timestep: Tensor
    text: Text
    mask: Tensor | None = None


def draw_batch(
    latents: LatentSet,
    indices: Tensor,
    draws: Sequence[torch.Generator],
    process: Process,
    objective: Objective,
    device: str = "cpu",
    mask: Tensor | None = None,
) -> Draw:
    """Latents from their moments, a timestep, noise and a caption (or the empty one) for each sample.

    All is drawn on the CPU, so that a run is the same on any device, and then brought to `device`.
    """
    shape = latents.shape(indices)[1:]
    clean = latents.moments(indices).sample(torch.stack([torch.randn(shape, generator=draw) for draw in draws]))
    timestep = torch.stack([TIMESTEPS[objective.timesteps](len(process), draw) for draw in draws])
    noise = torch.stack([_noise(shape, objective.offset_noise, draw) for draw in draws])
    dropout = objective.prompt_dropout
    rows = [_caption(latents.captions[int(i)], draw, dropout) for i, draw in zip(indices, draws, strict=True)]
    clean, noise, timestep = clean.to(device), noise.to(device), timestep.to(device)
    noisy, text = process.add_noise(clean, noise, timestep), latents.text(rows).to(device)
    return Draw(clean, noise, noisy, timestep, text, None if mask is None else mask.to(device))


def _noise(shape: torch.Size, offset: float, draw: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=draw)
    return noise + offset * torch.randn(shape[0], 1, 1, generator=draw) if offset else noise


def _uniform(steps: int, draw: torch.Generator) -> Tensor:
    return torch.randint(steps, (), generator=draw)


def _logit_normal(steps: int, draw: torch.Generator) -> Tensor:
    return (torch.randn((), generator=draw).sigmoid() * steps).long()


def _cubic(steps: int, draw: torch.Generator) -> Tensor:
    return ((1 - torch.rand((), generator=draw) ** 3) * steps).long().clamp(max=steps - 1)


TIMESTEPS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "uniform": _uniform,
    "logit_normal": _logit_normal,
    "cubic": _cubic,
}


def _caption(rows: Sequence[int], draw: torch.Generator, dropout: float) -> int:
    """Row 0 (the empty prompt) with probability `dropout`; else the first caption or, as often, one of the others."""
    drop, other = torch.rand(2, generator=draw).tolist()
    if drop < dropout:
        return 0
    if other < 0.5 or len(rows) == 1:
        return rows[0]
    return rows[1 + int(torch.randint(len(rows) - 1, (), generator=draw))]


def predicted(
    backbone: Backbone, noisy: Tensor, timestep: Tensor, text: Text, controls: Sequence[Control] = ()
) -> Tensor:
    """The prediction B×C×h×w for float32 latents and text, in the precision in which the U-Net is kept."""
    heard = replace(text, states=text.states.to(backbone.dtype))
    return predict(backbone.unet, noisy.to(backbone.dtype), timestep, heard, controls)


def denoising_loss(prediction: Tensor, drawn: Draw, process: Process, objective: Objective) -> Tensor:
    """Mean error of the prediction B×C×h×w, weighted by min-SNR-γ (Hang et al. 2023) where γ is given.

    The weight of the error in x0 is min(SNR, γ); seen from ε that is min(SNR, γ)/SNR, from v min(SNR, γ)/(SNR + 1).
    """
    target = process.target(drawn.clean, drawn.noise, drawn.timestep)
    error = _over_places(_error(prediction.float() - target, objective), drawn.mask)
    if objective.snr_gamma is None:
        return error.mean()
    snr = process.snr(drawn.timestep)
    as_seen = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[process.prediction]
    return (error * snr.clamp(max=objective.snr_gamma) / as_seen).mean()


def _error(difference: Tensor, objective: Objective) -> Tensor:
    """Squared, or pseudo-Huber 2c(√(d² + c²) - c): as the square near 0, up to a factor, and straight far away."""
    if objective.loss == "mse":
        return difference.square()
    c = objective.huber_c
    return 2 * c * ((difference.square() + c * c).sqrt() - c)


def _over_places(error: Tensor, mask: Tensor | None) -> Tensor:
    """Means B over channels and places; under a mask, over its places (0 where it is black all over)."""
    if mask is None:
        return error.mean((1, 2, 3))
    weight = mask.expand_as(error)
    return (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1e-6)


def mask_of(pictures: Pictures, indices: Tensor, objective: Objective, size: torch.Size) -> Tensor | None:
    """The loss mask B×1×h×w of the chosen pictures at the latents' size, if the objective names one."""
    if objective.mask is None:
        return None
    if objective.mask not in pictures.maps:
        raise ConfigError(f"learn.mask = {objective.mask!r} is no map of the data; add it to data.maps")
    shown = pictures.map(objective.mask, indices).mean(1, keepdim=True)
    return images.resize(shown, (size[-1], size[-2]), "area")
