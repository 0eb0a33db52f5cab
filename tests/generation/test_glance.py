"""Previews: near what the autoencoder gives, fitted once for it, and of any size."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional
from torch.testing import assert_close

from underdraw import images
from underdraw.generation import Studio, decode_frame
from underdraw.generation.glance import glance

PHOTOGRAPHS = sorted((Path(__file__).parents[2] / "examples" / "pictures" / "photographs").glob("*"))


@torch.no_grad()
def test_it_is_near_what_the_embedded_autoencoder_shows() -> None:
    """On photographs, which it was not fitted on; nearer than the pictures themselves at the latents' size."""
    backbone = Studio.open("embedded", "cpu").backbone
    pictures = torch.cat([images.resize(images.read(path), (160, 160), "area") for path in PHOTOGRAPHS])
    latents = backbone.encode_picture(pictures).mean
    exact, near = backbone.decode_latents(latents), glance(backbone, latents)
    blurred = functional.interpolate(images.resize(exact, (40, 40), "area"), (160, 160), mode="bicubic")
    assert near.shape == exact.shape
    assert 0 < float((near - exact).square().mean()) < float((blurred - exact).square().mean())
    wide = glance(backbone, latents[:1].repeat(1, 1, 1, 2)[..., :44])
    assert wide.shape == (1, 3, 160, 176)
    assert_close(wide[..., :156], near[:1, :, :, :156])
    small = latents[..., :16, :32]
    assert torch.equal(glance(backbone, small), decode_frame(backbone, small))


def test_it_goes_with_its_autoencoder(base: Path, studio: Studio) -> None:
    """Fitted once, and let go; samples that are pictures need none."""
    once = Studio.open(str(base), "cpu")
    latents = torch.randn(1, 4, 40, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(glance(once.backbone, latents), glance(once.backbone, latents))
    gone = weakref.ref(once.backbone.vae)
    del once
    gc.collect()
    assert gone() is None
    samples = torch.randn(1, 3, 160, 160)
    assert_close(glance(replace(studio.backbone, vae=None), samples), (samples / 2 + 0.5).clamp(0, 1))
