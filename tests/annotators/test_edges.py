from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import Canny, SoftEdge, extract, given
from underdraw.errors import ConfigError

PHOTOGRAPH = Path(__file__).parents[2] / "examples" / "pictures" / "photographs" / "coffee.jpg"


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


def step(axis: int, size: int = 96) -> Tensor:
    """Dark and light halves."""
    canvas = torch.full((1, 3, size, size), 0.2)
    canvas.narrow(axis, size // 2, size // 2).fill_(0.8)
    return canvas


def rough(height: int, width: int, seed: int = 0) -> Tensor:
    """Grey noise of one mean: texture without any boundary."""
    noise = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return (0.5 + 0.6 * (noise - 0.5)).expand(-1, 3, -1, -1).clone()


def brightest(line: Tensor) -> float:
    return float((line * torch.arange(len(line))).sum() / line.sum())


class TestSoftEdge:
    @pytest.mark.parametrize("axis", [2, 3])
    def test_an_edge_is_where_the_jump_is_and_falls_off_softly(self, axis: int) -> None:
        edges = SoftEdge()(step(axis))[0, 0]
        across = edges[:, 48] if axis == 2 else edges[48]
        assert brightest(across) == pytest.approx(47.5, abs=0.5)
        assert across.max() == 1 and across[:30].sum() + across[66:].sum() == 0
        assert 2 <= (across > 0.5).sum() <= 8 and ((across > 0) & (across < 1)).sum() >= 2

    def test_texture_fades_and_its_outline_stays_though_both_sides_are_equally_bright(self) -> None:
        picture = rough(128, 128)
        picture[..., 64:] = 0.5
        soft = SoftEdge()(picture)[0, 0, 20:-20]
        line, inside = soft[:, 58:70].amax(1).mean(), soft[:, 12:50].mean()
        assert line > 0.35 and line > 4 * inside
        canny = Canny()(picture)[0, 0, 20:-20]
        assert canny[:, 12:50].mean() > 0.2, "Canny draws the texture"

    def test_suppression_is_what_fades_it(self) -> None:
        fur = rough(96, 96, seed=1)
        means = [float(SoftEdge(suppression=share)(fur).mean()) for share in (0.0, 0.5, 1.0)]
        assert means[0] > 2 * means[1] > 4 * means[2]

    def test_colour_counts_where_brightness_says_nothing(self) -> None:
        assert SoftEdge()(square((0.8, 0, 0), (0, 0.4075, 0)))[0, 0, 6:10, 16].max() > 0.8

    def test_sharpness_thins_and_gain_lifts(self) -> None:
        picture = noise(96, 96)
        shares = [float((SoftEdge(sharpness=value)(picture) > 0.3).float().mean()) for value in (0.0, 1.0, 3.0)]
        assert shares[0] > shares[1] > shares[2] > 0
        assert SoftEdge(gain=2)(picture).mean() > SoftEdge()(picture).mean() > SoftEdge(gain=0.5)(picture).mean()

    def test_the_safe_form_has_few_steps_and_is_the_published_one(self) -> None:
        plain, safe = SoftEdge()(noise(96, 96)), SoftEdge(safe=True)(noise(96, 96))
        assert set(safe.flatten().tolist()) == {0.0, 0.5, 1.0}
        assert torch.equal(safe, ((plain * 3).floor() / 2).clamp(max=1))
        assert set(SoftEdge(safe=True, levels=4)(noise(96, 96)).flatten().tolist()) <= {0.0, 0.25, 0.5, 0.75, 1.0}

    def test_a_larger_picture_gives_the_same_map_larger(self) -> None:
        large = images.resize(images.crop(images.read(PHOTOGRAPH), (320, 320)), (320, 320))
        maps = [images.resize(SoftEdge()(images.resize(large, (side, side))), (160, 160)) for side in (320, 160)]
        assert float(torch.corrcoef(torch.stack([each.flatten() for each in maps]))[0, 1]) > 0.8

    def test_nothing_is_seen_in_an_empty_picture(self) -> None:
        assert SoftEdge()(torch.full((1, 3, 40, 40), 0.3)).sum() == 0
