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
    Frame,
    Guidance,
    Studio,
    decode_frame,
    denoise,
    draw,
    encode_prompts,
    finish,
    start,
)
from underdraw.model import Control

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


def test_eight_different_pictures_are_eight_single_runs(studio: Studio) -> None:
    """Law 6: prompts, negative prompts, seeds, variations, maps, weights, masks, all of them different."""
    backbone, count = studio.backbone, 8
    prompts = ["a red fish", "蓝色的鱼", "", "x", "a cat on a mat", "猫", "two", "the end"]
    negatives = ["", "blue", "", "ugly", "", "", "x y", "red"]
    seeds, turns = [5, 6, 11, 5, 0, 1, 2, 3], [(place, place / 10) for place in range(count)]
    weights = torch.tensor([[1.0, 0.0, 0.5, -0.3, 1.2, 1.0, 0.0, 0.7], [0.0, 1.0, 0.5, 1.0, 0.2, 0.0, 0.0, 1.0]])
    masks = (maps(count, 7)[:, :1] > 0.5).float()

    def drawn(places: slice) -> Tensor:
        controls = [
            Control(studio.net("canny"), maps(count)[places], weights[0, places], mask=masks[places]),
            Control(studio.net("depth"), maps(count, 1)[places], weights[1, places], side="conditional"),
        ]
        pull = encode_prompts(backbone, prompts[places], SIZE, 4.0, negatives[places])
        noise, generators = start(backbone, SIZE, seeds[places], turns[places])
        return last(denoise(backbone, pull, noise, generators, steps=4, scheduler="euler a", controls=controls))

    together = drawn(slice(count))
    for place in range(count):
        assert_close(drawn(slice(place, place + 1)), together[place : place + 1], atol=1e-4, rtol=0)
    assert (together[0] - together[3]).abs().mean() > 1e-2


def last(frames: Iterator[Frame]) -> Tensor:
    """The latents that a drawing ends with."""
    return list(frames)[-1].latents


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
    with pytest.raises(ConfigError, match=r"unknown scheduler 'eulr a'; did you mean 'euler a'\?"):
        list(draw(studio.backbone, ["x"], [0], SIZE, scheduler="eulr a"))


def test_sizes_must_fit(studio: Studio) -> None:
    with pytest.raises(InputError, match=r"size 33x32 does not divide by 8; the nearest is 32x32"):
        list(draw(studio.backbone, ["x"], [0], (33, 32)))


@pytest.mark.parametrize("side", ["both", "conditional", 0.5])
def test_a_control_on_one_side_projects_its_text_once_too(
    studio: Studio, side: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conditional half alone is computed by its branch, at every step from the same text."""
    net = studio.net("canny")
    projection = net.branch.down_blocks[1].attentions[0].transformer_blocks[0].attn2.to_k  # type: ignore[index,union-attr]
    inner, seen = nn.Linear.forward, []

    def counted(self: nn.Linear, states: Tensor) -> Tensor:
        seen.extend([len(states)] if self is projection else [])
        return inner(self, states)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    with calls(net) as branch:
        control = Control(net, maps(2), torch.tensor([1.0, 0.5]), side=side)
        list(draw(studio.backbone, ["x", "y"], [0, 1], SIZE, steps=5, controls=[control]))
    rows = 2 if side == "conditional" else 4
    assert seen == [rows] and branch == [rows] * 5


def test_variations_lie_between_two_noises(studio: Studio) -> None:
    """On the sphere: as loud as noise is, and the farther the nearer to the other seed's."""
    backbone = studio.backbone
    here, there = (start(backbone, SIZE, [seed])[0] for seed in (1, 2))
    between = [start(backbone, SIZE, [1], [(2, share)])[0] for share in (0.0, 0.3, 0.7, 1.0)]
    assert torch.equal(between[0], here)
    assert_close(between[-1], there)
    assert all(0.85 < float(noise.std()) < 1.15 for noise in between)
    distances = [float((noise - there).norm()) for noise in between]
    assert distances == sorted(distances, reverse=True)


@pytest.mark.parametrize("scheduler", ["dpm++ 2m", "heun"])
def test_overflow_names_the_step_and_the_remedy(studio: Studio, scheduler: str) -> None:
    """A control that breaks off in the middle: frames come until then, and nothing after."""
    net = studio.net("canny")
    broken = Control(net, torch.full((1, 3, 32, 32), torch.nan), span=(0.5, 1.0))
    frames = draw(studio.backbone, ["x"], [0], SIZE, steps=5, scheduler=scheduler, controls=[broken])
    seen: list[Frame] = []
    with pytest.raises(UnderdrawError, match=r"step \d of \d overflowed in float32; the weights are broken"):
        seen.extend(frames)
    assert 2 <= len(seen) < 9 and all(bool(frame.latents.isfinite().all()) for frame in seen)


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
