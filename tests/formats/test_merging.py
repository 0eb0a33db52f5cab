"""A base with LoRAs in its weights: the numbers that drawing with them has, in a file of its own."""

from pathlib import Path

import pytest
import torch
from torch import nn

from underdraw.errors import CheckpointError, ConfigError
from underdraw.formats.base_writing import write_base_file
from underdraw.formats.convert import Job, convert
from underdraw.formats.lora import load_lora, write_lora
from underdraw.formats.merging import Loud
from underdraw.formats.opening import open_base
from underdraw.model import Lora, attach, block_weights
from underdraw.model.adapters import LowRank

from ..generation.shelf import trained
from .tiny import base, parts, same


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow SDXL in half precision."""
    path = tmp_path_factory.mktemp("merging") / "base.safetensors"
    write_base_file(parts("sdxl"), path, torch.float16)
    return path


def test_merged_is_attached_and_saved(source: Path, tmp_path: Path) -> None:
    """To the bit, in the file's precision: two LoRAs, louder in some blocks, and otherwise in the text encoders."""
    host = base("sdxl")
    loud = [
        Loud(tmp_path / "first.safetensors", 0.8, 0.3),
        Loud(tmp_path / "second.safetensors", 0.5, 0.5, (1.0, 0.5, *[1.0] * 10)),
    ]
    for seed, each in enumerate(loud):
        write_lora(trained(host, seed), each.path)
    _, notes = convert(Job(source, tmp_path / "merged.safetensors", "original", loras=tuple(loud)))
    assert notes[0] == "merged: first at 0.8, second at 0.5"
    made, plain = open_base(tmp_path / "merged.safetensors"), open_base(source)
    assert not same(made.unet, plain.unet)
    for each in loud:
        adapters, blocks = load_lora(each.path, plain).adapters, block_weights(each.blocks) if each.blocks else {}
        for part, weight in (("unet", each.weight), ("text_encoder", each.text_weight)):
            half = Lora({name: adapter for name, adapter in adapters.items() if name.startswith(part)})
            attach(plain, half, weight, blocks).merge()
    for mine, other in zip((made.unet, *made.text_encoders), (plain.unet, *plain.text_encoders), strict=True):
        assert same(mine, other.half().float())


def test_what_does_not_fit(source: Path, tmp_path: Path) -> None:
    address = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    write_lora(Lora({address: LowRank.fresh(nn.Linear(768, 64), 2)}), tmp_path / "sd15.safetensors")
    loras = (Loud(tmp_path / "sd15.safetensors"),)
    with pytest.raises(
        CheckpointError, match=r"sd15\.safetensors can't change this base: it was made for text of width"
    ):
        convert(Job(source, tmp_path / "out.safetensors", "original", loras=loras))
    with pytest.raises(ConfigError, match="--lora puts LoRAs into a base"):
        convert(Job(tmp_path / "sd15.safetensors", tmp_path / "out.safetensors", "kohya", loras=loras))
    assert not (tmp_path / "out.safetensors").exists()
