"""The same pictures by OpenVINO's runtime; what cannot be computed there is refused, or left to torch."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw import Control
from underdraw.errors import ConfigError, MissingExtra
from underdraw.generation import Reuse, Studio, verify
from underdraw.generation.sampler import denoise, encode_prompts, start
from underdraw.model import Control as Steering
from underdraw.model import Lora, attach
from underdraw.model.adapters import LowRank


def drawn(studio: Studio, size: tuple[int, int] = (32, 32), **told: Any) -> Tensor:
    """Latents after three steps under two controls."""
    condition = torch.rand(1, 3, *size[::-1], generator=torch.Generator().manual_seed(1))
    net = studio.net("canny")
    controls = [Steering(net, condition, 0.8), Steering(net, 1 - condition, side=0.5)]
    noise, _ = start(studio.backbone, size, [1, 2])
    pull = encode_prompts(studio.backbone, ["a", "b"], size, 4.0)
    return list(denoise(studio.backbone, pull, noise, steps=3, controls=controls, **told))[-1].latents


def test_the_missing_extra_says_how_to_get_it(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"pip install 'underdraw\[openvino\]'"):
        drawn(studio, backend="openvino")


def test_what_it_cannot_compute_is_refused(base: Path) -> None:
    pytest.importorskip("openvino")
    half = Studio.open(str(base), device="cpu", dtype="float16")
    with pytest.raises(ConfigError, match="float32 or bfloat16"):
        drawn(half, backend="openvino")
    with pytest.raises(ConfigError, match="unknown backend 'openvin'"):
        half.draw("a", backend="openvin")


def test_it_draws_the_same(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At several sizes, with steps that lean on others; and a recipe carries it."""
    pytest.importorskip("openvino")
    unet = studio.backbone.unet
    for size in ((32, 32), (40, 24), (36, 28)):  # the last halves to a broken number
        assert_close(drawn(studio, size, backend="openvino"), drawn(studio, size), atol=1e-4, rtol=1e-4)

    stock = type(unet.conv_in).forward
    computed: list[int] = []

    def counted(layer: Any, sample: Tensor) -> Tensor:
        computed.append(1)
        result: Tensor = stock(layer, sample)
        return result

    reuse = Reuse(control=2, encoder=2)
    wanted = drawn(studio, reuse=reuse)
    monkeypatch.setattr(type(unet.conv_in), "forward", counted)
    found = drawn(studio, reuse=reuse, backend="openvino")
    maps = len(computed)
    assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    monkeypatch.undo()
    hints = studio.net("canny").branch.controlnet_cond_embedding.modules()
    assert maps == 2 * sum(isinstance(layer, torch.nn.Conv2d) for layer in hints)  # all else is computed there

    picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    (one,) = studio.draw("a", controls=[Control("canny", picture)], seeds=3, steps=3, backend="openvino")
    assert one.drawing.backend == "openvino"
    one.save(tmp_path / "out.png")
    assert verify(studio, tmp_path / "out.png").finding == "exact"


def test_it_follows_loras(studio: Studio) -> None:
    """Its graphs are made anew, with what is attached."""
    pytest.importorskip("openvino")
    unet = studio.backbone.unet
    torch.manual_seed(0)
    address = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    adapter = LowRank.fresh(unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q, 2)
    torch.nn.init.normal_(adapter.up)
    with attach(studio.backbone, Lora({address: adapter.requires_grad_(False)})):
        worn = drawn(studio)
        assert_close(drawn(studio, backend="openvino"), worn, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(worn, drawn(studio), atol=1e-3)
