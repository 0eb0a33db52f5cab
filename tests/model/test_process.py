"""The noise process against diffusers' schedulers and against closed forms."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import ConfigError, InputError
from underdraw.model.process import SCHEDULES, Process

STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
PREDICTIONS = ["epsilon", "v_prediction", "sample"]
EVERY_TIMESTEP = torch.arange(1000)


def some_triple() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 5, 3, 4, 4, generator=generator)
    return clean, noise, torch.tensor([0, 1, 250, 700, 999])


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES.names())
def test_equals_the_schedulers_of_diffusers(schedule: str, rescale: bool) -> None:
    config = STABLE_DIFFUSION | {
        "beta_schedule": schedule,
        "rescale_betas_zero_snr": rescale,
        "prediction_type": "v_prediction",
        "num_train_timesteps": 1000,
    }
    process, clean_noise_time = Process.from_config(config), some_triple()
    for scheduler in (DDPMScheduler(**config), DDIMScheduler(**config)):
        assert torch.equal(process.alphas_cumprod, scheduler.alphas_cumprod)
        assert torch.equal(process.add_noise(*clean_noise_time), scheduler.add_noise(*clean_noise_time))
        assert torch.equal(process.target(*clean_noise_time), scheduler.get_velocity(*clean_noise_time))


@pytest.mark.parametrize("stride", [1, 20])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_reverse_step_equals_ddpm(prediction: str, stride: int) -> None:
    config = STABLE_DIFFUSION | {"prediction_type": prediction, "clip_sample": False}
    process, scheduler = Process.from_config(config), DDPMScheduler(**config)
    scheduler.set_timesteps(1000 // stride)
    noisy, output, _ = some_triple()
    for timestep in (0, 20, 500, 980):
        theirs = scheduler.step(output, timestep, noisy, generator=torch.Generator().manual_seed(1))
        fresh = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(1))
        clean = process.clean_from(output, noisy, timestep)
        assert_close(clean, theirs.pred_original_sample)
        assert_close(process.reverse_step(clean, noisy, fresh, timestep, timestep - stride), theirs.prev_sample)
    assert_close(process.reverse_step(clean, noisy, fresh, 980), process.reverse_step(clean, noisy, fresh, 980, 979))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_prediction_leads_back(prediction: str) -> None:
    process = Process.from_config(STABLE_DIFFUSION | {"prediction_type": prediction})
    clean, noise, timestep = (each.double() if each.is_floating_point() else each for each in some_triple())
    noisy, target = process.add_noise(clean, noise, timestep), process.target(clean, noise, timestep)
    assert_close(process.clean_from(target, noisy, timestep), clean, atol=1e-4, rtol=1e-4)
    assert_close(process.noise_from(target, noisy, timestep), noise, atol=1e-4, rtol=1e-4)


def test_single_steps_compose_to_the_jump() -> None:
    """The mean and the variance of t single steps are √ᾱ_t and 1 - ᾱ_t."""
    process = Process.from_config(STABLE_DIFFUSION)
    mean, variance, one = torch.ones(1, 1), torch.zeros(1, 1), torch.ones(1, 1)
    for timestep in range(300):
        mean = process.forward_step(mean, torch.zeros(1, 1), timestep)
        signal = process.forward_step(one, torch.zeros(1, 1), timestep)
        variance = signal**2 * variance + process.forward_step(torch.zeros(1, 1), one, timestep) ** 2
    assert_close(mean.squeeze(), process.alphas_cumprod[299].sqrt(), rtol=1e-4, atol=1e-6)
    assert_close(variance.squeeze(), 1 - process.alphas_cumprod[299], rtol=1e-4, atol=1e-6)


def test_the_reverse_chain_with_the_truth_ends_at_the_truth() -> None:
    process = Process.from_config(STABLE_DIFFUSION)
    clean, noise, _ = some_triple()
    sample = noise
    for timestep in reversed(range(1000)):
        sample = process.reverse_step(clean, sample, torch.randn_like(sample), timestep)
    assert_close(sample, clean)


def test_snr_falls_and_has_its_closed_form() -> None:
    process = Process.from_config(STABLE_DIFFUSION)
    snr = process.snr(EVERY_TIMESTEP)
    assert (snr.diff() < 0).all()
    assert_close(snr, process.alphas_cumprod / (1 - process.alphas_cumprod))
    assert_close(process.snr(500), snr[500])


def test_zero_terminal_snr_is_pure_noise() -> None:
    process = Process.from_config({"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})
    clean, noise, _ = some_triple()
    assert process.snr(999).item() == 0
    assert torch.equal(process.add_noise(clean, noise, 999), noise)
    assert torch.equal(process.target(clean, noise, 999), -clean)


def test_every_timestep_is_drawn_equally_often() -> None:
    process = Process.from_config({"num_train_timesteps": 10})
    draws = process.draw_timesteps(20_000, torch.Generator().manual_seed(3))
    assert draws.bincount(minlength=10).sub(2000).abs().max() < 200
    assert set(process.draw_timesteps(500, low=2, high=4).tolist()) == {2, 3}
    assert process.timesteps_at(torch.tensor([0.0, 0.05, 0.0999, 0.1, 0.95, 1.0])).tolist() == [0, 0, 0, 1, 9, 9]


def test_roots_are_taken_before_rounding() -> None:
    """In bfloat16 the scales are those of float32, rounded once."""
    process = Process.from_config(STABLE_DIFFUSION)
    one, nothing = torch.ones(1000, 1, dtype=torch.bfloat16), torch.zeros(1000, 1, dtype=torch.bfloat16)
    signal = process.add_noise(one, nothing, EVERY_TIMESTEP).flatten()
    assert torch.equal(signal, process.alphas_cumprod.sqrt().bfloat16())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"beta_schedule": "sigmoid"}, "sigmoid"),
        ({"prediction_type": "flow"}, "flow"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Process.from_config(config)


def test_a_range_of_timesteps_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"5\.\.20"):
        Process.from_config({"num_train_timesteps": 10}).draw_timesteps(1, low=5, high=20)
