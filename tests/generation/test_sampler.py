"""The sampler: one is many, what is silent is not computed, what can be done once is done once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from underdraw.errors import ConfigError, InputError, UnderdrawError
from underdraw.generation import (
    SCHEDULERS,
    Guidance,
    Studio,
    decode_frame,
    denoise,
    draw,
    encode_prompts,
    finish,
    start,
)
from underdraw.generation.schedulers import build_scheduler, noise_share
from underdraw.model import Control, predict

SIZE = (32, 32)


def maps(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@contextmanager
def calls(module: nn.Module) -> Iterator[list[int]]:
    """The batch size (of the first tensor) in every call of a module."""
    seen: list[int] = []

    def note(_: nn.Module, inputs: tuple[Any, ...], __: Any) -> None:
        seen.append(len(next(each for each in inputs if isinstance(each, Tensor))))

    handle = module.register_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("scheduler", SCHEDULERS.names())
def test_a_batch_is_each_alone(studio: Studio, scheduler: str) -> None:
    """Different prompts, seeds, maps and weights; also the noise that `euler a` adds on the way."""
    prompts, seeds, weights = ["a red fish", "蓝色的鱼", ""], [5, 6, 11], torch.tensor([1.0, 0.0, 0.5])
    settings: dict[str, Any] = {"steps": 4, "scheduler": scheduler}

    def controls(places: slice) -> list[Control]:
        return [Control(studio.net("canny"), maps(3)[places], weight=weights[places])]

    together = finish(
        studio.backbone, draw(studio.backbone, prompts, seeds, SIZE, controls=controls(slice(3)), **settings)
    )
    for place in range(3):
        one = slice(place, place + 1)
        frames = draw(studio.backbone, prompts[one], seeds[one], SIZE, controls=controls(one), **settings)
        assert_close(finish(studio.backbone, frames), together[one], atol=1e-5, rtol=0)
    assert (together[0] - together[1]).abs().mean() > 1e-2


def test_consecutive_seeds_are_consecutive_pictures(studio: Studio) -> None:
    noise, _ = start(studio.backbone, SIZE, [7, 8])
    assert torch.equal(noise[1:], start(studio.backbone, SIZE, [8])[0])
    assert not torch.equal(noise[0], noise[1])


def test_silence_is_not_computed(studio: Studio) -> None:
    canny, depth = studio.net("canny"), studio.net("depth")
    silent = [Control(depth, maps(1), weight=0.0), Control(depth, maps(1), span=(0.3, 0.35))]
    partly = Control(canny, maps(1), span=(0.25, 0.75))
    with calls(canny) as heard, calls(depth) as never:
        list(draw(studio.backbone, ["x"], [0], SIZE, steps=8, controls=[*silent, partly]))
    assert len(heard) == 4 and not never


def test_no_unconditional_pass_without_guidance(studio: Studio) -> None:
    with calls(studio.backbone.unet.conv_in) as seen:
        list(draw(studio.backbone, ["x", "y"], [0, 1], SIZE, steps=3, guidance=1.0))
    assert seen == [2, 2, 2]
    with calls(studio.backbone.unet.conv_in) as seen:
        list(draw(studio.backbone, ["x", "y"], [0, 1], SIZE, steps=3, guidance=2.0))
    assert seen == [4, 4, 4]


def test_hint_and_text_are_embedded_once(studio: Studio) -> None:
    net = studio.net("canny")
    projection = studio.backbone.unet.down_blocks[1].attentions[0].transformer_blocks[0].attn2.to_k
    inner = projection.__class__.forward
    seen: list[int] = []

    def counted(self: Any, states: Tensor) -> Any:
        if self is projection:
            seen.append(len(states))
        return inner(self, states)

    with pytest.MonkeyPatch.context() as patch, calls(net.branch.controlnet_cond_embedding) as hints:
        patch.setattr(projection.__class__, "forward", counted)
        list(draw(studio.backbone, ["x", "y"], [0, 1], SIZE, steps=5, controls=[Control(net, maps(2))]))
    assert hints == [2], "one embedding of two maps, neither once a step nor once a CFG half"
    assert seen == [4], "both sides of guidance, projected once"


def test_each_side_has_its_own_controls(studio: Studio) -> None:
    """A control on the conditional side only is the formula ε_uc + β·(ε_c - ε_uc) with an uncontrolled ε_uc."""
    backbone, timestep = studio.backbone, torch.tensor(700)
    sample, _ = start(backbone, SIZE, [1])
    pull = encode_prompts(backbone, ["a cat"], SIZE, 3.0)
    both = Control(studio.net("canny"), maps(1))
    conditional = Control(studio.net("canny"), maps(1), side="conditional")
    with torch.no_grad():
        free = predict(backbone.unet, sample, timestep, pull.empty)
        bound = predict(backbone.unet, sample, timestep, pull.text, [both])
        bound_free = predict(backbone.unet, sample, timestep, pull.empty, [both])
        one_side = pull(backbone.unet, sample, timestep, [conditional], [])
        two_sides = pull(backbone.unet, sample, timestep, [both], [both])
    assert_close(one_side, free + 3 * (bound - free), atol=1e-5, rtol=1e-5)
    assert_close(two_sides, bound_free + 3 * (bound - bound_free), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(one_side, two_sides, atol=1e-3)


@pytest.mark.parametrize("many", ["weight", "mask"])
def test_both_sides_at_once_with_one_value_an_item(studio: Studio, many: str) -> None:
    backbone, net = studio.backbone, studio.net("canny")
    sample, _ = start(backbone, SIZE, [1, 2])
    pull = encode_prompts(backbone, ["a cat", "a dog"], SIZE, 3.0)
    extra: Any = {"weight": torch.tensor([0.2, 1.0])} if many == "weight" else {"mask": maps(2)[:, :1]}
    control = Control(net, maps(2), **extra)
    with torch.no_grad():
        free = predict(backbone.unet, sample, torch.tensor(500), pull.empty, [control])
        bound = predict(backbone.unet, sample, torch.tensor(500), pull.text, [control])
        assert_close(pull(backbone.unet, sample, torch.tensor(500), [control], [control]), free + 3 * (bound - free))


@pytest.mark.parametrize("scheduler", SCHEDULERS.names())
def test_frames_tell_the_estimate(studio: Studio, scheduler: str) -> None:
    """`clean` is the x0 from which the last step is taken: nothing is left to do after it."""
    frames = list(draw(studio.backbone, ["x"], [0], SIZE, steps=6, scheduler=scheduler))
    assert [frame.step for frame in frames] == list(range(6)) and {frame.steps for frame in frames} == {6}
    assert [frame.timestep for frame in frames] == sorted((frame.timestep for frame in frames), reverse=True)
    if scheduler != "ddim":  # DDIM's last step goes to ᾱ of timestep 0, a little short of x0
        assert_close(frames[-1].latents, frames[-1].clean, atol=1e-4, rtol=1e-4)


def test_the_estimate_is_that_of_the_scheduler(studio: Studio) -> None:
    """Where a scheduler of diffusers tells its own x0, ours is the same."""
    for name in ("ddim", "euler", "euler a"):
        path = build_scheduler(name, studio.backbone.scheduler, 5)
        sample, prediction = torch.randn(2, 1, 4, 8, 8) * path.init_noise_sigma
        noisy = path.scale_model_input(sample, path.timesteps[0])
        theirs = path.step(prediction, path.timesteps[0], sample).pred_original_sample
        share = noise_share(path, 0)
        ours = (1 - share) ** 0.5 * noisy - share**0.5 * prediction
        assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_two_drawings_side_by_side(studio: Studio) -> None:
    """Frames of two drawings drawn in turns are those of each alone, and nothing stays behind in the model."""
    alone = [finish(studio.backbone, draw(studio.backbone, [word], [3], SIZE, steps=4)) for word in ("cat", "dog")]
    pair = [draw(studio.backbone, [word], [3], SIZE, steps=4) for word in ("cat", "dog")]
    both = list(zip(*pair, strict=True))[-1]
    for frame, picture in zip(both, alone, strict=True):
        assert torch.equal(decode_frame(studio.backbone, frame.latents), picture)


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_steps(studio: Studio, steps: int) -> None:
    with pytest.raises(ConfigError, match=rf"steps = {steps} makes no sense; give a number from 1 to 1000"):
        list(draw(studio.backbone, ["x"], [0], SIZE, steps=steps))


def test_unknown_scheduler(studio: Studio) -> None:
    with pytest.raises(ConfigError, match=r"unknown scheduler 'dpm 2m'; did you mean 'dpm\+\+ 2m'\?"):
        list(draw(studio.backbone, ["x"], [0], SIZE, scheduler="dpm 2m"))


def test_sizes_must_fit(studio: Studio) -> None:
    with pytest.raises(InputError, match=r"size 33x32 does not divide by 8; the nearest is 32x32"):
        list(draw(studio.backbone, ["x"], [0], (33, 32)))


def test_overflow_is_told(studio: Studio) -> None:
    with pytest.raises(UnderdrawError, match="overflowed in float32"):
        decode_frame(studio.backbone, torch.full((1, 4, 8, 8), torch.nan))


def test_a_base_without_text(models: Any) -> None:
    """A pixel-space U-Net draws too, and refuses a prompt."""
    from underdraw.model import Backbone, Process

    unet = models.unet("pixels")
    scheduler = {"num_train_timesteps": 1000, "timestep_spacing": "trailing"}
    backbone = Backbone(unet, Process.from_config(scheduler), scheduler=scheduler)
    pictures = finish(backbone, draw(backbone, [""], [0], (16, 24), steps=3, scheduler="ddim"))
    assert pictures.shape == (1, 3, 24, 16)
    latents, generators = start(backbone, (16, 24), [0])
    frames = denoise(backbone, Guidance(None), latents, generators, steps=3, scheduler="ddim")
    assert torch.equal(finish(backbone, frames), pictures)
    with pytest.raises(InputError, match="knows no text"):
        list(draw(backbone, ["a cat"], [0], (16, 24)))
