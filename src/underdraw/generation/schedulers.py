"""Diffusers' schedulers by the names that people know, built for a base.

A base tells its betas, what its U-Net predicts and how it spaces its timesteps; a name tells how the steps are taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from underdraw.errors import ConfigError
from underdraw.registry import Registry

__all__ = ["SCHEDULERS", "Scheduler", "build_scheduler", "noise_share"]


@dataclass(frozen=True)
class Scheduler:
    """One way to take the steps. label: what A1111 calls it; kind: diffusers' class; settings: laid over the base's."""

    label: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)


SCHEDULERS: Registry[Scheduler] = Registry("scheduler")
SCHEDULERS.register("ddim")(Scheduler("DDIM", "DDIMScheduler"))
SCHEDULERS.register("dpm++ 2m")(Scheduler("DPM++ 2M", "DPMSolverMultistepScheduler"))
SCHEDULERS.register("dpm++ 2m karras")(
    Scheduler("DPM++ 2M Karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True})
)
SCHEDULERS.register("euler")(Scheduler("Euler", "EulerDiscreteScheduler"))
SCHEDULERS.register("euler a")(Scheduler("Euler a", "EulerAncestralDiscreteScheduler"))
SCHEDULERS.register("unipc")(Scheduler("UniPC", "UniPCMultistepScheduler"))


def build_scheduler(name: str, config: Mapping[str, Any], steps: int) -> Any:
    """The scheduler called `name` (case says nothing) for a base's scheduler `config`, its timesteps set.

    Raises ConfigError for an unknown name, or for more steps than the base has timesteps.
    """
    import diffusers

    chosen = SCHEDULERS[name.lower()]
    limit = int(config.get("num_train_timesteps", 1000))
    if not 1 <= steps <= limit:
        raise ConfigError(f"steps = {steps} makes no sense; give a number from 1 to {limit}")
    scheduler = getattr(diffusers, chosen.kind).from_config(dict(config), **chosen.settings)
    scheduler.set_timesteps(steps)
    return scheduler


def noise_share(scheduler: Any, step: int) -> float:
    """The noise's share of the sample's variance before `step`, 1 - ᾱ; exact between timesteps too."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None:
        return 1.0 - float(scheduler.alphas_cumprod[scheduler.timesteps[step]])
    variance = float(sigmas[step]) ** 2
    return 1.0 if variance == float("inf") else variance / (1.0 + variance)
