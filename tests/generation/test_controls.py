"""`KIND=PATH[,…]` and what it becomes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from underdraw import images
from underdraw.errors import CheckpointError, ConfigError, InputError
from underdraw.formats.conditions import About, write_about
from underdraw.generation import (
    PRESETS,
    ControlRequest,
    Guide,
    Studio,
    control_kinds,
    layer_curve,
    make_map,
    read_source,
)
from underdraw.generation.provenance import pack_map, unpack_map
from underdraw.generation.sizes import enlarged, fitting_size, native_size, nearest_size, reduced, unit
from underdraw.model import sites


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("canny=a.png", ControlRequest("canny", "a.png")),
        ("canny=a.png,map", ControlRequest("canny", "a.png", is_map=True)),
        ('depth="a, b=c.png",weight=0.5,end=.8', ControlRequest("depth", "a, b=c.png", weight=0.5, end=0.8)),
        ("canny=a=b.png, start=0.1 , weight=-1", ControlRequest("canny", "a=b.png", weight=-1, start=0.1)),
        ("canny=a.png,preset=Guess Mode", ControlRequest("canny", "a.png", preset="guess mode")),
        ("canny=a.png,curve=soft,side=conditional", ControlRequest("canny", "a.png", curve="soft", side="conditional")),
        ("canny=a.png,curve=64/h,side=0.3", ControlRequest("canny", "a.png", curve="64/h", side=0.3)),
        ("canny=a.png,curve=1:0.5:.2", ControlRequest("canny", "a.png", curve=(1.0, 0.5, 0.2))),
        ("canny=a.png,times=1:0,scale=2", ControlRequest("canny", "a.png", times=(1.0, 0.0), scale=2.0)),
        ('canny=a.png,"mask=b, c.png"', ControlRequest("canny", "a.png", mask="b, c.png")),
    ],
)
def test_parse(text: str, expected: ControlRequest) -> None:
    assert ControlRequest.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo.png", "is not KIND=PATH"),
        ("canny=", "is not KIND=PATH"),
        ("=a.png", "is not KIND=PATH"),
        ("canny=,map", "names no file"),
        ("cany=a.png", "unknown annotator 'cany'; did you mean 'canny'"),
        ("canny=a.png,wieght=1", "unknown part 'wieght=1'; did you mean 'weight'"),
        ("canny=a,b.png", r"unknown part 'b.png'; .*a comma in a path is quoted"),
        ("canny=a.png,weight=loud", "weight is 'loud', which is not a number"),
        ("canny=a.png,weight", "weight is '', which is not a number"),
        ("canny=a.png,weight=nan", "weight=nan makes no sense"),
        ("canny=a.png,weight=inf", "weight=inf makes no sense"),
        ("canny=a.png,start=0.8,end=0.2", "start=0.8 and end=0.2 make no sense"),
        ("canny=a.png,start=nan", "start=nan and end=1 make no sense"),
        ("canny=a.png,end=1.5", "give 0 <= start <= end <= 1"),
        ("canny=a.png,map=1", "'map' takes no value"),
        ('canny="a.png', "quotes do not close"),
        ("canny=a.png,preset=guses mode", "unknown control preset 'guses mode'; did you mean 'guess mode'"),
        ("canny=a.png,curve=sfot", "unknown layer curve 'sfot'; did you mean 'soft'"),
        ("canny=a.png,curve=1:x", "curve is '1:x', which is not a number"),
        ("canny=a.png,side=left", "side='left' is not both, conditional or a number"),
        ("canny=a.png,times=", "times is '', which is not a number"),
        ("canny=a.png,scale=nan", "curve, times and scale are numbers"),
    ],
)
def test_each_mistake_names_its_part(text: str, message: str) -> None:
    with pytest.raises((ConfigError, InputError), match=message):
        ControlRequest.parse(text)


def test_thin_lines_survive(tmp_path: Path) -> None:
    """A map of thin lines is reduced by maximum: every line is still there, and white."""
    lines = torch.zeros(1, 256, 256)
    lines[:, 128], lines[:, :, 37] = 1, 1
    images.write(lines, tmp_path / "lines.png")
    request = ControlRequest("canny", str(tmp_path / "lines.png"), is_map=True)
    small = make_map(request, read_source(request), (32, 32))
    assert small.shape == (1, 1, 32, 32)
    assert bool((small[0, 0, 16] == 1).all() and (small[0, 0, :, 4] == 1).all())
    assert small.sum() == 63


def test_depth_comes_from_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "field.npy", np.linspace(0, 7, 64 * 64).reshape(64, 64))
    request = ControlRequest("depth", str(tmp_path / "field.npy"))
    found = make_map(request, read_source(request), (16, 16))
    assert found.shape == (1, 1, 16, 16) and found.min() < 0.05 and found.max() > 0.95
    with pytest.raises(InputError, match="not a picture"):
        read_source(ControlRequest("canny", str(tmp_path / "field.npy")))


def test_a_map_survives_its_packing(studio: Studio, tmp_path: Path) -> None:
    images.write(torch.rand(3, 40, 40), tmp_path / "field.png")
    request = ControlRequest("depth", str(tmp_path / "field.png"), 0.7, 0.1, 0.9, is_map=True)
    guide = studio.guide(request, (32, 32))
    assert torch.equal(unpack_map(guide, "x"), make_map(request, read_source(request), (32, 32)))
    assert (guide.kind, guide.weight, guide.start, guide.end, guide.source) == ("depth", 0.7, 0.1, 0.9, "field.png")


def test_what_is_said_lies_over_the_preset(studio: Studio, tmp_path: Path) -> None:
    images.write(torch.rand(3, 40, 40), tmp_path / "a.png")
    images.write(torch.eye(40)[None], tmp_path / "m.png")
    text = (
        f"canny={tmp_path / 'a.png'},preset=controlnet is more important,side=0.5,times=1:0,mask={tmp_path / 'm.png'}"
    )
    guide = studio.guide(ControlRequest.parse(text), (32, 32))
    assert (guide.curve, guide.side, guide.times, guide.mode) == ("soft", 0.5, (1.0, 0.0), "custom")
    (control,) = studio.controls([[guide]], (32, 32))
    assert control.unconditional == 0.5 and control.times == (1.0, 0.0)
    assert control.curve == tuple(0.825 ** (4 - place) for place in range(5))
    assert control.mask is not None and control.mask.shape == (1, 1, 32, 32) and 0 < control.mask.mean() < 0.2


@pytest.mark.parametrize("name", PRESETS.names())
def test_presets_are_known_again(studio: Studio, name: str) -> None:
    """A recipe's curve and side say which preset it was."""
    guide = studio.guide(ControlRequest("canny", torch.rand(3, 32, 32), preset=name), (32, 32))
    assert guide.mode == name


