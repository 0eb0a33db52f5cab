"""The same pictures by torch's compiler, whose kernels are made once for each size."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.generation import Reuse, Studio
from underdraw.generation.parts import copied
from underdraw.generation.sampler import denoise, encode_prompts, start
from underdraw.model import Control, Lora, attach, predict
from underdraw.model.adapters import LowRank

SIZE = (32, 32)
ADDRESS = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def lora(studio: Studio) -> Lora:
    torch.manual_seed(0)
    unet = studio.backbone.unet
    adapter = LowRank.fresh(unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q, 2)
    torch.nn.init.normal_(adapter.up)
    return Lora({ADDRESS: adapter.requires_grad_(False)})


def drawn(studio: Studio, **told: Any) -> Tensor:
    condition = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    control = Control(studio.net("canny"), condition, 0.8)
    noise, _ = start(studio.backbone, SIZE, [1, 2])
    pull = encode_prompts(studio.backbone, ["a", "b"], SIZE, 4.0)
    return list(denoise(studio.backbone, pull, noise, steps=3, controls=[control], **told))[-1].latents.cpu()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
@pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)]
)
def test_it_draws_the_same(base: Path, device: str) -> None:
    """With steps that lean on others, and with LoRAs; a second drawing makes no kernels."""
    if device == "cpu" and not shutil.which("g++"):
        pytest.skip("there is no C++ compiler")
    studio, reuse = Studio.open(str(base), device=device), Reuse(control=2, encoder=2)
    plain = drawn(studio)
    assert_close(drawn(studio, backend="compile"), plain, atol=1e-4, rtol=1e-4)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert_close(drawn(studio, backend="compile"), plain, atol=1e-4, rtol=1e-4)
        assert_close(drawn(studio, backend="compile", reuse=reuse), drawn(studio, reuse=reuse), atol=1e-4, rtol=1e-4)
    with attach(studio.backbone, lora(studio)):
        worn = drawn(studio)
        assert_close(drawn(studio, backend="compile"), worn, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(worn, plain, atol=1e-3)
    assert_close(drawn(studio, backend="compile"), plain, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_copy_speaks_with_what_is_attached(studio: Studio) -> None:
    """Over the same weights, or over its own."""
    unet = studio.backbone.unet
    sample, when = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
    text = studio.backbone.encode_text(["a", "b"])
    bare = predict(unet, sample, when, text)
    with attach(studio.backbone, lora(studio)):
        worn = predict(unet, sample, when, text)
        assert not torch.equal(worn, bare)
        for shared in (True, False):
            twin: Any = copied(unet, shared)
            assert torch.equal(predict(twin, sample, when, text), worn)
            pairs = zip(unet.parameters(), twin.parameters(), strict=True)
            assert all((one is other) == shared for one, other in pairs)
