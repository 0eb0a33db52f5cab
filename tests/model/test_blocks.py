"""Blocks as the original code and the web UIs count them."""

import math
from typing import Any

import pytest

from underdraw.errors import ConfigError, InputError
from underdraw.model import block_weights
from underdraw.model.blocks import BLOCKS, block_of
from underdraw.model.lora import layers


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("unet.conv_in", "IN00"),
        ("unet.down_blocks.0.attentions.0.proj_in", "IN01"),
        ("unet.down_blocks.0.resnets.1.conv1", "IN02"),
        ("unet.down_blocks.0.downsamplers.0.conv", "IN03"),
        ("unet.down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_q", "IN08"),
        ("unet.down_blocks.3.resnets.1.conv2", "IN11"),
        ("unet.mid_block.attentions.0.proj_out", "MID"),
        ("unet.up_blocks.0.upsamplers.0.conv", "OUT02"),
        ("unet.up_blocks.1.attentions.0.proj_in", "OUT03"),
        ("unet.up_blocks.3.attentions.2.proj_in", "OUT11"),
        ("control.down_blocks.1.attentions.0.proj_in", "IN04"),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1", "BASE"),
        ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1", "BASE"),
        ("unet.time_embedding.linear_1", "BASE"),
        ("unet.conv_out", "BASE"),
    ],
)
def test_block_of(address: str, block: str) -> None:
    assert block_of(address, layers=2) == block


@pytest.mark.parametrize(("family", "attended", "counts"), [("sd15", 17, 26), ("sdxl", 12, 20)])
def test_the_lists_cover_what_a_family_has(models: Any, family: str, attended: int, counts: int) -> None:
    """The long list has every block, the short one just those with attention."""
    addresses = [address for address, _ in layers({"unet": models.unet(family)})]
    blocks = {block_of(address, layers=2) for address in addresses if ".resnets." in address or "samplers" in address}
    assert blocks | {"BASE", "IN00"} == set(block_weights([1.0] * counts))
    transformers = {block_of(address, layers=2) for address in addresses if ".transformer_blocks." in address}
    assert transformers | {"BASE"} == set(block_weights([1.0] * attended))


def test_weights_keep_their_order() -> None:
    named = block_weights(range(17))
    assert (named["BASE"], named["IN01"], named["MID"], named["OUT03"], named["OUT11"]) == (0, 1, 7, 8, 16)
    assert list(block_weights(range(26))) == list(BLOCKS)


def test_mistakes() -> None:
    with pytest.raises(InputError, match="3 block weights mean nothing; give 12, 17, 20, 26"):
        block_weights([1, 2, 3])
    with pytest.raises(InputError, match="block MID"):
        block_weights([*[1.0] * 7, math.nan, *[1.0] * 9])
    from underdraw.model.blocks import check_blocks

    with pytest.raises(ConfigError, match="did you mean 'OUT03'"):
        check_blocks({"OUT3": 1.0})
