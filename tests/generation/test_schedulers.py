"""Schedulers by name: every one of them walks to the picture, from wherever it starts, with the noise that it says."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import ConfigError
from underdraw.generation import SCHEDULERS, Frame, Studio, Task, build_scheduler, draw, find_scheduler
from underdraw.generation.schedulers import noise_share, noised

from .conftest import SAMPLERS

SIZE = (32, 32)
BASE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}
STOPS_SHORT = ("ddim", "deis", "tcd")
"""Those whose last step goes to the least noise of the base, a little short of the picture."""


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("name", SCHEDULERS.names())
def test_a_perfect_network_is_led_to_its_picture(name: str, zero_snr: bool) -> None:
    """Whatever the noise, and with zero terminal SNR too: there the walk begins at pure noise."""
    path = build_scheduler(name, BASE | {"rescale_betas_zero_snr": zero_snr}, 6)
    if hasattr(path, "set_begin_index"):
        path.set_begin_index(0)
    draw_noise = torch.Generator().manual_seed(0)
    picture, noise = torch.randn(2, 1, 4, 8, 8, generator=draw_noise)
    sample = noise * float(path.init_noise_sigma)
    extra = {"generator": draw_noise} if "generator" in path.step.__code__.co_varnames else {}
    shares = []
    for step, timestep in enumerate(path.timesteps):
        shares.append(noise_share(path, step))
        noisy = path.scale_model_input(sample, timestep)
        prediction = ((1 - shares[-1]) ** 0.5 * noisy - picture) / shares[-1] ** 0.5
        sample = path.step(prediction, timestep, sample, **extra).prev_sample
    assert shares[0] == pytest.approx(1.0, abs=1e-6 if zero_snr else 0.01)
    assert noise_share(path, len(path.timesteps)) == 0
    assert_close(sample, picture, atol=0.2 if name.startswith(STOPS_SHORT) else 1e-3, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_noised_is_what_the_scheduler_would_make(name: str) -> None:
    """diffusers' own `add_noise` at each timestep; that of second-order schedulers knows only whole steps."""
    path = build_scheduler(name, BASE, 5)
    clean, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for step in range(0, len(path.timesteps), int(path.order)):
        if hasattr(path, "set_begin_index"):
            path.set_begin_index(step)
        theirs = path.add_noise(clean, noise, path.timesteps[step : step + 1].expand(2))
        assert_close(noised(path, clean, noise, step), theirs, atol=1e-5, rtol=1e-4)
    assert torch.equal(noised(path, clean, noise, len(path.timesteps)), clean)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_is_each_alone(studio: Studio, name: str) -> None:
    """Also the noise that is added on the way: each picture has its own generator, made on the CPU."""

    def drawn(places: slice) -> Tensor:
        words, seeds = ["a red fish", "蓝色的鱼"][places], [5, 6][places]
        return list(draw(studio.backbone, words, seeds, SIZE, steps=4, scheduler=name))[-1].latents

    together = drawn(slice(2))
    for place in range(2):
        assert_close(drawn(slice(place, place + 1)), together[place : place + 1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_frames_tell_the_estimate(studio: Studio, name: str) -> None:
    """`clean` is the x0 from which the last step is taken: nothing is left to do after it."""
    frames = list(draw(studio.backbone, ["x"], [0], SIZE, steps=6, scheduler=name))
    assert [frame.step for frame in frames] == list(range(frames[0].steps)) and len({f.steps for f in frames}) == 1
    falling = [round(frame.timestep) for frame in frames]
    assert falling == sorted(falling, reverse=True)
    if not name.startswith((*STOPS_SHORT, "lms")):  # the last step of LMS looks back at several estimates
        assert_close(frames[-1].latents, frames[-1].clean, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["ddim", "euler", "euler a", "heun", "dpm2", "dpm2 a"])
def test_the_estimate_is_that_of_the_scheduler(name: str) -> None:
    """Where a scheduler of diffusers tells its own x0, ours is the same, in the middle of a step too."""
    path = build_scheduler(name, BASE, 5)
    sample, *predictions = torch.randn(4, 1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    sample = sample * path.init_noise_sigma
    for step, prediction in enumerate(predictions):
        share = noise_share(path, step)
        noisy = path.scale_model_input(sample, path.timesteps[step])
        told = path.step(prediction, path.timesteps[step], sample)
        ours = (1 - share) ** 0.5 * noisy - share**0.5 * prediction
        assert_close(ours, told.pred_original_sample, atol=1e-4, rtol=1e-4)
        sample = told.prev_sample


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_can_be_started_from_in_the_middle(studio: Studio, name: str) -> None:
    """At little strength a picture is nearly kept, and the more the farther it goes."""
    clean = 0.5 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))

    def ends(strength: float) -> list[Frame]:
        task = Task(clean, strength)
        return list(draw(studio.backbone, ["x"], [0], SIZE, steps=10, scheduler=name, task=task, guidance=1.0))

    little, much = ends(0.2), ends(0.8)
    assert len(little) == len(build_scheduler(name, BASE, 10).timesteps) - 8 * int(
        build_scheduler(name, BASE, 10).order
    )
    assert len(little) < len(much)
    near, far = ((frames[-1].latents - clean).abs().mean() for frames in (little, much))
    assert near < far and bool(much[-1].latents.isfinite().all())


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("DPM++ 2M Karras", "DPM++ 2M Karras"),
        ("dpmpp_2m_karras", "DPM++ 2M Karras"),
        ("dpmpp_2m_sde", "DPM++ 2M SDE"),
        ("DPM++ SDE", "DPM++ SDE"),
        ("euler_ancestral", "Euler a"),
        ("Euler  sgm_uniform", "Euler Trailing"),
        ("uni_pc", "UniPC"),
        ("dpm_2", "DPM2"),
        ("LMS Karras", "LMS Karras"),
    ],
)
def test_the_names_of_other_tools(said: str, label: str) -> None:
    found = find_scheduler(said)
    assert found.label == label and SCHEDULERS[found.name] is found


@pytest.mark.parametrize("name", ["dpm2", "lms", "euler a"])
def test_a_base_that_predicts_the_picture_is_refused_where_it_is_not_understood(name: str) -> None:
    with pytest.raises(ConfigError, match="predicts the clean sample; use ddim"):
        build_scheduler(name, BASE | {"prediction_type": "sample"}, 5)
    assert build_scheduler("ddim", BASE | {"prediction_type": "sample"}, 5)


def test_impossible_steps() -> None:
    with pytest.raises(ConfigError, match="steps = 60 are too many for scheduler 'lcm'"):
        build_scheduler("lcm", BASE, 60)
