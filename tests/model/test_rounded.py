"""8-bit products: what they cost, which layers are left alone, and what is learned from watching."""

from typing import Any

import torch
from torch import nn
from torch.testing import assert_close

from underdraw.model import ControlConfig, build, overlaid, predict
from underdraw.model.rounded import Ranges, rounded, watched


@torch.no_grad()
def test_a_product_of_rounded_numbers() -> None:
    """Within half a step of weights and features; what lies beyond a range is cut off."""
    torch.manual_seed(0)
    for layer, features in (
        (nn.Conv2d(6, 8, 3, padding=1, stride=2), torch.randn(2, 6, 7, 5)),
        (nn.Linear(6, 8, bias=False), torch.randn(2, 9, 6)),
    ):
        module, ranges = nn.ModuleDict({"layer": layer}), Ranges()
        with overlaid(watched(module, ranges)):
            layer(features)
            layer(features / 2)
        assert ranges == {"layer": (float(features.min()), float(features.max()))}
        plain = layer(features)
        with overlaid(rounded(module, ranges)):
            near = layer(features)
            cut = layer(10 * features)
        assert 0 < float((near - plain).abs().max()) < 0.05 * float(plain.abs().max())
        step = (ranges["layer"][1] - ranges["layer"][0]) / 255
        assert_close(cut, layer(10 * features.clamp(*ranges["layer"]) / 10), atol=200 * step, rtol=1.0)
        assert torch.equal(layer(features), plain)


@torch.no_grad()
def test_a_prediction_of_rounded_layers(models: Any) -> None:
    """It is near; the first and last layers, the time's, the text's, hints and taps stay as they are."""
    unet = models.unet("sd15")
    net = build(unet, 8, ControlConfig())
    sample, timestep, text = models.inputs(unet)
    ranges: Ranges = {}
    with overlaid(watched(unet, ranges)):
        plain = predict(unet, sample, timestep, text)
    with overlaid(rounded(unet, ranges)):
        near = predict(unet, sample, timestep, text)
    assert 0 < float((near - plain).abs().mean()) < 0.1 * float(plain.abs().mean())
    assert all(low <= 0 <= high for low, high in ranges.values())
    left = {name for name, layer in unet.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)} - ranges.keys()
    ends = {".".join(name.split(".")[-2:]) for name in left}
    assert ends == {
        *("conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"),
        *("attn2.to_k", "attn2.to_v", *(f"{place}.time_emb_proj" for place in range(3))),
    }
    assert not any("controlnet_" in name for name, _ in net.branch.named_modules() if name in {*_names(net.branch)})


def _names(module: nn.Module) -> list[str]:
    known = {id(layer): name for name, layer in module.named_modules()}
    return [known[id(layer)] for layer, _, _ in watched(module, {})]
