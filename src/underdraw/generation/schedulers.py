"""Diffusers' schedulers by the names that people know (A1111's and ComfyUI's), built for a base.

A base tells its betas, what its U-Net predicts and how it spaces its timesteps; a name tells how the steps are taken
("dpm++ 2m") and, where the sampler can, how they are spaced ("karras", "exponential", "beta", "trailing").
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from underdraw.errors import ConfigError
from underdraw.model import Process
from underdraw.registry import Registry

__all__ = ["SCHEDULERS", "Scheduler", "build_scheduler", "find_scheduler", "noise_share", "noised"]


@dataclass(frozen=True)
class Scheduler:
    """One way to take the steps. label: what A1111 calls it; kind: diffusers' class; settings: laid over the base's."""

    label: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What recipes call it."""
        return self.label.lower()


SIGMAS: dict[str, Mapping[str, Any]] = {
    "Karras": {"use_karras_sigmas": True},
    "Exponential": {"use_exponential_sigmas": True},
    "Beta": {"use_beta_sigmas": True},
}
TRAILING: dict[str, Mapping[str, Any]] = {"Trailing": {"timestep_spacing": "trailing"}}
OTHER_WORDS = {"trailing": "sgm uniform"}
"""What ComfyUI calls a spacing."""
SDE = {"algorithm_type": "sde-dpmsolver++"}

SCHEDULERS: Registry[Scheduler] = Registry("scheduler")


def _register(
    label: str,
    kind: str,
    also: tuple[str, ...] = (),
    settings: Mapping[str, Any] | None = None,
    spacings: Mapping[str, Mapping[str, Any]] = TRAILING,
) -> None:
    """File a sampler under its own name and under that of each spacing it can have."""
    for spacing, more in {"": {}, **spacings}.items():
        words = [spacing.lower(), OTHER_WORDS.get(spacing.lower(), spacing.lower())]
        names = [f"{name} {word}".strip() for name in (label.lower(), *also) for word in dict.fromkeys(words)]
        whole = Scheduler(f"{label} {spacing}".strip(), kind, {**(settings or {}), **more})
        SCHEDULERS.register(names[0], tuple(names[1:]))(whole)


_register("DDIM", "DDIMScheduler")
_register("DDPM", "DDPMScheduler")
_register("Euler", "EulerDiscreteScheduler", spacings=SIGMAS | TRAILING)
_register("Euler a", "EulerAncestralDiscreteScheduler", ("euler ancestral",))
_register("Heun", "HeunDiscreteScheduler", spacings=SIGMAS | TRAILING)
_register("LMS", "LMSDiscreteScheduler", spacings=SIGMAS | TRAILING)
_register("DPM2", "KDPM2DiscreteScheduler", ("dpm 2",), spacings=SIGMAS | TRAILING)
_register("DPM2 a", "KDPM2AncestralDiscreteScheduler", ("dpm 2 ancestral",), spacings=SIGMAS | TRAILING)
_register("DPM++ 2M", "DPMSolverMultistepScheduler", ("dpmpp 2m",), spacings=SIGMAS | TRAILING)
_register("DPM++ 2M SDE", "DPMSolverMultistepScheduler", ("dpmpp 2m sde",), SDE, SIGMAS | TRAILING)
_register(
    "DPM++ 3M SDE", "DPMSolverMultistepScheduler", ("dpmpp 3m sde",), SDE | {"solver_order": 3}, SIGMAS | TRAILING
)
_register("DPM++ 2S", "DPMSolverSinglestepScheduler", settings={"lower_order_final": True}, spacings=SIGMAS)
_register("DPM++ SDE", "DPMSolverSinglestepScheduler", ("dpmpp sde",), SDE | {"lower_order_final": True}, SIGMAS)
_register("DEIS", "DEISMultistepScheduler", spacings=SIGMAS | TRAILING)
_register("UniPC", "UniPCMultistepScheduler", ("uni pc", "uni pc bh2"), spacings=SIGMAS | TRAILING)
_register("LCM", "LCMScheduler", spacings={})
_register("TCD", "TCDScheduler", spacings={})

