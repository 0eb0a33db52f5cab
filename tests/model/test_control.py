"""The knobs of a control: weight, mask, curve, span, and several at once."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import ConfigError, InputError
from underdraw.model import Control, ControlConfig, Text, build, decode, encode, predict

Inputs = tuple[Tensor, Tensor, Text | None]


@pytest.fixture
def scene(models: Any) -> Any:
    """(unet, inputs, control)."""
    unet = models.unet("sd15")
    net = build(unet, 8)
    models.awaken(net)
    return unet, models.inputs(unet), Control(net.requires_grad_(False), models.condition("sd15"))


def deltas(scene: Any, **knobs: Any) -> dict[str, torch.Tensor]:
    unet, inputs, control = scene
    said: dict[str, torch.Tensor] = Control(control.net, control.condition, **knobs).deltas(
        encode(unet, *inputs), *inputs
    )
    return said


def test_weights_scale(scene: Any) -> None:
    full, half, each = deltas(scene), deltas(scene, weight=0.5), deltas(scene, weight=torch.tensor([0.5, -2.0]))
    for name, delta in full.items():
        assert torch.equal(half[name], 0.5 * delta)
        assert torch.equal(each[name], torch.stack([0.5 * delta[0], -2 * delta[1]]))


def test_the_curve_weighs_each_site(scene: Any) -> None:
    full, curve = deltas(scene), tuple(0.825 ** (12 - site) for site in range(13))
    curved = deltas(scene, curve=curve, weight=2.0)
    for level, (name, delta) in zip(curve, full.items(), strict=True):
        assert_close(curved[name], 2 * level * delta)


def test_masks_reach_each_site_by_area(scene: Any) -> None:
    """A picture's left half is the left half of every site that has one, whatever the size of the mask."""
    full = deltas(scene)
    for height, width in ((128, 64), (16, 8), (100, 50), (2, 2)):
        mask = torch.zeros(1, 1, height, width)
        mask[..., : width // 2] = 1
        masked = deltas(scene, mask=mask)
        for name, delta in full.items():
            half = delta.shape[-1] // 2
            if half:
                assert_close(masked[name][..., :half], delta[..., :half])
                assert not masked[name][..., half:].any()
            else:
                assert_close(masked[name], 0.5 * delta)


def test_an_empty_mask_is_silent_and_a_full_one_is_none(scene: Any) -> None:
    full = deltas(scene)
    for name, delta in deltas(scene, mask=torch.ones(2, 1, 32, 32)).items():
        assert torch.equal(delta, full[name])
    assert not any(delta.any() for delta in deltas(scene, mask=torch.zeros(1, 1, 8, 8)).values())


def test_every_control_sees_the_locked_skips(scene: Any, models: Any) -> None:
    """With concat and attention a control looks at the skips; a second control must not change what it sees."""
    unet, first = scene[0], scene[2]
    inputs: Inputs = scene[1]
    encoding = encode(unet, *inputs)
    net = build(unet, 8, ControlConfig.model_validate({"fusion": {"kind": "concat"}}))
    models.awaken(net)
    torch.nn.init.normal_(net.get_parameter("fusions.3.weight"))
    second = Control(net.requires_grad_(False), first.condition)
    with torch.no_grad():
        alone = [control.deltas(encoding, *inputs) for control in (first, second)]
        both = encoding.plus(*alone)
        for name, skip in encoding.skips.items():
            assert_close(both.skips[name], skip + alone[0][name] + alone[1][name])
        assert torch.equal(predict(unet, *inputs, controls=[first, second]), decode(unet, both))


@pytest.mark.parametrize(
    ("knobs", "error", "message"),
    [
        ({"weight": float("nan")}, InputError, "weight"),
        ({"weight": torch.tensor([1.0, float("inf")])}, InputError, "weight"),
        ({"weight": torch.ones(2, 2)}, InputError, "weight"),
        ({"span": (0.7, 0.2)}, InputError, r"0\.7\.\.0\.2"),
        ({"span": (-0.1, 1.0)}, InputError, "span"),
        ({"span": (0.0, float("nan"))}, InputError, "span"),
        ({"side": "unconditional"}, ConfigError, "unconditional"),
        ({"curve": (1.0, 2.0)}, InputError, "13 numbers"),
        ({"mask": torch.ones(1, 3, 8, 8)}, InputError, "1×3×8×8"),
    ],
)
def test_mistakes_are_named(scene: Any, knobs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Control(scene[2].net, scene[2].condition, **knobs)
