"""Parts that wait on the CPU come over while they work, and only then; the memory ladder of the autoencoder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from underdraw.errors import ConfigError
from underdraw.generation import Studio, Tiles, decode_frame
from underdraw.generation.memory import decoded_within
from underdraw.generation.parking import park
from underdraw.model import Backbone, load_control

META = torch.device("meta")
"""A device that every machine has: tensors there have shapes and no numbers."""


def places(module: nn.Module) -> set[str]:
    return {each.device.type for each in module.state_dict().values()}


@torch.no_grad()
def test_parts_come_over_and_their_own_numbers_stay(base: Path) -> None:
    backbone = Backbone.load(base)
    net = load_control(base / "controlnet-canny", backbone.unet)
    modules: list[nn.Module] = [backbone.text_encoders[0], backbone.vae, net]
    before = [{name: each.clone() for name, each in module.state_dict().items()} for module in modules]
    for module in modules:
        park(module, META)
    seen: list[set[str]] = []
    backbone.vae.decoder.conv_in.register_forward_hook(lambda layer, given, output: seen.append(places(layer)))
    states = backbone.encode_text(["a cat"]).states
    assert states.device == META
    assert backbone.vae.decode(torch.zeros(1, 4, 8, 8)).sample.device == META
    assert backbone.vae.encode(torch.zeros(1, 3, 32, 32)).latent_dist.mean.device == META
    hint = net.embed(torch.zeros(1, 3, 32, 32))
    signals = net.branch(hint, torch.zeros(1, 4, 8, 8, device=META), 3, type(backbone.empty_text())(states))
    assert {signal.device.type for signal in signals.values()} == {"meta"}
    assert seen == [{"meta"}]
    for module, told in zip(modules, before, strict=True):
        assert places(module) == {"cpu"}
        assert all(torch.equal(each, told[name]) for name, each in module.state_dict().items())


@torch.no_grad()
def test_after_a_failure_they_wait_again(base: Path) -> None:
    backbone = Backbone.load(base)
    park(backbone.vae, META)
    with pytest.raises(RuntimeError):
        backbone.vae.decode(torch.zeros(1, 5, 8, 8))
    assert places(backbone.vae) == {"cpu"}


def test_on_the_cpu_there_is_nothing_to_spare(base: Path) -> None:
    with pytest.raises(ConfigError, match="everything is drawn on the CPU here; leave it out"):
        Studio.open(str(base), "cpu", offload=True)


@pytest.mark.gpu
def test_with_and_without_it_the_pictures_are_the_same(base: Path) -> None:
    from underdraw.generation import ControlRequest

    device = "cuda" if torch.cuda.is_available() else "mps"
    request = ControlRequest("canny", torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), is_map=True)
    plain, parked = (
        Studio.open(str(base), device, offload=offload).draw("x", controls=[request], seeds=[1], steps=3)[0].picture
        for offload in (False, True)
    )
    assert torch.equal(plain, parked)


@pytest.mark.parametrize(("holds", "parts"), [(3, 1), (1, 3), (0.3, 27)])
def test_decoding_where_the_memory_is_short(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, holds: float, parts: int
) -> None:
    """All at once, picture by picture, in windows: whatever the memory holds."""
    decode, sizes = Backbone.decode_latents, []

    def tight(self: Backbone, latents: Tensor) -> Tensor:
        pixels = latents[:, 0].numel() / 64
        if pixels > holds:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        sizes.append(pixels)
        return decode(self, latents)

    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = decode_frame(studio.backbone, latents)
    monkeypatch.setattr(Backbone, "decode_latents", tight)
    pictures = decoded_within(studio.backbone, latents, None)
    assert pictures.shape == (3, 3, 32, 32) and len(sizes) == parts
    if holds >= 1:
        assert_close(pictures, whole, atol=1e-5, rtol=0)
    both = torch.stack([pictures.flatten(), whole.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.3, "an untrained autoencoder sees far, so its windows differ much"


def test_what_is_too_large_even_so(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Backbone, latents: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Backbone, "decode_latents", never)
    with pytest.raises(RuntimeError, match="out of memory"):
        decoded_within(studio.backbone, torch.zeros(1, 4, 8, 8), Tiles(16, 16))


def other(error: str) -> Any:
    def fails(self: Backbone, latents: Tensor) -> Tensor:
        raise RuntimeError(error)

    return fails


def test_other_errors_are_not_tried_again(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backbone, "decode_latents", other("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        decoded_within(studio.backbone, torch.zeros(1, 4, 8, 8), None)