_KNOW_NO_ZERO_SNR = ("Heun", "LMS", "KDPM2", "DPMSolverSinglestep", "DEIS")
_KNOW_NO_SAMPLE = ("EulerAncestral", "LMS", "KDPM2", "DEIS")
FAINTEST = 2.0**-24
"""The ᾱ that stands for a last timestep without any signal where a sampler divides by it: diffusers' own."""


def find_scheduler(name: str) -> Scheduler:
    """The scheduler of that name; case, and whether words are parted by spaces or underscores, say nothing.

    Raises ConfigError for an unknown one.
    """
    return SCHEDULERS[" ".join(name.lower().replace("_", " ").split())]


def build_scheduler(name: str, config: Mapping[str, Any], steps: int) -> Any:
    """The scheduler called `name` for a base's scheduler `config`, its timesteps set.

    Raises ConfigError for an unknown name, for more steps than the base has timesteps, or for a base that it does not
    understand.
    """
    import diffusers

    chosen = find_scheduler(name)
    limit = int(config.get("num_train_timesteps", 1000))
    if not 1 <= steps <= limit:
        raise ConfigError(f"steps = {steps} makes no sense; give a number from 1 to {limit}")
    if config.get("prediction_type") == "sample" and chosen.kind.startswith(_KNOW_NO_SAMPLE):
        raise ConfigError(f"scheduler {chosen.name!r} takes no base that predicts the clean sample; use ddim")
    told = {**config, **chosen.settings}
    if config.get("rescale_betas_zero_snr") and chosen.kind.startswith(_KNOW_NO_ZERO_SNR):
        told["trained_betas"] = _betas(Process.from_config(config))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # some hand tensors to numpy in its old way
            scheduler = getattr(diffusers, chosen.kind).from_config(told)
            scheduler.set_timesteps(steps)
    except ValueError as error:  # LCM walks on a grid of its own
        raise ConfigError(f"steps = {steps} are too many for scheduler {chosen.name!r}; give fewer") from error
    return scheduler


def noise_share(scheduler: Any, step: int) -> float:
    """The noise's share of the sample's variance, 1 - ᾱ, when `step` is about to be taken; exact between timesteps too.

    After the last step it is 0.
    """
    if step >= len(scheduler.timesteps):
        return 0.0
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None:
        return 1.0 - float(scheduler.alphas_cumprod[int(scheduler.timesteps[step])])
    if not getattr(scheduler, "state_in_first_order", True):  # in the middle of a step, where only it knows its sigma
        scale = scheduler.scale_model_input(torch.ones((), dtype=torch.float64), scheduler.timesteps[step])
        return 1.0 - float(scale) ** 2
    variance = float(sigmas[step]) ** 2
    return 1.0 if variance == float("inf") else variance / (1.0 + variance)


def noised(scheduler: Any, clean: Tensor, noise: Tensor, step: int) -> Tensor:
    """The sample, as this scheduler wants it, of a `clean` one when `step` is about to be taken.

    Some keep its variance (√ᾱ·x0 + √(1-ᾱ)·ε), the others let it grow with the noise (x0 + σ·ε).
    """
    share = noise_share(scheduler, step)
    signal, sigma = math.sqrt(1 - share), math.sqrt(share)
    sample = signal * clean + sigma * noise
    keeps_variance = float(scheduler.init_noise_sigma) == 1
    return sample if keeps_variance else sample / signal


def _betas(process: Process) -> list[float]:
    """The betas of a process, its last timestep with the faintest signal."""
    alphas = process.alphas_cumprod.double().clamp(min=FAINTEST)
    before = torch.cat([alphas.new_ones(1), alphas[:-1]])
    return (1 - alphas / before).tolist()
