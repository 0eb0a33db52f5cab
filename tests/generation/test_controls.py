"""`KIND=PATH[,…]` and what it becomes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from underdraw import images
from underdraw.errors import ConfigError, InputError
from underdraw.generation import ControlRequest, Studio, control_kinds, make_map, read_source
from underdraw.generation.recipe import unpack_map
from underdraw.generation.sizes import fitting_size, native_size, nearest_size, unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("canny=a.png", ControlRequest("canny", "a.png")),
        ("canny=a.png,map", ControlRequest("canny", "a.png", is_map=True)),
        ('depth="a, b=c.png",weight=0.5,end=.8', ControlRequest("depth", "a, b=c.png", weight=0.5, end=0.8)),
        ("canny=a=b.png, start=0.1 , weight=-1", ControlRequest("canny", "a=b.png", weight=-1, start=0.1)),
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


def test_nets_are_found_beside_the_base(studio: Studio, base: Path, tmp_path: Path) -> None:
    assert control_kinds(base) == ["canny", "depth"]
    with pytest.raises(ConfigError, match=r"no ControlNet for 'pose' beside base 'tiny'; there is canny, depth"):
        studio.net("pose")
    with pytest.raises(ConfigError, match="there is none"):
        Studio(studio.backbone, tmp_path, "bare").net("canny")


def test_sizes(studio: Studio) -> None:
    backbone = studio.backbone
    assert unit(backbone) == 8 and native_size(backbone) == (32, 32)
    assert nearest_size(backbone, (33, 36)) == (32, 40)
    assert nearest_size(backbone, (1, 3000)) == (8, 3000)
    assert fitting_size(backbone, (500, 500)) == (32, 32)
    assert fitting_size(backbone, (2000, 1000)) == (48, 24)
    assert fitting_size(backbone, (1000, 2000)) == (24, 48)
