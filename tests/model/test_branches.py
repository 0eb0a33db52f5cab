"""Branches, taps and hint encoders: shapes, sites, and what is heard."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from underdraw.errors import ConfigError, InputError
from underdraw.model import (
    BRANCHES,
    HINTS,
    TAPS,
    BranchConfig,
    Control,
    ControlConfig,
    Text,
    build,
    encode,
    predict,
    sites,
)
from underdraw.model.taps import tap

Inputs = tuple[Tensor, Tensor, Text | None]


def some_net(models: Any, unet: Any, factor: int = 8, **branch: Any) -> Any:
    net = build(unet, factor, ControlConfig.model_validate({"branch": branch}))
    models.awaken(net)
    return net.requires_grad_(False)


@pytest.mark.parametrize("size", [(16, 8), (9, 7)])
@pytest.mark.parametrize("family", ["sd15", "sdxl", "pixels"])
@pytest.mark.parametrize("kind", BRANCHES.names())
def test_a_signal_for_every_skip(models: Any, kind: str, family: str, size: tuple[int, int]) -> None:
    unet = models.unet(family)
    net = some_net(models, unet, models.factor(family), kind=kind)
    inputs: Inputs = models.inputs(unet, size=size)
    signals = net.branch(net.embed(models.condition(family, size=size)), *inputs)
    skips = encode(unet, *inputs).skips
    assert {name: signal.shape for name, signal in signals.items()} == {
        name: skip.shape for name, skip in skips.items()
    }
    assert all(signal.std() > 1e-4 for signal in signals.values())


@pytest.mark.parametrize("kind", BRANCHES.names())
def test_the_middle_only(models: Any, kind: str) -> None:
    unet = models.unet("sd15")
    net = some_net(models, unet, kind=kind, sites="middle")
    inputs: Inputs = models.inputs(unet)
    condition = models.condition("sd15")
    assert net.sites == sites(unet)[-1:]
    assert list(Control(net, condition).deltas(encode(unet, *inputs), *inputs)) == ["middle"]
    assert not torch.equal(predict(unet, *inputs, controls=[Control(net, condition)]), predict(unet, *inputs))


def test_a_full_branch_hears_time_and_text_the_light_ones_do_not(models: Any) -> None:
    unet = models.unet("sd15")
    (sample, timestep, text), (_, _, other) = models.inputs(unet), models.inputs(unet, seed=8)
    for kind, hears in (("full", True), ("lite", False), ("mlp", False)):
        net = some_net(models, unet, kind=kind)
        hint = net.embed(models.condition("sd15"))
        said = net.branch(hint, sample, timestep, text)["middle"]
        for changed in ((sample, timestep + 1, text), (sample, timestep, other)):
            assert torch.equal(net.branch(hint, *changed)["middle"], said) != hears
        assert not torch.equal(net.branch(hint + 1, sample, timestep, text)["middle"], said)


def test_the_mlp_looks_at_one_pixel(models: Any) -> None:
    """What one place of the widest site says depends on that place of hint and sample alone."""
    unet = models.unet("sd15")
    net = some_net(models, unet, kind="mlp")
    hint = net.embed(models.condition("sd15")).requires_grad_()
    sample, timestep, text = models.inputs(unet)
    net.branch(hint, sample.requires_grad_(), timestep, text)["down.1"][:, :, 3, 5].sum().backward()
    for heard in (hint.grad, sample.grad):
        assert heard is not None
        touched = heard.abs().sum((0, 1)) > 0
        assert touched[3, 5]
        assert touched.sum() == 1


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("factor", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("hint", HINTS.names())
def test_hints_meet_the_sample(hint: str, factor: int, channels: int) -> None:
    encoder = HINTS[hint](channels, 24, factor, "gaussian", ())
    assert encoder(torch.rand(2, channels, 6 * factor, 4 * factor)).shape == (2, 24, 6, 4)


def test_the_hint_encoder_of_the_code() -> None:
    """Eight 3×3 convolutions, 16-16-32-32-96-96-256-320, the last zero; two less for a factor of 4."""

    def widths(factor: int) -> list[int]:
        encoder: Any = HINTS["code"](3, 320, factor, "zero", ())
        layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
        assert all(layer.kernel_size == (3, 3) for layer in layers)
        assert [layer for layer in layers if not layer.weight.any()] == [encoder.conv_out]
        ordered = [encoder.conv_in, *encoder.blocks, encoder.conv_out]
        return [layer.out_channels for layer in ordered]

    assert widths(8) == [16, 16, 32, 32, 96, 96, 256, 320]
    assert widths(4) == [16, 16, 32, 32, 96, 320]
    assert widths(1) == [16, 320]


def test_the_hint_encoder_of_the_paper() -> None:
    """Four 4×4 convolutions 16-32-64-128, the first with stride 1, ReLU, then a zero 1×1 to 320: 512 → 64."""
    encoder = HINTS["paper"](3, 320, 8, "zero", ())
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [16, 32, 64, 128, 320]
    assert [layer.kernel_size[0] for layer in layers] == [4, 4, 4, 4, 1]
    assert [layer.stride[0] for layer in layers] == [1, 2, 2, 2, 1]
    assert [bool(layer.weight.any()) for layer in layers] == [True] * 4 + [False]
    with torch.device("meta"):
        assert HINTS["paper"](3, 320, 8, "zero", ())(torch.empty(1, 3, 512, 512)).shape == (1, 320, 64, 64)


@pytest.mark.parametrize("hint", HINTS.names())
def test_widths_of_a_hint_encoder_can_be_chosen(models: Any, hint: str) -> None:
    net = some_net(models, models.unet("sd15"), hint=hint, hint_widths=(8, 8, 16, 16))
    assert net.embed(torch.rand(1, 3, 64, 64)).shape == (1, 32, 8, 8)


def test_taps() -> None:
    torch.manual_seed(0)
    zero, gaussian = (tap(kind, 256) for kind in ("zero", "gaussian"))
    assert not any(parameter.any() for parameter in zero.parameters())
    assert_close(gaussian.weight.std(), torch.tensor(256**-0.5), rtol=0.02, atol=0)
    assert gaussian.bias is not None
    assert not gaussian.bias.any()
    assert TAPS.names() == ["gaussian", "zero"]


def test_pooling_says_the_same_everywhere(models: Any) -> None:
    unet = models.unet("sd15")
    inputs: Inputs = models.inputs(unet)
    condition = models.condition("sd15")
    plain, pooled = some_net(models, unet), some_net(models, unet, pool=True)
    pooled.branch.load_state_dict(plain.branch.state_dict())
    for name, signal in plain.branch(plain.embed(condition), *inputs).items():
        expected = signal.mean((2, 3), keepdim=True).expand_as(signal)
        assert_close(pooled.branch(pooled.embed(condition), *inputs)[name], expected)


def test_a_network_is_built_where_its_base_is(models: Any) -> None:
    unet = models.unet("sd15").to(torch.float64)
    assert {parameter.dtype for parameter in build(unet, 8).parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("factor", "branch", "message"),
    [
        (8, {"kind": "ful"}, "did you mean 'full'"),
        (8, {"tap": "zeros"}, "did you mean 'zero'"),
        (8, {"hint": "papers"}, "did you mean 'paper'"),
        (6, {}, "power of two"),
        (8, {"hint_widths": (16, 32)}, "give 4 widths"),
        (32, {"hint": "paper"}, "at least 5"),
    ],
)
def test_mistakes_are_named(models: Any, factor: int, branch: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(models.unet("sd15"), factor, ControlConfig(branch=BranchConfig.model_validate(branch)))


def test_a_map_of_other_channels_is_refused(models: Any) -> None:
    net = some_net(models, models.unet("sd15"), hint_channels=1)
    with pytest.raises(InputError, match=r"B×1×H×W, not 2×3×128×64"):
        net.embed(models.condition("sd15"))


def test_a_map_of_another_size_is_refused(models: Any) -> None:
    unet = models.unet("sd15")
    inputs: Inputs = models.inputs(unet)
    control = Control(some_net(models, unet), models.condition("sd15", size=(8, 8)))
    with pytest.raises(InputError, match="as large as the picture"):
        predict(unet, *inputs, controls=[control])


@pytest.mark.parametrize(
    ("made_for", "base"), [("sdxl", "sd15"), ("sd15", "sdxl"), ("sd15", "sd21"), ("pixels", "sd15")]
)
def test_a_control_of_another_family_is_refused(models: Any, made_for: str, base: str) -> None:
    unet = models.unet(base)
    inputs: Inputs = models.inputs(unet)
    net = some_net(models, models.unet(made_for), models.factor(made_for), kind="mlp")
    with pytest.raises(ConfigError, match="made for this base"):
        predict(unet, *inputs, controls=[Control(net, models.condition(made_for))])
