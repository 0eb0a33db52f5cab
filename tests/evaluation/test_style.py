"""How much of a style a LoRA has learnt, and what control it costs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from underdraw.data.scenes import records
from underdraw.errors import InputError
from underdraw.evaluation.style import measure_style, style_gap
from underdraw.formats.lora import write_lora
from underdraw.generation import LoraRequest, Studio
from underdraw.model import LoraConfig, build_lora


def unit(*numbers: float) -> Tensor:
    noise = 0.05 * torch.randn(40, len(numbers), generator=torch.Generator().manual_seed(0))
    return torch.tensor(numbers) + noise - noise.mean(0)


def test_the_gap() -> None:
    style, plain = unit(1.0, 0.0, 0.0), unit(0.0, 1.0, 0.0)
    assert style_gap(style, plain, plain).value == pytest.approx(0)
    assert style_gap(style, plain, style).value == pytest.approx(100)
    half = style_gap(style, plain, (style + plain) / 2)
    assert half.value == pytest.approx(50) and half.low < 50 < half.high
    aside = style_gap(style, plain, plain + torch.tensor([0.0, 0.0, 1.0]))
    assert aside.value < 0, "another style is no way to this one"


@pytest.fixture
def see() -> Callable[[Tensor], Tensor]:
    return lambda pictures: functional.normalize(pictures.mean((2, 3)) - 0.5, dim=1)


def test_a_lora_is_measured_against_the_base_alone(see: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    """One whose factors are zero changes nothing: no gap is closed, and the edges are the same."""
    studio, rooms = Studio.open(device="cpu"), list(records(range(4), (64, 64)))
    write_lora(build_lora(studio.backbone, LoraConfig(rank=2)), tmp_path / "none.safetensors")
    grey = [replace(room, image=0.5 * room.image) for room in rooms]
    found = measure_style(studio, LoraRequest(str(tmp_path / "none.safetensors")), grey, rooms, see, steps=2)
    assert found.items == 4 and found.closed.value == pytest.approx(0, abs=1e-6)
    assert found.plain == found.worn and 0 < found.plain.value <= 1
    with pytest.raises(InputError, match="4 pictures of the style and 3 of what they show"):
        measure_style(studio, LoraRequest("x"), grey, rooms[:3], see)
