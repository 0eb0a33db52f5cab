"""The same pictures by OpenVINO's runtime, nearly the same ones in 8 bits; what cannot be computed is refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw import Control
from underdraw.errors import ConfigError, MissingExtra
from underdraw.generation import Drawn, Reuse, Studio, verify
from underdraw.generation.drafts import ranges_of
from underdraw.generation.openvino import compiled_int8
from underdraw.generation.sampler import denoise, encode_prompts, start
from underdraw.model import Control as Steering
from underdraw.model import Lora, Text, attach, overlaid, predict, through
from underdraw.model.adapters import LowRank
from underdraw.model.rounded import rounded


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


def test_in_half_precision_it_follows_loras(base: Path) -> None:
    """There it converts a copy, which has to speak with them too."""
    pytest.importorskip("openvino")
    half = Studio.open(str(base), device="cpu", dtype="bfloat16")
    torch.manual_seed(0)
    address = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    adapter = LowRank.fresh(half.backbone.unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q, 2)
    torch.nn.init.normal_(adapter.up)
    bare = drawn(half)
    with attach(half.backbone, Lora({address: adapter.requires_grad_(False)}), weight=10):
        worn, found = drawn(half), drawn(half, backend="openvino")
    assert float((found - worn).abs().mean()) < 0.5 * float((worn - bare).abs().mean())


@torch.no_grad()
def test_in_8_bits_it_multiplies_integers(studio: Studio) -> None:
    """What torch gives with rounded numbers, by the processor's instructions for integers."""
    pytest.importorskip("openvino")
    unet, net = studio.backbone.unet, studio.net("canny")
    sample, when = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
    text = Text(torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(1)))
    control = Steering(net, torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)))
    engine = compiled_int8(studio.backbone, [net])
    with engine.at(0):
        found = through(engine, sample, when, text, [control])
    plain = predict(unet, sample, when, text, [control])
    with overlaid([*rounded(unet, ranges_of(studio.backbone)), *rounded(net.branch, ranges_of(studio.backbone, net))]):
        wanted = predict(unet, sample, when, text, [control])
    cost = float((wanted - plain).abs().mean())
    assert 0 < cost < 0.05 * float(plain.abs().mean())
    assert float((found - wanted).abs().mean()) < 0.5 * cost  # a value may be rounded the other way
    for graph in (engine.first, engine.second):
        (compiled,) = graph.known.values()  # type: ignore[attr-defined]
        kinds = [each.get_rt_info()["primitiveType"].astype(str) for each in compiled.get_runtime_model().get_ops()]
        assert sum(kind.lower().endswith("_i8") for kind in kinds) > 10


def test_in_8_bits_it_draws_the_same_again(studio: Studio, tmp_path: Path) -> None:
    """Near the exact picture; alone as in company; steps that lean on others lie on it; and a recipe carries it."""
    pytest.importorskip("openvino")
    picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))

    def draw(seeds: list[int], **told: Any) -> list[Drawn]:
        return studio.draw("a", seeds=seeds, controls=[Control("canny", picture)], steps=3, **told)

    (exact,), both, (alone,) = draw([4]), draw([3, 4], backend="openvino-int8"), draw([4], backend="openvino-int8")
    assert 0 < float((alone.picture - exact.picture).abs().mean()) < 4 / 255
    assert_close(both[1].picture, alone.picture, atol=2 / 255, rtol=0.0)
    leaning = {"reuse": {"control": 2, "encoder": 2}}
    (ours,), (theirs,) = draw([4], backend="openvino-int8", **leaning), draw([4], **leaning)
    assert float((ours.picture - theirs.picture).abs().mean()) < 4 / 255
    alone.save(tmp_path / "out.png")
    assert verify(studio, tmp_path / "out.png").finding == "exact"
