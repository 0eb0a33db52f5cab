import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from underdraw.annotators import Canny, extract, given
from underdraw.errors import ConfigError


def noise(height: int = 60, width: int = 90) -> Tensor:
    rough = torch.rand(1, 3, height // 6, width // 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, (height, width), mode="bilinear")


def square(inside: tuple[float, float, float], outside: tuple[float, float, float]) -> Tensor:
    canvas = torch.tensor(outside).reshape(1, 3, 1, 1).repeat(1, 1, 32, 32)
    canvas[:, :, 8:24, 8:24] = torch.tensor(inside).reshape(1, 3, 1, 1)
    return canvas


@pytest.mark.parametrize(("low", "high"), [(100, 200), (20, 60), (0, 0), (255, 255)])
def test_equals_opencv(low: int, high: int) -> None:
    pixels = (noise()[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    expected = cv2.Canny(pixels, low, high)
    assert np.array_equal(Canny(low=low, high=high)(noise())[0, 0].numpy() * 255, expected)
    grey = cv2.Canny(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), low, high)
    assert np.array_equal(Canny(low=low, high=high, colour=False)(noise())[0, 0].numpy() * 255, grey)


def test_edges_are_white_on_black_and_where_the_jump_is() -> None:
    edges = Canny()(square((1, 1, 1), (0, 0, 0)))[0, 0]
    assert set(edges.flatten().tolist()) == {0.0, 1.0}
    assert edges[16].nonzero().flatten().tolist() in ([7, 23], [8, 24], [7, 24], [8, 23])
    assert edges[:5].sum() == edges[12:20, 12:20].sum() == 0


def test_colour_sees_what_brightness_does_not() -> None:
    """Red and green of one brightness: 0.299 · 0.8 = 0.587 · 0.4075."""
    even = square((0.8, 0, 0), (0, 0.4075, 0))
    assert Canny(colour=False)(even).sum() == 0
    assert Canny()(even).sum() > 50


def test_resolution_looks_closer_and_lines_survive_the_reduction() -> None:
    fine = torch.zeros(1, 3, 256, 256)
    fine[..., 96:160, 128] = 1
    fine[..., 128, 40:60] = 1
    closer = extract("canny", fine, (32, 32), resolution=256)
    assert closer.shape == (1, 1, 32, 32)
    assert set(closer.flatten().tolist()) == {0.0, 1.0}
    assert closer[0, 0, 12:20, 15:17].amax(1).sum() == 8, "a line one pixel wide is whole after eightfold reduction"
    assert extract("canny", fine, (32, 32)).sum() == 0, "averaged over the drawing's pixels it is too faint"


def test_resolution_is_the_shorter_side() -> None:
    assert Canny(resolution=128).native((64, 96)) == (128, 192)
    assert Canny().native((64, 96)) == (64, 96)


def test_thresholds_in_the_wrong_order_and_tiny_resolutions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'low' \(210\) must not exceed 'high' \(200\); swap them"):
        Canny(low=210)
    with pytest.raises(ConfigError, match="'resolution' must be 0 or at least 8"):
        Canny(resolution=3)


def test_a_soft_or_smeared_drawing_becomes_a_clean_map() -> None:
    soft = torch.zeros(1, 3, 64, 64)
    soft[..., 20:22] = torch.tensor([1.0, 0.3])
    soft[..., 50] = 0.1
    seen = given("canny", soft, (32, 32))
    assert set(seen.flatten().tolist()) == {0.0, 1.0}
    assert seen[0, 0].any(0).nonzero().flatten().tolist() == [10]
