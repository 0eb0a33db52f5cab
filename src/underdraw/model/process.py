"""The noise process: how a clean sample becomes noise, and the algebra that leads back.

With ᾱ_t the cumulative product of (1 - β):

    forward, in one jump   x_t = √ᾱ_t · x0 + √(1 - ᾱ_t) · ε
    forward, one step      x_t = √α_t · x_(t-1) + √(1 - α_t) · ε,      α_t = ᾱ_t / ᾱ_(t-1)
    v-prediction           v   = √ᾱ_t · ε - √(1 - ᾱ_t) · x0           (Salimans & Ho 2022)
    signal-to-noise        SNR = ᾱ_t / (1 - ᾱ_t)

Training, sampling and teaching all use these few functions, so they can't drift apart.
Ho et al. 2020 (DDPM); Lin et al. 2023 (zero terminal SNR).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from underdraw.errors import ConfigError, InputError
from underdraw.registry import Registry

Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True, eq=False)
class Process:
    """A discrete noise schedule and what the network is asked to predict.

    alphas_cumprod: T float32 values, ᾱ_0 … ᾱ_(T-1), falling from nearly 1.
    prediction: "epsilon" (the noise), "v_prediction", or "sample" (the clean sample itself).

    Samples are B×…; a timestep is an int or an int64 tensor of B values in [0, T).
    """

    alphas_cumprod: Tensor
    prediction: Prediction = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            known = ", ".join(get_args(Prediction))
            raise ConfigError(f"prediction_type {self.prediction!r} is not known; choose one of: {known}")
        # A timestep without any signal can't be undone from the noise alone: x0 would be 0 / 0.
        if self.prediction == "epsilon" and bool((self.alphas_cumprod <= 0).any()):
            raise ConfigError(
                "rescale_betas_zero_snr leaves no signal in the last timestep, where 'epsilon' says nothing;"
                " use prediction_type v_prediction or sample"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Process":
        """The process of a diffusers scheduler config (a dict, as in scheduler_config.json)."""
        betas = _betas(config)
        if config.get("rescale_betas_zero_snr", False):
            betas = _zero_terminal_snr(betas)
        return cls(torch.cumprod(1.0 - betas, dim=0), config.get("prediction_type", "epsilon"))

    def __len__(self) -> int:
        """The number of timesteps T."""
        return len(self.alphas_cumprod)

    def to(self, device: torch.device | str) -> "Process":
        """The same process with its table on `device` (saves one small copy a call)."""
        return replace(self, alphas_cumprod=self.alphas_cumprod.to(device))

    # The whole way, in one jump.

    def add_noise(self, clean: Tensor, noise: Tensor, timestep: Tensor | int) -> Tensor:
        """x_t from x0 and ε; all three have one shape."""
        signal, sigma = self._scales(timestep, clean)
        return signal * clean + sigma * noise

    def target(self, clean: Tensor, noise: Tensor, timestep: Tensor | int) -> Tensor:
        """What a perfect network would predict at this timestep."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return clean
        signal, sigma = self._scales(timestep, clean)
        return signal * noise - sigma * clean

    def clean_from(self, prediction: Tensor, noisy: Tensor, timestep: Tensor | int) -> Tensor:
        """The one-step estimate of x0 that a prediction at x_t implies."""
        if self.prediction == "sample":
            return prediction
        signal, sigma = self._scales(timestep, noisy)
        if self.prediction == "epsilon":
            return (noisy - sigma * prediction) / signal
        return signal * noisy - sigma * prediction

    def noise_from(self, prediction: Tensor, noisy: Tensor, timestep: Tensor | int) -> Tensor:
        """The noise ε that a prediction at x_t implies."""
        if self.prediction == "epsilon":
            return prediction
        signal, sigma = self._scales(timestep, noisy)
        if self.prediction == "sample":
            return (noisy - signal * prediction) / sigma
        return signal * prediction + sigma * noisy

    def snr(self, timestep: Tensor | int) -> Tensor:
        """Signal-to-noise ratio ᾱ / (1 - ᾱ), float32, of the shape of `timestep`."""
        alpha = self._alpha(timestep)
        return alpha / (1.0 - alpha)

    # One step at a time: what every introduction to diffusion draws.

    def forward_step(self, previous: Tensor, noise: Tensor, timestep: Tensor | int) -> Tensor:
        """q(x_t | x_(t-1)): one step of the forward chain, x_(t-1) with a little noise. Timestep 0 starts at x0."""
        alpha = _like(self._alpha(timestep) / self._alpha_before(timestep), previous)
        return alpha.sqrt() * previous + (1.0 - alpha).sqrt() * noise

    def reverse_step(
        self, clean: Tensor, noisy: Tensor, noise: Tensor, timestep: Tensor | int, previous: Tensor | int | None = None
    ) -> Tensor:
        """q(x_s | x_t, x0): the DDPM posterior (Ho et al. 2020, equation 7) with its own variance ("fixed_small").

        clean: the (estimated) x0; noisy: x_t; noise: fresh ε. `previous` is s (default t - 1; -1 means x0 itself),
        so that the chain can be walked in strides.
        """
        before = self._alpha_before(timestep) if previous is None else self._alpha_or_one(previous)
        now = self._alpha(timestep).to(before)
        beta = 1.0 - now / before
        variance = (1.0 - before) / (1.0 - now) * beta
        to_clean = _like(before.sqrt() * beta / (1.0 - now), noisy)
        to_noisy = _like((now / before).sqrt() * (1.0 - before) / (1.0 - now), noisy)
        return to_clean * clean + to_noisy * noisy + _like(variance.clamp(min=0).sqrt(), noisy) * noise

    # Which timesteps to train on.

    def draw_timesteps(
        self, count: int, generator: torch.Generator | None = None, low: int = 0, high: int | None = None
    ) -> Tensor:
        """`count` int64 timesteps, uniform in [low, high) (default: all), on the generator's device."""
        high = len(self) if high is None else high
        if not 0 <= low < high <= len(self):
            raise InputError(f"timesteps {low}..{high} do not fit 0..{len(self)}; give 0 <= low < high <= {len(self)}")
        device = "cpu" if generator is None else generator.device
        return torch.randint(low, high, (count,), generator=generator, device=device)

    def timesteps_at(self, share: Tensor) -> Tensor:
        """int64 timesteps for uniform numbers in [0, 1), keyed or stratified: share u becomes floor(u · T)."""
        return (share.double() * len(self)).long().clamp(0, len(self) - 1)

    def _alpha(self, timestep: Tensor | int) -> Tensor:
        if isinstance(timestep, int):
            return self.alphas_cumprod[timestep]
        return self.alphas_cumprod.to(timestep.device)[timestep]

    def _alpha_before(self, timestep: Tensor | int) -> Tensor:
        return self._alpha_or_one(timestep - 1)

    def _alpha_or_one(self, timestep: Tensor | int) -> Tensor:
        """ᾱ, where timestep -1 stands for the clean sample (ᾱ = 1)."""
        index = torch.as_tensor(timestep)
        return torch.where(index < 0, 1.0, self._alpha(index.clamp(min=0)))

    def _scales(self, timestep: Tensor | int, sample: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self._alpha(timestep)
        return _like(alpha.sqrt(), sample), _like((1.0 - alpha).sqrt(), sample)


def _like(values: Tensor, sample: Tensor) -> Tensor:
    """B or 0-d values, ready to multiply a B×… sample: roots are taken in float32, only then rounded to its type."""
    return values.to(device=sample.device, dtype=sample.dtype).reshape(-1, *[1] * (sample.ndim - 1))


LONGEST = 100_000
"""Timesteps at most."""
SCHEDULES: Registry[Callable[[float, float, int], Tensor]] = Registry("beta_schedule")


@SCHEDULES.register("linear")
def _linear(start: float, end: float, count: int) -> Tensor:
    return torch.linspace(start, end, count, dtype=torch.float32)


@SCHEDULES.register("scaled_linear")
def _scaled_linear(start: float, end: float, count: int) -> Tensor:
    """Linear in √β: Stable Diffusion's."""
    return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32) ** 2


