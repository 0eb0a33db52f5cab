"""Foreign names: total tables with an inverse, the published key lists, and what diffusers makes of them."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from underdraw.errors import CheckpointError
from underdraw.formats.families import UNET, VAE
from underdraw.formats.reading import shapes_of
from underdraw.formats.shapes import control_config, unet_config, vae_config
from underdraw.formats.tables import flip, joined, known, translate
from underdraw.formats.text_names import open_clip_from_original, open_clip_table, open_clip_to_original
from underdraw.formats.unet_names import control_table, unet_table
from underdraw.formats.vae_names import vae_from_original, vae_table, vae_to_original

from .tiny import HOME, real_control, real_unet, same_tensors, text, vae

FAMILIES = ["sd1", "sd2", "sdxl"]
MODULES = st.from_regex(r"[a-z]{1,3}(\.[a-z0-9]{1,3}){0,2}", fullmatch=True)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(MODULES, MODULES, max_size=8).filter(lambda table: len(set(table.values())) == len(table)))
def test_there_and_back_is_where_it_was(table: dict[str, str]) -> None:
    tensors = {f"{module}.weight": place for place, module in enumerate(table)}
    try:
        there = translate(tensors, table, HOME)
    except CheckpointError:
        pytest.fail("a table does not know its own modules")
    assert len(there) == len(tensors)
    assert flip(flip(table)) == table
    assert translate(there, flip(table), HOME) == tensors


def test_an_ambiguous_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ambiguous: c"):
        flip({"a": "c", "b": "c"})
    with pytest.raises(ValueError, match=r"speak of a"):
        joined({"a": "b"}, {"a": "c"})


def test_unknown_names_are_counted_and_named() -> None:
    tensors = {"a.weight": 1, "b.bias": 2, "c.d.weight": 3}
    with pytest.raises(CheckpointError, match=r"anywhere has unknown 2 tensors \(b.bias, c.d.weight\)"):
        translate(tensors, {"a": "x"}, HOME)
    assert known(tensors, {"a": "x"}) == ({"a.weight": 1}, ["b.bias", "c.d.weight"])


@pytest.mark.parametrize("family", FAMILIES)
def test_unets_of_the_real_shapes(family: str) -> None:
    """Every key of SD 1.5, 2.1 and SDXL, there and back; diffusers translates ours to the same."""
    unet = real_unet(family)
    tensors, table = dict(unet.state_dict()), unet_table(unet.config)
    original = translate(tensors, flip(table), HOME)
    assert same_shapes(translate(original, table, HOME), tensors)
    theirs = convert_ldm_unet_checkpoint({UNET + name: each for name, each in original.items()}, dict(unet.config))
    assert same_shapes(theirs, tensors)
    assert all(theirs[name] is tensors[name] for name in tensors)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_is_told_from_shapes(family: str) -> None:
    unet = real_unet(family)
    tensors = unet.state_dict()
    original = translate(tensors, flip(unet_table(unet.config)), HOME)
    told = unet_config(shapes_of(original))
    assert told == unet_config(shapes_of(tensors), "diffusers")
    assert {key: _plain(told[key]) for key in told} == {key: _plain(unet.config[key]) for key in told}


PUBLISHED = {
    "sd1": [f"input_blocks.{index}" for index in range(12)] + [f"zero_convs.{index}" for index in range(12)],
    "sdxl": [f"input_blocks.{index}" for index in range(9)] + [f"zero_convs.{index}" for index in range(9)],
}


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_branch_has_the_published_keys(family: str) -> None:
    net = real_control(family)
    original = translate(net.state_dict(), flip(control_table(net.config)), HOME)
    stems = {
        ".".join(name.split(".")[:2]) if name.count("_") and name[0] in "iz" else name.split(".")[0]
        for name in original
    }
    hints = [f"input_hint_block.{index}" for index in range(0, 15, 2)]
    labels = ["label_emb"] if family == "sdxl" else []
    assert stems == {*PUBLISHED[family], *hints, *labels, "middle_block", "middle_block_out", "time_embed"}
    assert original["input_hint_block.14.weight"].shape == (320, 256, 3, 3)
    assert original["middle_block_out.0.weight"].shape == original["zero_convs.8.0.weight"].shape == (1280, 1280, 1, 1)
    told = control_config(shapes_of(original))
    assert {key: _plain(told[key]) for key in told} == {key: _plain(net.config[key]) for key in told}
    assert told == control_config(shapes_of(net.state_dict()), "diffusers")


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_translates_a_branch_to_the_same(family: str) -> None:
    net = real_control(family)
    tensors = dict(net.state_dict())
    original = translate(tensors, flip(control_table(net.config)), HOME)
    theirs = convert_controlnet_checkpoint(dict(original), dict(net.config))
    # diffusers loses what tells a ControlNet of SDXL the picture's size; ours keeps it.
    lost = {name for name in tensors if name.startswith("add_embedding.")}
    assert theirs.keys() == tensors.keys() - lost
    assert bool(lost) == (family == "sdxl")
    assert all(theirs[name] is tensors[name] for name in theirs)
    assert translate(original, control_table(net.config), HOME).keys() == tensors.keys()


def test_autoencoders_of_the_real_shape() -> None:
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    with torch.device("meta"):
        model = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **kinds)
    tensors = dict(model.state_dict())
    original = vae_to_original(tensors, model.config, HOME)
    assert original["encoder.mid.attn_1.q.weight"].shape == (512, 512, 1, 1)
    assert {"decoder.up.3.block.2.norm1.weight", "encoder.down.2.downsample.conv.bias"} <= original.keys()
    theirs = convert_ldm_vae_checkpoint({VAE + name: each for name, each in original.items()}, dict(model.config))
    assert same_shapes(theirs, tensors)
    assert same_shapes(vae_from_original(original, model.config, HOME), tensors)
    assert vae_config(shapes_of(original)) == vae_config(shapes_of(tensors), "diffusers")


def test_an_autoencoder_comes_back_to_the_bit() -> None:
    model = vae()
    original = vae_to_original(model.state_dict(), model.config, HOME)
    assert same_tensors(vae_from_original(original, model.config, HOME), model.state_dict())
    theirs = convert_ldm_vae_checkpoint({VAE + name: each for name, each in original.items()}, dict(model.config))
    shapes = {name: each.shape for name, each in model.state_dict().items()}
    assert same_tensors({name: each.reshape(shapes[name]) for name, each in theirs.items()}, model.state_dict())


def test_the_old_names_of_the_attention_are_understood() -> None:
    model = vae()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = dict(model.state_dict())
    for new, before in old.items():
        for name in [name for name in renamed if f".{new}." in name]:
            renamed[name.replace(f".{new}.", f".{before}.")] = renamed.pop(name)
    assert same_tensors(
        vae_to_original(renamed, model.config, HOME), vae_to_original(model.state_dict(), model.config, HOME)
    )


@pytest.mark.parametrize("projected", [False, True])
def test_open_clip_as_diffusers_reads_it(projected: bool) -> None:
    """Fused projections, the transposed text projection, and other names, there and back."""
    model = text(64, "gelu", projected)
    tensors = {
        name if name.startswith("text_") else f"text_model.{name}": each for name, each in model.state_dict().items()
    }
    original = open_clip_to_original(tensors, 3, HOME)
    assert original["transformer.resblocks.1.attn.in_proj_weight"].shape == (192, 64)
    assert same_tensors(open_clip_from_original(original, 3, HOME), tensors)
    prefix = "conditioner.embedders.1.model."
    theirs = convert_open_clip_checkpoint(model, {prefix + name: each for name, each in original.items()}, prefix)
    assert same_tensors(theirs, tensors)
    assert len(flip(open_clip_table(3))) == len(open_clip_table(3))


def test_a_broken_projection_is_named() -> None:
    broken = {"transformer.resblocks.0.attn.in_proj_weight": torch.zeros(7, 2)}
    with pytest.raises(CheckpointError, match=r"in_proj_weight has 7 rows"):
        open_clip_from_original(broken, 1, HOME)


def test_tables_flip() -> None:
    kinds = {"block_out_channels": [8] * 4, "layers_per_block": 2}
    assert flip(flip(vae_table(kinds))) == vae_table(kinds)


def same_shapes(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return left.keys() == right.keys() and all(left[name].shape == right[name].shape for name in left)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