def test_the_curves_of_stable_diffusion(models: Any) -> None:
    """The three soft curves of today's tools, and the paper's: 64/h of heights 64, 64, 64, 32, … 8."""
    places = sites(models.unet("sd15"))
    assert layer_curve("flat", places) == ()
    assert layer_curve("soft", places) == pytest.approx([0.825 ** (12 - place) for place in range(13)])
    assert layer_curve("guess", places) == pytest.approx(torch.logspace(-1, 0, 13).tolist())
    heights = [64] * 3 + [32] * 3 + [16] * 3 + [8] * 4
    assert layer_curve("64/h", places) == tuple(64 / height for height in heights)
    assert layer_curve(tuple(range(13)), places) == tuple(range(13))
    with pytest.raises(ConfigError, match="has 2 numbers, and this control speaks at 13 places"):
        layer_curve((1.0, 2.0), places)


def test_a_hole_in_a_map_survives_its_packing(tmp_path: Path) -> None:
    """ControlNet-inpaint marks what is hidden with -1."""
    shown = torch.round(torch.rand(1, 3, 16, 16) * 255) / 255
    shown[..., 4:8] = -1
    guide = Guide(kind="inpaint", map=pack_map(shown))
    assert torch.equal(unpack_map(guide, "x"), shown)


def test_nets_are_found_beside_the_base(studio: Studio, base: Path, tmp_path: Path) -> None:
    assert control_kinds(base) == ["canny", "depth"]
    with pytest.raises(ConfigError, match=r"no ControlNet for 'pose' beside base 'tiny'; there is canny, depth"):
        studio.net("pose")
    with pytest.raises(ConfigError, match="there is none"):
        Studio(studio.backbone, tmp_path, "bare").net("canny")


def test_one_net_may_take_a_family_of_kinds(base: Path, tmp_path: Path) -> None:
    """It says so in its `about.json`; a net for one kind comes first, and kinds of one condition share a net."""
    shutil.copytree(base, tmp_path / "tiny")
    family = tmp_path / "tiny" / "controlnet-family"
    shutil.copytree(base / "controlnet-depth", family)
    write_about(About(conditions=("canny", "scribble", "luminance")), family)
    assert control_kinds(tmp_path / "tiny") == ["canny", "depth", "luminance", "scribble"]
    studio = Studio.open(str(tmp_path / "tiny"), device="cpu")
    assert studio.nets.open("scribble").about.conditions == ("canny", "scribble", "luminance")
    assert studio.net("scribble") is studio.net("sketch") is studio.net("luminance") is studio.net("intensity")
    assert studio.net("canny") is not studio.net("scribble")
    assert studio.net_hash("scribble") == studio.net_hash("sketch") != studio.net_hash("canny")
    with pytest.raises(ConfigError, match=r"no ControlNet for 'tile' .* there is canny, depth, luminance, scribble"):
        studio.net("tile")
    (family / "about.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"about\.json is broken"):
        control_kinds(tmp_path / "tiny")


def test_sizes(studio: Studio) -> None:
    backbone = studio.backbone
    assert unit(backbone) == 8 and native_size(backbone) == (32, 32)
    assert nearest_size(backbone, (33, 36)) == (32, 40)
    assert nearest_size(backbone, (1, 3000)) == (8, 3000)
    assert fitting_size(backbone, (500, 500)) == (32, 32)
    assert fitting_size(backbone, (2000, 1000)) == (48, 24)
    assert fitting_size(backbone, (1000, 2000)) == (24, 48)


@pytest.mark.parametrize("scale", [1.0, 1.3, 1.5, 2.0, 3.7])
def test_a_second_pass_knows_the_size_of_its_first(studio: Studio, scale: float) -> None:
    for side in (8, 24, 40, 64):
        large = enlarged(studio.backbone, (side, 48), scale)
        assert all(each % 8 == 0 for each in large) and reduced(studio.backbone, large, scale) == (side, 48)
