import cv2
import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from underdraw import images
from underdraw.annotators import Binary, Blur, Intensity, Invert, Luminance, Tile, build, extract

LIGHT = np.array([0.2126, 0.7152, 0.0722])
"""Luminance of linear sRGB."""


def photograph() -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = cv2.resize(skimage.data.coffee(), (96, 64), interpolation=cv2.INTER_AREA)
    return pixels


def tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return images.from_uint8(pixels)[None]


def seen(kind: str, **knobs: float | bool) -> NDArray[np.uint8]:
    """The map of the photograph as bytes H×W×C."""
    return images.to_uint8(build(kind, knobs)(tensor(photograph()))[0])


def lightness(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIE L* by its definition, 0 to 255."""
    share = pixels / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ LIGHT
    found: NDArray[np.float64] = np.where(linear > 216 / 24389, 116 * np.cbrt(linear) - 16, linear * 24389 / 27) * 2.55
    return found


def test_luminance_is_lightness() -> None:
    assert np.abs(seen("luminance")[..., 0] - lightness(photograph())).max() <= 1.5


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.7])
def test_the_published_recolor_maps(gamma: float) -> None:
    """Truncated to bytes, and luminance of BGR, as the A1111 extension and ComfyUI compute them."""
    swapped = cv2.cvtColor(photograph(), cv2.COLOR_BGR2LAB)[..., 0]
    assert np.abs(swapped - lightness(photograph()[..., ::-1])).max() <= 1.5
    for kind, plane in (("recolor_luminance", swapped), ("recolor_intensity", photograph().max(-1))):
        expected = ((plane.astype(np.float32) / 255.0) ** gamma * 255.0).astype(np.uint8)
        assert np.array_equal(seen(kind, gamma=gamma)[..., 0], expected)


def test_gamma_one_loses_no_level() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1)
    assert np.array_equal(images.to_uint8(Intensity()(tensor(ramp))[0])[..., 0], ramp[..., 0])
    assert np.abs(images.to_uint8(Luminance()(tensor(ramp))[0])[..., 0] - lightness(ramp)).max() <= 1


@pytest.mark.parametrize("sigma", [0.7, 9.0])
def test_blur_is_a_gaussian(sigma: float) -> None:
    reach = int(4 * sigma) + 1
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    wide = np.pad(photograph().astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    for axis in (0, 1):
        wide = np.apply_along_axis(lambda line: np.convolve(line, weights / weights.sum(), "valid"), axis, wide)
    assert np.abs(seen("blur_gaussian", sigma=sigma) - wide).max() <= 1.6


def test_tile_is_reduced_by_area_and_enlarged_bicubically() -> None:
    means = photograph().reshape(8, 8, 12, 8, 3).mean((1, 3))
    expected = cv2.resize((means + 1e-6).round().astype(np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
    assert np.abs(seen("tile", rate=8).astype(int) - expected).max() <= 1
    assert np.array_equal(seen("tile_resample"), photograph())
    assert np.array_equal(seen("tile", rate=1.05), photograph())
    assert Tile(rate=64)(torch.rand(1, 3, 8, 30)).flatten(2).std(2).max() == 0


def otsu(grey: NDArray[np.uint8]) -> int:
    """The level that separates best (greatest variance between the classes)."""
    best, level = -1.0, 0
    for cut in range(255):
        low, high = grey[grey <= cut], grey[grey > cut]
        if low.size and high.size:
            between = low.size * high.size * (low.mean() - high.mean()) ** 2
            best, level = max((best, level), (between, cut))
    return level


def test_binary_finds_otsu_s_level_or_takes_one() -> None:
    grey = cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    assert np.array_equal(seen("binary")[..., 0] > 0, grey > otsu(grey))
    assert np.array_equal(seen("binary", level=90)[..., 0] > 0, grey > 90)


def test_threshold_judges_by_the_darkest_channel() -> None:
    assert np.array_equal(seen("threshold")[..., 0] > 0, photograph().min(-1) > 127)
    assert np.array_equal(seen("threshold", level=40)[..., 0] > 0, photograph().min(-1) > 40)


def test_binary_stays_binary_at_every_size() -> None:
    found = extract("binary", tensor(photograph()), (41, 33), resolution=64)
    assert set(found.unique().tolist()) == {0.0, 1.0}


def test_ink_on_paper_becomes_light_on_dark_and_thin_lines_survive() -> None:
    paper = torch.ones(1, 3, 128, 128)
    paper[..., 40] = 0
    found = extract("invert", paper, (32, 32), resolution=128)
    assert (found[..., 10] == 1).all() and found.sum() == 3 * 32
    assert torch.equal(Invert()(Invert()(paper)), paper)


def test_one_condition_for_maps_that_one_network_hears() -> None:
    assert Luminance.condition == Intensity.condition == "recolor"
    assert Blur.condition == Tile.condition == "tile"
    assert Binary.condition == "binary"
