import importlib
import importlib.util
import sys
from types import ModuleType

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from underdraw import images
from underdraw.annotators import ColourDistribution, ColourGrid, ColourPalette, Shuffle, build, extract
from underdraw.annotators.colour import _noise


def photograph(width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = cv2.resize(skimage.data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)
    return pixels


def tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return images.from_uint8(pixels)[None]


def cubic(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Rows of values at `size` places, bicubic (a = -3/4), pixel centres aligned, the ends repeated."""
    place = (np.arange(size) + 0.5) * len(values) / size - 0.5
    first = np.floor(place).astype(int)
    total = np.zeros((size, *values.shape[1:]))
    for step in range(-1, 3):
        away = np.abs(place - first - step)
        inner = (1.25 * away - 2.25) * away**2 + 1
        outer = ((-0.75 * away + 3.75) * away - 6) * away + 3
        total += np.where(away <= 1, inner, outer)[:, None] * values[(first + step).clip(0, len(values) - 1)]
    return total


def flow(seed: int, height: int, width: int, grain: int) -> list[NDArray[np.float64]]:
    """The original's two noises, from numpy's legacy global stream, without OpenCV."""
    state = np.random.get_state()
    np.random.seed(seed)
    grids = [np.random.uniform(0, 1, (height // grain + 2, width // grain + 2, 1))[..., 0] for _ in "xy"]
    np.random.set_state(state)
    whole = [cubic(cubic(grid, height + 2 * grain).T, width + 2 * grain).T for grid in grids]
    inner = [noise[grain : grain + height, grain : grain + width] for noise in whole]
    return [(noise - noise.min()) / (noise - noise.min()).max() for noise in inner]


@pytest.mark.parametrize("size", [(64, 96), (33, 21)])
def test_the_flow_is_the_original_s(size: tuple[int, int]) -> None:
    chance = np.random.RandomState(7)
    for expected in flow(7, *size, 20):
        assert np.abs(_noise(chance, *size, 20) - expected).max() < 1e-5


def test_shuffle_takes_each_pixel_from_where_the_flow_says() -> None:
    """Bilinear sampling by hand; OpenCV's weights are in steps of 1/32."""
    pixels = photograph()
    found = images.to_uint8(Shuffle(seed=7, grain=20)(tensor(pixels))[0])
    x, y = (noise * (side - 1) for noise, side in zip(flow(7, 64, 96, 20), (96, 64), strict=True))
    x, y = (np.round(place * 32) / 32 for place in (x, y))
    left, top = np.floor(x).astype(int).clip(max=94), np.floor(y).astype(int).clip(max=62)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = pixels[top, left] * (1 - across) + pixels[top, left + 1] * across
    lower = pixels[top + 1, left] * (1 - across) + pixels[top + 1, left + 1] * across
    differs = np.abs(found - (upper * (1 - down) + lower * down))
    assert np.quantile(differs, 0.95) <= 1 and differs.max() <= 9, "a flow on the edge of a step may round either way"


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """controlnet_aux's shuffle, by file: the package itself imports torchvision."""
    found = importlib.util.find_spec("controlnet_aux")
    if found is None or not found.submodule_search_locations:
        pytest.skip("controlnet_aux is not installed")
    package = ModuleType("controlnet_aux")
    package.__path__ = list(found.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "controlnet_aux", package)
    return importlib.import_module("controlnet_aux.shuffle")


@pytest.mark.parametrize("seed", [0, 12345])
def test_shuffle_equals_controlnet_aux_s(peer: ModuleType, seed: int) -> None:
    pixels = photograph(704, 512)
    np.random.seed(seed)
    expected = peer.ContentShuffleDetector()(pixels, output_type="np")
    assert np.array_equal(images.to_uint8(Shuffle(seed=seed)(tensor(pixels))[0]), expected)


def test_shuffle_leaves_the_world_s_random_numbers_alone() -> None:
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    extract("shuffle", tensor(photograph()), seed=3)
    assert np.random.get_state()[1].tolist() == before[0]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_shuffle_keeps_colours_and_loses_places() -> None:
    picture = tensor(photograph(256, 256))
    found = Shuffle()(picture)
    assert (found - picture).abs().mean() > 0.15
    assert (found.mean((2, 3)) - picture.mean((2, 3))).abs().max() < 0.15
    assert not torch.equal(found, Shuffle(seed=1)(picture))
    assert Shuffle(height=40, width=30)(picture).shape == (1, 3, 40, 30)
    assert extract("shuffle", picture, height=40, width=30).shape == picture.shape


@pytest.mark.parametrize("size", [(512, 512), (768, 512), (512, 650)])
def test_grid_cells_are_sixty_four_pixels_of_512(size: tuple[int, int]) -> None:
    """T2I-Adapter's: W // 64 × H // 64 by bicubic, back by nearest."""
    pixels = photograph(*size)
    found = images.to_uint8(build("t2ia_color_grid").map(tensor(pixels))[0])
    columns, rows = size[0] // 64, size[1] // 64
    few = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_CUBIC)
    across, down = np.arange(size[0]) * columns // size[0], np.arange(size[1]) * rows // size[1]
    assert np.array_equal(found, few[down][:, across])


def test_a_grid_means_the_same_at_every_size() -> None:
    picture = tensor(photograph(512, 512))
    large, small = extract("colour_grid", picture), extract("colour_grid", picture, (64, 64))
    assert torch.equal(large[..., 4::8, 4::8], small)
    assert len(small[0].flatten(1).T.unique(dim=0)) <= 64
    assert ColourGrid()(torch.rand(1, 3, 20, 30)).flatten(2).std(2).max() == 0, "at least one cell"


def bands() -> torch.Tensor:
    """Half white, a third red, a sixth blue."""
    colours = torch.tensor([[0.9, 0.9, 0.9]] * 3 + [[0.8, 0.1, 0.1]] * 2 + [[0.1, 0.2, 0.7]])
    return colours.repeat_interleave(8, 0).T[None, :, :, None].expand(1, 3, 48, 60)


def test_stripes_are_the_picture_s_colours_the_commonest_first() -> None:
    found = ColourPalette(colours=3)(bands())
    expected = torch.tensor([[0.9, 0.9, 0.9], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7]]).T[None, :, None]
    assert (found[..., 24, 10::20] - expected[..., 0, :]).abs().max() < 0.01
    assert torch.equal(found, found[:, :, :1].expand_as(found))
    assert len(ColourPalette(colours=12)(bands())[0].flatten(1).T.unique(dim=0)) == 3


def test_shares_and_regions() -> None:
    shares = ColourPalette(colours=3, layout="shares")(bands())[0, 2, 0]
    _, counts = shares.unique(return_counts=True)
    assert sorted(counts.tolist()) == [10, 20, 30]
    assert (ColourPalette(colours=3, layout="regions")(bands()) - bands()).abs().max() < 0.01
    poster = ColourPalette(colours=8, layout="regions")(tensor(photograph()))
    assert len(poster[0].flatten(1).T.unique(dim=0)) == 8


def test_distribution_says_which_colours_and_not_where() -> None:
    pixels = photograph()
    mixed = np.random.default_rng(0).permutation(pixels.reshape(-1, 3)).reshape(pixels.shape)
    assert torch.equal(ColourDistribution()(tensor(pixels)), ColourDistribution()(tensor(mixed)))
    found = images.to_uint8(ColourDistribution(blur=0)(tensor(pixels))[0])
    assert np.array_equal(np.sort(found.reshape(-1, 3), 0), np.sort(pixels.reshape(-1, 3), 0)), "all pixels, each once"
    lightness = cv2.cvtColor(found.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]
    assert (lightness.max(0)[:-1] <= lightness.min(0)[1:] + 1e-4).all(), "dark left, bright right"
