"""Law 1. A new control changes nothing, for every branch × fusion, with zero taps; with gaussian ones it is heard."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.model import BRANCHES, FUSIONS, HINTS, Control, ControlConfig, Text, build, predict

EVERY = list(product(BRANCHES.names(), FUSIONS.names()))
ATTENTIONS = [{"reverse": reverse, "joint": joint} for reverse in (False, True) for joint in (False, True)]

Inputs = tuple[Tensor, Tensor, Text | None]


def config(branch: str, fusion: str, tap: str = "zero", hint: str = "code", **options: Any) -> ControlConfig:
    table = {"branch": {"kind": branch, "tap": tap, "hint": hint}, "fusion": {"kind": fusion, "options": options}}
    return ControlConfig.model_validate(table)


def both(models: Any, family: str, settings: ControlConfig, dtype: torch.dtype = torch.float32) -> Any:
    """The predictions (locked, under a new control)."""
    unet = models.unet(family).to(dtype)
    sample, timestep, text = models.inputs(unet)
    text = None if text is None else text.to(dtype)
    net = build(unet, models.factor(family), settings)
    control = Control(net, models.condition(family), weight=1.7)
    with torch.no_grad():
        sample = sample.to(dtype)
        locked = predict(unet, sample, timestep, text)
        return locked, predict(unet, sample, timestep, text, [control])


def assert_silent(pair: tuple[torch.Tensor, torch.Tensor], fusion: str) -> None:
    locked, controlled = pair
    if fusion == "attention":
        assert_close(controlled, locked, rtol=0, atol=1e-6)
    else:
        assert torch.equal(controlled, locked)


def assert_audible(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    locked, controlled = pair
    assert (controlled - locked).abs().mean() > 1e-3 * locked.abs().mean()


@pytest.mark.parametrize("family", ["sd15", "pixels"])
@pytest.mark.parametrize(("branch", "fusion"), EVERY)
def test_zero_taps_are_silent(models: Any, family: str, branch: str, fusion: str) -> None:
    assert_silent(both(models, family, config(branch, fusion)), fusion)


@pytest.mark.parametrize(("branch", "fusion"), EVERY)
def test_gaussian_taps_are_audible(models: Any, branch: str, fusion: str) -> None:
    assert_audible(both(models, "sd15", config(branch, fusion, "gaussian")))


@pytest.mark.parametrize("hint", HINTS.names())
@pytest.mark.parametrize("branch", BRANCHES.names())
def test_with_every_hint_encoder(models: Any, branch: str, hint: str) -> None:
    assert_silent(both(models, "sd15", config(branch, "add", hint=hint)), "add")
    assert_audible(both(models, "sd15", config(branch, "add", "gaussian", hint)))


@pytest.mark.parametrize("family", ["sd21", "sdxl"])
@pytest.mark.parametrize("branch", BRANCHES.names())
def test_zero_taps_are_silent_in_every_family(models: Any, family: str, branch: str) -> None:
    assert_silent(both(models, family, config(branch, "add")), "add")


@pytest.mark.parametrize("options", ATTENTIONS)
def test_every_attention_is_silent(models: Any, options: dict[str, Any]) -> None:
    assert_silent(both(models, "sd15", config("full", "attention", **options)), "attention")


@pytest.mark.parametrize("fusion", ["add", "concat", "residual"])
def test_silence_is_exact_in_bfloat16(models: Any, fusion: str) -> None:
    assert_silent(both(models, "sd15", config("full", fusion), torch.bfloat16), fusion)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_middle_alone_is_silent_too(models: Any, weight: float) -> None:
    unet = models.unet("sd15")
    inputs: Inputs = models.inputs(unet)
    net = build(unet, 8, ControlConfig.model_validate({"branch": {"sites": "middle"}}))
    with torch.no_grad():
        locked = predict(unet, *inputs)
        assert torch.equal(predict(unet, *inputs, controls=[Control(net, models.condition("sd15"), weight)]), locked)
        models.awaken(net)
        heard = predict(unet, *inputs, controls=[Control(net, models.condition("sd15"), weight)])
    assert torch.equal(heard, locked) == (weight == 0)