@SCHEDULES.register("squaredcos_cap_v2")
def _squared_cosine(start: float, end: float, count: int) -> Tensor:
    """Nichol & Dhariwal 2021: ᾱ follows a squared cosine; β is capped at 0.999. `start` and `end` play no part."""
    curve = [math.cos((step / count + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(count + 1)]
    return torch.tensor([min(1 - after / before, 0.999) for before, after in pairwise(curve)])


def _betas(config: Mapping[str, Any]) -> Tensor:
    try:
        if (trained := config.get("trained_betas")) is not None:
            return torch.as_tensor(trained, dtype=torch.float32)
        schedule, count = SCHEDULES[config.get("beta_schedule", "linear")], int(config.get("num_train_timesteps", 1000))
        if not 0 < count <= LONGEST:
            raise ValueError(f"{count} timesteps")
        return schedule(float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02)), count)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"the scheduler's betas make no sense ({error}); copy its config again") from error


def _zero_terminal_snr(betas: Tensor) -> Tensor:
    """Shift and scale √ᾱ so that the last timestep is pure noise (Lin et al. 2023, algorithm 1)."""
    root = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    cumulative = ((root - last) * (first / (first - last))) ** 2
    return 1.0 - torch.cat([cumulative[:1], cumulative[1:] / cumulative[:-1]])
