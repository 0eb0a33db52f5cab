"""The denoising objective: what a step draws at random, and how the error is weighted."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.model import Process, Text
from underdraw.training.latents import LatentSet

__all__ = ["Draw", "denoising_loss", "draw_batch"]


@dataclass(frozen=True)
class Draw:
    """One batch: clean latents, noise and noisy latents B×C×h×w, timesteps B, and the prompts' text."""

    clean: Tensor
    noise: Tensor
    noisy: Tensor
    timestep: Tensor
    text: Text


def draw_batch(
    latents: LatentSet,
    indices: Tensor,
    draws: Sequence[torch.Generator],
    process: Process,
    prompt_dropout: float,
    device: str = "cpu",
) -> Draw:
    """Latents from their moments, a timestep, noise and a caption (or the empty one) for each sample.

    All is drawn on the CPU, so that a run is the same on any device, and then brought to `device`.
    """
    shape = latents.mean.shape[1:]
    clean = latents.moments(indices).sample(torch.stack([torch.randn(shape, generator=draw) for draw in draws]))
    timestep = torch.stack([torch.randint(len(process), (), generator=draw) for draw in draws])
    noise = torch.stack([torch.randn(shape, generator=draw) for draw in draws])
    rows = [_caption(latents.captions[int(i)], draw, prompt_dropout) for i, draw in zip(indices, draws, strict=True)]
    clean, noise, timestep = clean.to(device), noise.to(device), timestep.to(device)
    return Draw(clean, noise, process.add_noise(clean, noise, timestep), timestep, latents.text(rows).to(device))


def _caption(rows: Sequence[int], draw: torch.Generator, dropout: float) -> int:
    """Row 0 (the empty prompt) with probability `dropout`; else the first caption or, as often, one of the others."""
    drop, other = torch.rand(2, generator=draw).tolist()
    if drop < dropout:
        return 0
    if other < 0.5 or len(rows) == 1:
        return rows[0]
    return rows[1 + int(torch.randint(len(rows) - 1, (), generator=draw))]


def denoising_loss(prediction: Tensor, drawn: Draw, process: Process, snr_gamma: float | None) -> Tensor:
    """Mean squared error of the prediction, weighted by min-SNR-γ (Hang et al. 2023) where γ is given.

    The weight of the error in x0 is min(SNR, γ); seen from ε that is min(SNR, γ)/SNR, from v min(SNR, γ)/(SNR + 1).
    """
    target = process.target(drawn.clean, drawn.noise, drawn.timestep)
    error = (prediction.float() - target).square().mean((1, 2, 3))
    if snr_gamma is None:
        return error.mean()
    snr = process.snr(drawn.timestep)
    as_seen = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[process.prediction]
    return (error * snr.clamp(max=snr_gamma) / as_seen).mean()
