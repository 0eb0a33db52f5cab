"""The denoising objective, the learning rate, and what is cached."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from underdraw.data.batches import PictureSet, generators
from underdraw.model import Moments, Process, Text
from underdraw.training.latents import LatentSet, encode_captions, one_shelf
from underdraw.training.objective import Draw, denoising_loss, draw_batch
from underdraw.training.optim import learning_rate
from underdraw.training.recipe import Objective, Optimizer, Recipe

CURVE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}

PROCESS = Process.from_config(CURVE)
PLAIN, HALF = Objective(snr_gamma=None), Objective(prompt_dropout=0.5)


def _latents(count: int = 6) -> LatentSet:
    draw = torch.Generator().manual_seed(0)
    mean = torch.randn(count, 4, 8, 8, generator=draw)
    states = torch.arange(4.0).view(4, 1, 1).expand(4, 5, 3).to(torch.bfloat16)
    return LatentSet([Moments(mean, torch.full_like(mean, 0.1))], one_shelf(count), states, [[1, 2, 3]] * count)


def _draw(process: Process, count: int = 6, dropout: float = 0.0, step: int = 0) -> Draw:
    return draw_batch(
        _latents(count),
        torch.arange(count),
        generators(0, step, range(count)),
        process,
        Objective(prompt_dropout=dropout),
    )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weighs_the_error_of_x0_by_min_snr_gamma(prediction: str) -> None:
    process = Process.from_config(CURVE | {"prediction_type": prediction})
    drawn = _draw(process)
    guess = process.target(drawn.clean, drawn.noise, drawn.timestep) + 0.1 * torch.randn_like(drawn.noise)
    clean = process.clean_from(guess, drawn.noisy, drawn.timestep)
    weight = process.snr(drawn.timestep).clamp(max=5.0).view(-1, 1, 1, 1)
    expected = (weight * (clean - drawn.clean).square()).mean()
    torch.testing.assert_close(denoising_loss(guess, drawn, process, Objective()), expected, rtol=1e-3, atol=1e-6)


def test_a_perfect_prediction_costs_nothing() -> None:
    process = Process.from_config(CURVE)
    drawn = _draw(process)
    target = process.target(drawn.clean, drawn.noise, drawn.timestep)
    assert float(denoising_loss(target, drawn, process, PLAIN)) == 0
    assert float(denoising_loss(target + 1, drawn, process, PLAIN)) == pytest.approx(1)


def test_pseudo_huber_is_the_square_near_zero_and_straight_far_away() -> None:
    process, huber = Process.from_config(CURVE), Objective(snr_gamma=None, loss="huber", huber_c=0.1)
    drawn = _draw(process)
    target = process.target(drawn.clean, drawn.noise, drawn.timestep)
    costs = [float(denoising_loss(target + off, drawn, process, huber)) for off in (1e-3, 2e-3, 10.0, 20.0)]
    assert costs[1] / costs[0] == pytest.approx(4, rel=0.01)
    assert costs[0] == pytest.approx(1e-6, rel=0.01)
    assert costs[3] - costs[2] == pytest.approx(0.2 * 10, rel=0.01)


def test_under_a_mask_only_its_places_count() -> None:
    process = Process.from_config(CURVE)
    drawn = _draw(process)
    mask = torch.zeros(6, 1, 8, 8)
    mask[..., :4] = 1
    target = process.target(drawn.clean, drawn.noise, drawn.timestep)
    wrong = target.clone()
    wrong[..., 4:] += 7
    wrong[..., :4] += 1
    masked = replace(drawn, mask=mask)
    assert float(denoising_loss(wrong, masked, process, PLAIN)) == pytest.approx(1)
    assert float(denoising_loss(wrong, replace(drawn, mask=torch.zeros(6, 1, 8, 8)), process, PLAIN)) == 0


def test_timesteps_are_drawn_as_they_should_be() -> None:
    """Means and quartiles of 3,000 draws beside the distributions' own."""

    def drawn(kind: Literal["uniform", "logit_normal", "cubic"]) -> torch.Tensor:
        objective = Objective(timesteps=kind)
        parts = [
            draw_batch(_latents(100), torch.arange(100), generators(0, step, range(100)), PROCESS, objective).timestep
            for step in range(30)
        ]
        return torch.cat(parts).double() / 1000

    quarters = torch.tensor([0.25, 0.5, 0.75], dtype=torch.double)
    normal = torch.distributions.Normal(0.0, 1.0).icdf(quarters).sigmoid()
    for kind, wanted in (("uniform", quarters), ("logit_normal", normal), ("cubic", 1 - (1 - quarters) ** 3)):
        found = drawn(kind)  # type: ignore[arg-type]
        torch.testing.assert_close(found.quantile(quarters), wanted.double(), atol=0.03, rtol=0)
        assert found.min() >= 0 and found.max() < 1


