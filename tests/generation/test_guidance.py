"""Guidance as a ladder: its formula, its rungs, and what is not computed."""

from typing import Any

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import normalized_guidance
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import InputError
from underdraw.generation import Guidance, Studio, draw, encode_prompts, finish, start
from underdraw.model import Control, Text, predict

SIZE = (32, 32)
TIMESTEP = torch.tensor(700)


def maps(count: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def network(studio: Studio) -> Any:
    def run(sample: Tensor, timestep: Tensor, text: Text | None, controls: Any) -> Tensor:
        return predict(studio.backbone.unet, sample, timestep, text, controls)

    return run


@pytest.mark.parametrize("side", ["both", "conditional", 0.4])
def test_each_side_hears_its_share(studio: Studio, side: Any) -> None:
    """ε_uc + β·(ε_c - ε_uc), the control at its full weight on the conditional side and at its factor on the other."""
    backbone = studio.backbone
    sample, _ = start(backbone, SIZE, [1, 2])
    pull = encode_prompts(backbone, ["a cat", "a dog"], SIZE, 3.0)
    factor = {"both": 1.0, "conditional": 0.0}.get(side, side)
    control = Control(studio.net("canny"), maps(2), 0.8, side=side)
    quiet = Control(studio.net("canny"), maps(2), 0.8 * factor)
    with torch.no_grad():
        free = predict(backbone.unet, sample, TIMESTEP, pull.empty, [quiet])
        bound = predict(backbone.unet, sample, TIMESTEP, pull.text, [control])
        assert_close(
            pull(network(studio), sample, TIMESTEP, [control]), free + 3 * (bound - free), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("many", ["weight", "mask"])
def test_both_sides_at_once_with_one_value_an_item(studio: Studio, many: str) -> None:
    backbone, net = studio.backbone, studio.net("canny")
    sample, _ = start(backbone, SIZE, [1, 2])
    pull = encode_prompts(backbone, ["a cat", "a dog"], SIZE, 3.0)
    extra: Any = {"weight": torch.tensor([0.2, 1.0])} if many == "weight" else {"mask": maps(2)[:, :1]}
    control = Control(net, maps(2), **extra)
    with torch.no_grad():
        free = predict(backbone.unet, sample, TIMESTEP, pull.empty, [control])
        bound = predict(backbone.unet, sample, TIMESTEP, pull.text, [control])
        assert_close(pull(network(studio), sample, TIMESTEP, [control]), free + 3 * (bound - free))


def test_without_a_prompt_a_control_on_both_sides_makes_guidance_a_no_op(studio: Studio) -> None:
    """The paper's reason for resolution weighting: both sides are the same then, and β says nothing. On the conditional
    side only it does."""
    backbone = studio.backbone
    drawn = {
        (side, scale): finish(
            backbone,
            draw(
                backbone,
                [""],
                [3],
                SIZE,
                steps=3,
                guidance=scale,
                controls=[Control(studio.net("canny"), maps(), side=side)],
            ),
        )
        for side in ("both", "conditional")
        for scale in (1.0, 4.0, 9.0)
    }
    for scale in (4.0, 9.0):
        assert_close(drawn["both", scale], drawn["both", 1.0], atol=1e-5, rtol=0)
        assert (drawn["conditional", scale] - drawn["conditional", 1.0]).abs().mean() > 1e-3


def numbers(count: int) -> tuple[Tensor, ...]:
    return torch.randn(count, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()


class Told:
    """A network that answers with given predictions and remembers what it saw."""

    def __init__(self, *answers: Tensor) -> None:
        self.answers, self.seen = answers, torch.zeros(0)

    def __call__(self, sample: Tensor, timestep: Tensor, text: Text | None, controls: Any) -> Tensor:
        self.seen = sample
        assert text is not None and len(text) == len(sample)
        return torch.cat(self.answers)


TEXT, EMPTY = Text(torch.ones(2, 3, 4)), Text(torch.zeros(2, 3, 4))


def test_rescale_is_that_of_diffusers() -> None:
    free, bound, sample = numbers(3)
    made = Guidance(TEXT, EMPTY, 5.0, rescale=0.7)(Told(free, bound), sample, TIMESTEP)
    assert_close(made, rescale_noise_cfg(free + 5 * (bound - free), bound, 0.7))


@pytest.mark.parametrize("parallel", [0.0, 0.5])
def test_the_projection_is_that_of_diffusers(parallel: float) -> None:
    free, bound, sample = numbers(3)
    made = Guidance(TEXT, EMPTY, 5.0, parallel=parallel)(Told(free, bound), sample, TIMESTEP)
    assert_close(made, normalized_guidance(bound, free, 5.0, eta=parallel))


def test_three_rungs_are_those_of_instruct_pix2pix() -> None:
    nothing, picture, both, sample = numbers(4)
    beside = torch.ones(1, 4, 8, 8)
    told = Told(nothing, picture, both)
    made = Guidance(TEXT, EMPTY, 7.0, picture=1.5)(told, sample, TIMESTEP, beside=beside)
    assert_close(made, nothing + 7 * (both - picture) + 1.5 * (picture - nothing))
    assert torch.equal(told.seen[:, 4:].mean((1, 2, 3)), torch.tensor([0.0, 0, 1, 1, 1, 1]))


@pytest.mark.parametrize(
    ("scale", "picture", "rungs"),
    [(1.0, None, 1), (4.0, None, 2), (7.0, 1.0, 2), (1.5, 1.5, 2), (1.0, 1.0, 1), (1.0, 2.0, 3), (7.0, 2.0, 3)],
)
def test_rungs_that_cannot_matter_are_not_computed(scale: float, picture: float | None, rungs: int) -> None:
    """And leaving them out changes nothing."""
    sample = numbers(1)[0]

    def shown(sample: Tensor, timestep: Tensor, text: Text | None, controls: Any) -> Tensor:
        assert text is not None and len(sample) == 2 * rungs
        return 2 * sample[:, :4] + sample[:, 4:] + text.states.mean((1, 2)).reshape(-1, 1, 1, 1)

    guided = Guidance(TEXT, EMPTY, scale, picture)(shown, sample, TIMESTEP, beside=torch.ones(1, 4, 8, 8))
    assert_close(guided, 2 * sample + (1.0 if picture is None else picture) + scale)


def test_no_guidance_outside_its_interval(studio: Studio) -> None:
    backbone, seen = studio.backbone, []
    handle = backbone.unet.conv_in.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    pull = encode_prompts(backbone, ["a cat"], SIZE, 4.0, interval=(0.25, 0.75))
    from underdraw.generation import denoise

    noise, _ = start(backbone, SIZE, [0])
    list(denoise(backbone, pull, noise, steps=8, scheduler="ddim"))
    handle.remove()
    assert seen == [1, 1, 2, 2, 2, 2, 1, 1]
    assert pull.at(3, 8) is pull and pull.at(0, 8).scale == 1
    with pytest.raises(InputError, match=r"interval 0\.7\.\.0\.2 makes no sense"):
        Guidance(TEXT, EMPTY, 4.0, interval=(0.7, 0.2))


def test_each_picture_has_its_own_negative_prompt(studio: Studio) -> None:
    backbone = studio.backbone
    pull = encode_prompts(backbone, ["x", "x", "x"], SIZE, 4.0, ["", "blue", ""])
    assert pull.empty is not None
    assert torch.equal(pull.empty.states[:1], backbone.empty_text().states)
    assert torch.equal(pull.empty.states[1:2], backbone.encode_text(["blue"]).states)
