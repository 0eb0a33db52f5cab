"""Law 7. What drawings are quickened by gives the same numbers, follows the weights, and leaves nothing behind."""

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from underdraw.model import Control, ControlConfig, Quick, Text, build, predict
from underdraw.model.adapters import Layer, LowRank
from underdraw.model.chunked import attend, chunked
from underdraw.model.lora import Lora, attach, layers
from underdraw.model.once import halved, timed
from underdraw.model.overlay import overlaid
from underdraw.model.packed import packable, packed

FAMILIES = ("sd15", "sd21", "sdxl")
WHEN = torch.tensor([801, 401, 1])


cpu_kernels = pytest.mark.skipif(not list(packable(nn.Linear(2, 2))), reason="kernels of x86 processors")


def guided(models: Any, family: str) -> tuple[Any, Control, torch.Tensor, Text]:
    """A base, a control, and both halves of guidance for one sample."""
    unet = models.unet(family)
    net = build(unet, 8, ControlConfig())
    models.awaken(net)
    sample, _, text = models.inputs(unet)
    control = Control(net.requires_grad_(False), models.condition(family, batch=1)).prepared()
    return unet, control, torch.cat([sample[:1]] * 2), text


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_quick_is_the_same(models: Any, family: str) -> None:
    unet, control, sample, text = guided(models, family)
    quick = Quick(WHEN, torch.float32, unet, control.net)
    for step, timestep in enumerate(WHEN):
        plain = predict(unet, sample, timestep, text, [control])
        with quick.at(step):
            assert_close(predict(unet, sample, timestep, text, [control]), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_quick_in_half_precision_rounds_as_half_precision_does(models: Any, family: str) -> None:
    """It is as far from float32 as half precision itself is."""
    unet, control, sample, text = guided(models, family)
    exact = predict(unet, sample, WHEN[0], text, [control])
    unet.bfloat16(), control.net.bfloat16()
    control, sample, text = (
        Control(control.net, control.condition).prepared(),
        sample.bfloat16(),
        text.to(torch.bfloat16),
    )
    plain = predict(unet, sample, WHEN[0], text, [control])
    with Quick(WHEN, torch.bfloat16, unet, control.net).at(0):
        quick = predict(unet, sample, WHEN[0], text, [control])
    assert (quick - exact).abs().mean() < 1.25 * (plain - exact).abs().mean()


@torch.no_grad()
def test_other_halves_are_computed_both(models: Any) -> None:
    """Samples, weights and masks that differ from half to half: nothing is shared, nothing is mixed up."""
    unet, control, _, text = guided(models, "sd15")
    sample, _, _ = models.inputs(unet)
    loud = Control(control.net, models.condition("sd15"), weight=torch.tensor([0.5, 1.5]))
    for hears in (control, loud):
        plain = predict(unet, sample, WHEN[0], text, [hears])
        with Quick(WHEN, torch.float32, unet, control.net).at(0):
            assert_close(predict(unet, sample, WHEN[0], text, [hears]), plain, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_halves_share_what_precedes_the_text(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unet, _, sample, text = guided(models, "sd15")
    seen: list[int] = []
    stock = nn.Conv2d.forward

    def counted(self: nn.Conv2d, features: torch.Tensor) -> torch.Tensor:
        seen.append(len(features))
        return stock(self, features)

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    with overlaid(halved(unet)):
        predict(unet, sample, WHEN[0], text)
    assert seen[:4] == [1, 1, 1, 1] and set(seen[4:]) == {2}  # conv_in, two of the first residual, the way in


@torch.no_grad()
def test_time_is_embedded_once_a_schedule(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unet, control, sample, text = guided(models, "sd15")
    clock = [0]
    lays = timed(WHEN, clock, torch.float32, unet, control.net)
    monkeypatch.setattr(type(unet.time_embedding), "forward", lambda *_: pytest.fail("embedded again"))
    with overlaid(lays):
        embedded = predict(unet, sample, WHEN[0], text, [control])
        clock[0] = 1
        assert not torch.equal(predict(unet, sample, WHEN[1], text, [control]), embedded)


@cpu_kernels
@torch.no_grad()
def test_packed_copies_follow_the_weights(models: Any) -> None:
    unet, control, sample, text = guided(models, "sd15")
    quick = Quick(WHEN, torch.float32, unet, control.net)
    with quick.at(0):
        predict(unet, sample, WHEN[0], text, [control])
    for parameter in unet.down_blocks[0].parameters():
        parameter.mul_(1.5)
    plain = predict(unet, sample, WHEN[0], text, [control])
    with quick.at(0):
        assert_close(predict(unet, sample, WHEN[0], text, [control]), plain, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_loras_speak_over_quick_layers_once(models: Any) -> None:
    """Attached before or between two steps, on every layer; detached, they are gone."""
    unet, control, sample, text = guided(models, "sd15")
    torch.manual_seed(4)
    lora = Lora(
        {address: LowRank.fresh(layer, 2) for address, layer in layers({"unet": unet}) if isinstance(layer, Layer)}
    )
    models.awaken(lora)
    quick, bare = Quick(WHEN, torch.float32, unet, control.net), predict(unet, sample, WHEN[0], text, [control])
    with quick.at(0):
        predict(unet, sample, WHEN[0], text, [control])
    with attach({"unet": unet}, lora, 0.2):
        worn = predict(unet, sample, WHEN[0], text, [control])
        assert not torch.allclose(worn, bare, atol=1e-3)
        with Quick(WHEN, torch.float32, unet, control.net).at(0):
            assert_close(predict(unet, sample, WHEN[0], text, [control]), worn, atol=1e-5, rtol=1e-5)
    with quick.at(0):
        assert_close(predict(unet, sample, WHEN[0], text, [control]), bare, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_nothing_is_left_behind(models: Any) -> None:
    unet, control, sample, text = guided(models, "sd15")
    other = unet.conv_out.forward = lambda features: nn.Conv2d.forward(unet.conv_out, features)
    modules = [*unet.modules(), *control.net.modules()]
    before = [dict(vars(module)) for module in modules]
    plain = predict(unet, sample, WHEN[0], text, [control])
    with pytest.raises(RuntimeError, match="halfway"), Quick(WHEN, torch.float32, unet, control.net).at(0):
        assert unet.conv_in.forward != before[0].get("forward")
        raise RuntimeError("halfway")
    assert [dict(vars(module)) for module in modules] == before and unet.conv_out.forward is other
    assert torch.equal(predict(unet, sample, WHEN[0], text, [control]), plain)


@cpu_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_every_kind_of_layer_is_packed(dtype: torch.dtype) -> None:
    layers: list[tuple[nn.Module, torch.Tensor]] = [
        (nn.Conv2d(6, 9, 3, padding=1, stride=2), torch.randn(2, 6, 7, 5)),
        (nn.Conv2d(6, 8, 1, bias=False), torch.randn(3, 6, 7, 5).to(memory_format=torch.channels_last)),
        (nn.Conv2d(6, 6, 3, groups=3, dilation=2), torch.randn(1, 6, 9, 9)),
        (nn.Linear(6, 5), torch.randn(2, 3, 6)),
        (nn.Linear(6, 5, bias=False), torch.randn(4, 6, 2).transpose(1, 2)),
    ]
    for layer, sample in layers:
        layer, sample = nn.Sequential(layer.to(dtype)), sample.to(dtype)
        plain, lays = layer(sample), packed(layer)
        with overlaid(lays):
            tolerance = 1e-5 if dtype == torch.float32 else 1e-2
            assert_close(layer(sample), plain, atol=tolerance, rtol=tolerance)
            assert_close(layer(torch.cat([sample] * 3))[: len(sample)], plain, atol=tolerance, rtol=tolerance)
        assert all(getattr(pack, "copy", None) is not None for _, _, pack in lays) and lays
        with torch.enable_grad(), overlaid(lays):  # where gradients are wanted, the layer is itself
            assert layer(sample.requires_grad_()).requires_grad


@cpu_kernels
def test_no_more_is_packed_than_the_memory_has_room_for(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = models.unet("sd15")
    size = sum(layer.weight.numel() * 4 for layer in packable(unet))
    monkeypatch.setattr("underdraw.model.packed._free", lambda: 2 * size)
    layers = sorted(packable(unet), key=lambda layer: int(layer.weight.numel()))
    assert len(packed(unet)) == len(layers)
    monkeypatch.setattr("underdraw.model.packed._free", lambda: 2 * size - 1)
    assert [layer for layer, _, _ in packed(unet)] == layers[:-1]
    monkeypatch.setattr("underdraw.model.packed._free", lambda: 0)
    assert not packed(unet)


@torch.no_grad()
def test_attention_in_chunks_is_attention(models: Any) -> None:
    query, key, value = (torch.randn(2, 3, 600, 40, generator=torch.Generator().manual_seed(n)) for n in range(3))
    assert_close(attend(query, key, value), functional.scaled_dot_product_attention(query, key, value))
    torch.manual_seed(0)
    shape = models.config("sd15") | {"attention_head_dim": 1}  # one head, so that it is wide enough
    unet: Any = UNet2DConditionModel(**shape).requires_grad_(False).eval().bfloat16()
    sample, timestep, text = models.inputs(unet, size=(24, 24))
    assert len(chunked(unet)) == len([name for name, _ in unet.named_modules() if name.endswith("attn1")])
    with overlaid(chunked(unet)):
        quick = predict(unet, sample.bfloat16(), timestep, text.to(torch.bfloat16)).float()
    plain = predict(unet, sample.bfloat16(), timestep, text.to(torch.bfloat16)).float()
    exact = predict(unet.float(), sample, timestep, text)
    assert (quick - exact).abs().mean() < 1.25 * (plain - exact).abs().mean()
    assert not torch.equal(quick, plain)