def test_offset_noise_shifts_whole_channels() -> None:
    process = Process.from_config(CURVE)

    def spread(offset: float) -> float:
        objective = Objective(offset_noise=offset)
        drawn = draw_batch(_latents(400), torch.arange(400), generators(0, 0, range(400)), process, objective)
        return float(drawn.noise.mean((2, 3)).std())

    assert spread(0.0) == pytest.approx(1 / 8, rel=0.1)
    assert spread(0.5) == pytest.approx((1 / 64 + 0.25) ** 0.5, rel=0.1)


def test_half_of_the_prompts_are_dropped_and_the_first_caption_is_as_likely_as_all_others() -> None:
    process = Process.from_config(CURVE)
    told = torch.cat([_draw(process, 100, 0.5, step).text.states[:, 0, 0] for step in range(20)])
    shares = [float((told == row).float().mean()) for row in range(4)]
    assert shares[0] == pytest.approx(0.5, abs=0.05)
    assert shares[1] == pytest.approx(0.25, abs=0.05)
    assert shares[2] + shares[3] == pytest.approx(0.25, abs=0.05)


def test_a_sample_is_drawn_alike_in_any_batch() -> None:
    process, latents = Process.from_config(CURVE), _latents()
    whole = draw_batch(latents, torch.arange(6), generators(0, 3, range(6)), process, HALF)
    half = draw_batch(latents, torch.arange(3, 6), generators(0, 3, range(3, 6)), process, HALF)
    assert torch.equal(whole.noisy[3:], half.noisy)
    assert torch.equal(whole.timestep[3:], half.timestep)
    assert torch.equal(whole.text.states[3:], half.text.states)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    optimizer = Optimizer(lr=1.0, warmup=10, cooldown=20)
    rates = [learning_rate(optimizer, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == pytest.approx([1.0] * 72)
    assert rates[99] == pytest.approx(0.05)


class _Spelling:
    """A backbone whose text states are the lengths of its prompts; it counts how often it is asked."""

    def __init__(self) -> None:
        self.asked, self.text_encoders = 0, (torch.nn.Linear(1, 1),)

    def encode_text(self, prompts: list[str]) -> Text:
        self.asked += 1
        return Text(torch.tensor([float(len(prompt)) for prompt in prompts]).view(-1, 1, 1))


def test_text_is_encoded_once_and_again_when_the_weights_change(tmp_path: Path) -> None:
    backbone = _Spelling()
    for _ in range(2):
        states = encode_captions(backbone, ["", "one", "three"], tmp_path)  # type: ignore[arg-type]
        assert states.flatten().tolist() == [0, 3, 5]
    assert backbone.asked == 1
    torch.nn.init.constant_(backbone.text_encoders[0].weight, 7)
    encode_captions(backbone, ["", "one", "three"], tmp_path)  # type: ignore[arg-type]
    assert backbone.asked == 2


def test_a_picture_set_reads_splits_texts_and_maps(squares: Path) -> None:
    learnt, watched = (PictureSet.load([squares], split, ["depth"]) for split in ("train", "watch"))
    assert (len(learnt), len(watched)) == (16, 8)
    assert learnt.texts[0] == ["a green square", "方块"]
    shown, maps = learnt.pictures(torch.arange(2)), learnt.map("depth", torch.arange(2))
    assert shown.shape == (2, 3, 32, 32)
    assert torch.equal(
        maps[:, :1].expand_as(shown) > 0.5, (shown - 0.5).abs().amax(1, keepdim=True).expand_as(shown) > 0.01
    )


def test_recipes_refuse_what_makes_no_sense(recipe: Callable[..., Recipe]) -> None:
    from underdraw.errors import ConfigError

    with pytest.raises(ConfigError, match="prompt_dropout"):
        recipe({"task": "denoiser", "vae": "v", "clip": "c", "prompt_dropout": 1.5})
    with pytest.raises(ConfigError, match="steps"):
        recipe({"task": "vae"}, steps=0)


def test_wrong_captions_are_rivals_that_look_for_no_picture() -> None:
    from underdraw.training.clip import contrast

    sure = 20 * torch.eye(4)
    assert float(contrast(sure)) < 1e-6
    assert float(contrast(torch.cat([sure, torch.zeros(4, 3)], 1))) < 1e-6
    fooled = torch.cat([sure, torch.full((4, 1), 20.0)], 1)
    assert float(contrast(fooled)) == pytest.approx(math.log(2) / 2, rel=1e-3)


def test_a_clip_learns_from_wrong_captions(recipe: Callable[..., Recipe]) -> None:
    from underdraw.training.clip import ClipTask
    from underdraw.training.tasks import build_task

    told = {"task": "clip", "vocabulary": 560, "tokens": 24, "width": 32, "layers": 1, "heads": 2, "patch": 16}
    task = build_task(recipe(told | {"wrong_captions": True}))
    assert isinstance(task, ClipTask)
    wrong = task._wrong(torch.arange(4), ["a green square", "方块"] * 2, generators(0, 0, range(4)))
    assert len(wrong) == 2 and all(text.endswith(" square") and text != "a green square" for text in wrong)
    assert float(task.losses(0)["contrast"].detach()) > 0
