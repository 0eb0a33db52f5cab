"""The knobs of a control: weight, mask, curve, span, and several at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import ConfigError, InputError
from underdraw.model import Control, ControlConfig, Text, build, decode, encode, join, predict, speaking

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
        ({"times": (1.0, float("nan"))}, InputError, "must be numbers"),
        ({"scale": float("inf")}, InputError, "must be numbers"),
        ({"side": float("nan")}, InputError, "must be numbers"),
        ({"mask": torch.ones(1, 3, 8, 8)}, InputError, "1×3×8×8"),
    ],
)
def test_mistakes_are_named(scene: Any, knobs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Control(scene[2].net, scene[2].condition, **knobs)


def test_times_are_straight_lines_over_the_drawing(scene: Any) -> None:
    control = Control(scene[2].net, scene[2].condition, weight=2.0, times=(1.0, 0.0, 0.5))
    assert [control.at(step, 5).weight for step in range(5)] == [2.0, 1.0, 0.0, 0.5, 1.0]
    assert control.at(0, 1).weight == 2.0
    assert [len(speaking([control], step, 5)) for step in range(5)] == [1, 1, 0, 1, 1]


def test_the_scale_enters_the_fusion(scene: Any, models: Any) -> None:
    """For add it is the weight; attention answers a louder signal in its own way."""
    for name, delta in deltas(scene, scale=0.5).items():
        assert_close(delta, deltas(scene, weight=0.5)[name])
    net = build(scene[0], 8, ControlConfig.model_validate({"fusion": {"kind": "attention"}}))
    models.awaken(net)
    keen = (scene[0], scene[1], Control(net.requires_grad_(False), scene[2].condition))
    loud, sharp = deltas(keen, weight=3.0), deltas(keen, scale=3.0)
    assert any(not torch.allclose(loud[name], sharp[name], rtol=1e-3, atol=1e-5) for name in loud)


@contextmanager
def rows_computed(net: torch.nn.Module) -> Iterator[list[int]]:
    """The batch sizes that a network is called with."""
    seen: list[int] = []
    handle = net.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[2])))
    yield seen
    handle.remove()


@pytest.mark.parametrize(
    ("weights", "computed"),
    [([1.0, 0.5], [2]), ([0.0, 0.5], [1]), ([0.3, 0.0], [1]), ([0.0, 0.0], [])],
)
def test_only_items_that_hear_it_are_computed(scene: Any, weights: list[float], computed: list[int]) -> None:
    """Today's tools compute a control at weight 0, and know one weight a net."""
    full = deltas(scene)
    with rows_computed(scene[2].net) as seen:
        told = deltas(scene, weight=torch.tensor(weights))
    assert seen == computed
    for name in told:
        for place, weight in enumerate(weights):
            assert_close(told[name][place], weight * full[name][place])


def test_a_mask_that_hides_it_from_an_item_spares_its_computation(scene: Any) -> None:
    mask = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    with rows_computed(scene[2].net) as seen:
        told = deltas(scene, mask=mask)
    assert seen == [1] and not any(delta[0].any() for delta in told.values())
    assert Control(scene[2].net, scene[2].condition, mask=torch.zeros(1, 1, 8, 8)).silent


