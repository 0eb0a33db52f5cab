import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import Lines


def page(*shapes: tuple[tuple[int, int], ...], size: int = 256, ink: int = 40) -> Tensor:
    """Filled polygons on light grey, 3×H×W."""
    canvas = np.full((size, size, 3), 210, np.uint8)
    for shape in shapes:
        cv2.fillPoly(canvas, [np.array(shape)], (ink, ink, ink), cv2.LINE_AA)
    return images.from_uint8(canvas)


BOX = ((60, 70), (200, 60), (190, 190), (70, 180))


def off(points: np.ndarray, start: tuple[int, int], end: tuple[int, int]) -> np.ndarray:
    """Distance of points N×2 from a line."""
    way = np.subtract(end, start) / np.hypot(*np.subtract(end, start))
    apart = points - np.array(start)
    return np.asarray(np.abs(apart[:, 0] * way[1] - apart[:, 1] * way[0]))


@pytest.mark.parametrize("method", ["lsd", "hough"])
class TestEitherMethod:
    def test_a_box_has_four_sides(self, method: str) -> None:
        found = Lines(method=method).segments(page(BOX))
        for start, end in zip(BOX, BOX[1:] + BOX[:1], strict=True):
            beside = [line for line in found if off(line.reshape(2, 2), start, end).max() < 3]
            found_length = sum(float(np.hypot(line[2] - line[0], line[3] - line[1])) for line in beside)
            assert found_length > 0.6 * np.hypot(*np.subtract(end, start))
        assert len(found) <= 9

    def test_they_are_drawn_one_pixel_wide_white_on_black(self, method: str) -> None:
        found = Lines(method=method)(page(BOX)[None])[0, 0]
        assert set(found.flatten().tolist()) == {0.0, 1.0}
        assert found[120].sum() <= 4 and found[:, 130].sum() <= 4

    def test_short_ones_are_left_out(self, method: str) -> None:
        small = ((120, 120), (150, 120), (150, 150), (120, 150))
        assert len(Lines(method=method, length=8).segments(page(small))) >= 4
        assert len(Lines(method=method, length=15).segments(page(small))) == 0

    def test_the_same_every_time(self, method: str) -> None:
        picture = page(BOX)[None]
        assert torch.equal(Lines(method=method)(picture), Lines(method=method)(picture))


def test_colour_makes_lines_where_brightness_says_nothing() -> None:
    picture = torch.empty(3, 160, 160)
    picture[:, :, :80] = torch.tensor([0.8, 0.0, 0.0])[:, None, None]
    picture[:, :, 80:] = torch.tensor([0.0, 0.4075, 0.0])[:, None, None]
    found = Lines().segments(picture)
    assert len(found) and np.abs(found[:, [0, 2]] - 79.5).max() < 3


def test_fragments_of_one_line_are_joined_across_gaps_of_the_given_size() -> None:
    """A bar that a post of its own colour's opposite hides in the middle."""
    bar = page(((20, 100), (236, 100), (236, 110), (20, 110)))
    bar[:, 90:120, 118:130] = 210 / 255
    lengths = {}
    for gap in (0.0, 8.0):
        found = Lines(gap=gap).segments(bar)
        lengths[gap] = max(float(np.hypot(line[2] - line[0], line[3] - line[1])) for line in found)
    assert lengths[0.0] < 115 and lengths[8.0] > 200


def test_curves_have_no_straight_lines() -> None:
    canvas = np.full((256, 256, 3), 210, np.uint8)
    cv2.circle(canvas, (128, 128), 40, (40, 40, 40), -1, cv2.LINE_AA)
    assert Lines()(images.from_uint8(canvas)[None]).sum() < 60, "a fifth of the circle at most"


def test_stripes_count_less_than_a_lone_line() -> None:
    canvas = np.full((256, 256, 3), 190, np.uint8)
    for row in range(130, 250, 8):
        cv2.line(canvas, (10, row), (246, row), (140, 140, 140), 3)
    cv2.rectangle(canvas, (60, 30), (200, 100), (140, 140, 140), -1)
    ink = Lines()(images.from_uint8(canvas)[None])[0, 0]
    box, stripes = float(ink[20:110].sum()), float(ink[125:].sum())
    assert box > 300
    assert stripes / (15 * 2 * 236) < 0.35 < box / (2 * (140 + 70))


def test_nothing_straight_in_nothing() -> None:
    assert Lines()(torch.full((2, 3, 64, 48), 0.4)).sum() == 0
    assert Lines().segments(torch.zeros(3, 32, 32)).shape == (0, 4)
