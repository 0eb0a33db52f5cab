"""The split itself: where a U-Net can be touched, and what does not fit."""

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from underdraw.errors import ConfigError, InputError
from underdraw.model import Site, Text, decode, encode, sites

DOWN = (
    "down.0",
    "down.1",
    "down.2",
    "down.3",
    "down.4",
    "down.5",
    "down.6",
    "down.7",
    "down.8",
    "down.9",
    "down.10",
    "down.11",
)


def on_paper(models: Any, family: str, side: int) -> Any:
    """The encoding of a large sample, shapes only: on the meta device nothing is computed."""
    unet = models.unet(family).to("meta")
    sample, timestep, text = models.inputs(unet, batch=1, size=(side, side))
    with torch.device("meta"):
        encoding = encode(unet, sample.to("meta"), timestep.to("meta"), text.to("meta"))
    assert decode(unet, encoding).shape == sample.shape
    return unet, encoding


def test_stable_diffusion_at_512_pixels(models: Any) -> None:
    unet, encoding = on_paper(models, "sd15", 64)
    shapes = {name: tuple(skip.shape[1:]) for name, skip in encoding.skips.items()}
    assert list(shapes) == [*DOWN, "middle"]
    assert [height for _, height, _ in shapes.values()] == [64] * 3 + [32] * 3 + [16] * 3 + [8] * 3 + [8]
    assert [channels for channels, _, _ in shapes.values()] == [32] * 4 + [64] * 9
    assert_sites_tell_shapes(unet, shapes, 64)


def test_stable_diffusion_xl_at_1024_pixels(models: Any) -> None:
    unet, encoding = on_paper(models, "sdxl", 128)
    shapes = {name: tuple(skip.shape[1:]) for name, skip in encoding.skips.items()}
    assert list(shapes) == [*DOWN[:9], "middle"]
    assert [height for _, height, _ in shapes.values()] == [128] * 3 + [64] * 3 + [32] * 3 + [32]
    assert_sites_tell_shapes(unet, shapes, 128)


def test_pixel_space(models: Any) -> None:
    unet = models.unet("pixels")
    encoding = encode(unet, torch.randn(1, 3, 16, 16), 10)
    shapes = {name: tuple(skip.shape[1:]) for name, skip in encoding.skips.items()}
    assert shapes == {
        "down.0": (32, 16, 16),
        "down.1": (32, 16, 16),
        "down.2": (32, 8, 8),
        "down.3": (64, 8, 8),
        "middle": (64, 8, 8),
    }
    assert_sites_tell_shapes(unet, shapes, 16)


def assert_sites_tell_shapes(unet: Any, shapes: dict[str, tuple[int, ...]], side: int) -> None:
    told = {site.name: (site.channels, side // site.scale, side // site.scale) for site in sites(unet)}
    assert told == shapes


def test_keys_are_those_of_files() -> None:
    assert [Site("down.11", 1, 1).key, Site("middle", 1, 1).key] == ["11", "middle"]


def test_deltas_add_up(models: Any) -> None:
    unet = models.unet("sd15")
    encoding = encode(unet, *models.inputs(unet))
    one, two = ({"down.3": torch.full_like(encoding.skips["down.3"], value)} for value in (1.0, 2.0))
    changed = encoding.plus(one, two)
    assert torch.equal(changed.skips["down.3"], encoding.skips["down.3"] + 3)
    assert changed.skips["middle"] is encoding.skips["middle"]
    assert list(encoding.plus().skips.values()) == list(encoding.skips.values())


CONDITIONAL: dict[str, Any] = {"block_out_channels": (32, 32), "cross_attention_dim": 8}
TWO = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("num_class_embeds = 10", {"num_class_embeds": 10}),
        ("class_embed_type = 'timestep'", {"class_embed_type": "timestep"}),
        ("addition_embed_type = 'text'", {"addition_embed_type": "text", "addition_embed_type_num_heads": 2}),
        ("encoder_hid_dim_type = 'text_proj'", {"encoder_hid_dim": 4, "encoder_hid_dim_type": "text_proj"}),
        ("time_cond_proj_dim = 16", {"time_cond_proj_dim": 16}),
        ("time_embedding_act_fn = 'silu'", {"time_embedding_act_fn": "silu"}),
        ("center_input_sample = True", {"center_input_sample": True}),
        ("mid_block_type", {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}),
        ("down_block_types = 'KDownBlock2D'", {"down_block_types": ("CrossAttnDownBlock2D", "KDownBlock2D")}),
    ],
)
def test_what_does_not_fit_is_refused_by_name(named: str, settings: dict[str, Any]) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**CONDITIONAL | TWO | settings)
    for ask in (lambda: sites(unet), lambda: encode(unet, torch.zeros(1, 4, 8, 8), 0, Text(torch.zeros(1, 7, 8)))):
        with pytest.raises(ConfigError, match=named):
            ask()


def test_a_fourier_embedding_is_refused_by_name() -> None:
    unet = UNet2DModel(
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        time_embedding_type="fourier",
    )
    with pytest.raises(ConfigError, match="fourier"):
        encode(unet, torch.zeros(1, 3, 8, 8), 0)


def test_a_missing_middle_is_no_hindrance() -> None:
    """Distilled models leave the middle block out."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**CONDITIONAL | TWO | {"mid_block_type": None}).eval()
    sample, states = torch.randn(1, 4, 8, 8), torch.randn(1, 7, 8)
    with torch.no_grad():
        ours = decode(unet, encode(unet, sample, 5, Text(states)))
        assert torch.equal(ours, unet(sample, 5, states).sample)


def test_inputs_that_do_not_fit_are_named(models: Any) -> None:
    unet, sdxl, pixels = (models.unet(family) for family in ("sd15", "sdxl", "pixels"))
    sample, timestep, text = models.inputs(unet)
    with pytest.raises(InputError, match="none"):
        encode(unet, sample, timestep)
    with pytest.raises(InputError, match="sized"):
        encode(sdxl, sample, timestep, Text(torch.zeros(2, 7, 96)))
    with pytest.raises(InputError, match=r"hint of \(2, 32, 4, 4\).*needs \(2, 32, 16, 8\)"):
        encode(unet, sample, timestep, text, hint=torch.zeros(2, 32, 4, 4))
    with pytest.raises(InputError, match="6 injections"):
        encode(unet, sample, timestep, text, injections=[None] * 6)
    with pytest.raises(InputError, match="multiples of 2"):
        decode(pixels, encode(pixels, torch.zeros(1, 3, 9, 8), 0))