def test_scattered_items_with_their_own_timesteps_and_texts(models: Any) -> None:
    unet = models.unet("sd15")
    net = build(unet, 8)
    models.awaken(net)
    sample, _, text = models.inputs(unet, 4)
    timestep = torch.tensor([900, 500, 300, 10])
    control = Control(net.requires_grad_(False), models.condition("sd15", 4))
    with torch.no_grad():
        encoding = encode(unet, sample, timestep, text)
        full = control.deltas(encoding, sample, timestep, text)
        some = replace(control, weight=torch.tensor([1.0, 0.0, 0.0, 2.0])).deltas(encoding, sample, timestep, text)
    for name, delta in some.items():
        assert_close(delta, full[name] * torch.tensor([1.0, 0.0, 0.0, 2.0]).reshape(-1, 1, 1, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", ["both", "conditional", 0.25])
def test_the_unconditional_half_hears_as_much_as_its_side_says(scene: Any, side: Any) -> None:
    unet, (sample, timestep, text), control = scene
    factor = {"both": 1.0, "conditional": 0.0}.get(side, side)
    twice = Control(control.net, control.condition, weight=torch.tensor([0.5, 2.0]), side=side).repeated(2, 2)
    both, when, words = torch.cat([sample, sample]), torch.cat([timestep, timestep]), join([text, text])
    alone = deltas(scene, weight=torch.tensor([0.5, 2.0]))
    for name, delta in twice.deltas(encode(unet, both, when, words), both, when, words).items():
        assert_close(delta, torch.cat([factor * alone[name], alone[name]]), rtol=1e-4, atol=1e-5)


def test_pooling_belongs_to_its_own_net(scene: Any, models: Any) -> None:
    """diffusers reads it from the first of several nets and then forces guess mode on all of them."""
    unet, inputs, plain = scene
    sample, timestep, text = inputs
    net = build(unet, 8, ControlConfig.model_validate({"branch": {"pool": True}}))
    models.awaken(net)
    pooled = Control(net.requires_grad_(False), plain.condition)
    with torch.no_grad():
        encoding = encode(unet, *inputs)
        flat, rough = pooled.deltas(encoding, *inputs), plain.deltas(encoding, *inputs)
        assert all(torch.equal(delta, delta[..., :1, :1].expand_as(delta)) for delta in flat.values())
        assert not torch.equal(rough["down.0"], rough["down.0"][..., :1, :1].expand_as(rough["down.0"]))
        for order in ((pooled, plain), (plain, pooled)):
            whole = encoding.plus(flat, rough)
            assert torch.equal(predict(unet, sample, timestep, text, order), decode(unet, whole))


def test_guess_mode_belongs_to_its_own_control(scene: Any) -> None:
    """One control on the conditional half and one on both: the unconditional half hears the second as it is alone."""
    unet, (sample, timestep, text), control = scene
    guess = Control(control.net, control.condition, side="conditional", curve=tuple(range(13)))
    both, when, words = torch.cat([sample, sample]), torch.cat([timestep, timestep]), join([text, text])
    pair = [each.repeated(2, 2) for each in (guess, control)]
    with torch.no_grad():
        unconditional, conditional = predict(unet, both, when, words, pair).chunk(2)
        assert_close(unconditional, predict(unet, sample, timestep, text, [control]), rtol=1e-4, atol=1e-5)
        assert_close(conditional, predict(unet, sample, timestep, text, [guess, control]), rtol=1e-4, atol=1e-5)


def test_spans_within_spans(scene: Any) -> None:
    """Each control has its own; the inner one neither ends nor stretches the outer one."""
    net, condition = scene[2].net, scene[2].condition
    outer, inner = Control(net, condition, span=(0.1, 0.9)), Control(net, condition, span=(0.4, 0.6))
    heard = [speaking([outer, inner], step, 10) for step in range(10)]
    assert [outer in each for each in heard] == [1 <= step < 9 for step in range(10)]
    assert [inner in each for each in heard] == [4 <= step < 6 for step in range(10)]


def test_a_base_that_sees_more_beside_the_latents(models: Any, scene: Any) -> None:
    """Five more channels (mask and masked picture) are the base's; a branch for four is shown the latents."""
    _, (sample, timestep, text), control = scene
    unet = UNet2DConditionModel(**models.config("sd15") | {"in_channels": 9}).requires_grad_(False)
    encoding = encode(unet, torch.cat([sample, torch.rand(2, 5, *sample.shape[2:])], dim=1), timestep, text)
    wide = torch.cat([sample, torch.rand(2, 5, *sample.shape[2:])], dim=1)
    for name, delta in control.deltas(encoding, wide, timestep, text).items():
        assert torch.equal(delta, control.deltas(encoding, sample, timestep, text)[name])


def test_a_window_of_a_control(scene: Any) -> None:
    unet, (sample, timestep, text), control = scene
    mask = torch.zeros(1, 1, 128, 64)
    mask[..., 32:] = 1
    window = (slice(4, 12), slice(2, 8))
    part = Control(control.net, control.condition, mask=mask).prepared().cut(window, (16, 8))
    hint = control.prepared().hint
    assert part.hint is not None and hint is not None and part.mask is not None
    assert torch.equal(part.hint, hint[..., 4:12, 2:8]) and torch.equal(
        part.mask[0, 0, 0], torch.tensor([0.0, 0, 1, 1, 1, 1])
    )
    small = sample[..., 4:12, 2:8]
    assert part.deltas(encode(unet, small, timestep, text), small, timestep, text)["down.0"].shape[2:] == (8, 6)
