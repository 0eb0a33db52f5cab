import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators import Scribble, Sketch, build
from underdraw.annotators.contours import ridges, strokes, strong

PAPERS = {
    "pencil": ((0.96, 0.94, 0.88), (0.35, 0.35, 0.37)),
    "blue pen": ((0.95, 0.95, 0.95), (0.15, 0.2, 0.7)),
    "red on yellow": ((0.9, 0.9, 0.6), (0.85, 0.15, 0.1)),
    "ink on kraft": ((0.7, 0.55, 0.38), (0.1, 0.08, 0.05)),
    "chalk": ((0.15, 0.3, 0.22), (0.8, 0.8, 0.78)),
    "screenshot": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    "night mode": ((0.12, 0.12, 0.13), (0.4, 0.9, 0.5)),
}
"""Colours of paper and ink."""


def disc(height: int = 160, width: int = 200, radius: int = 50) -> Tensor:
    """A light disc on dark, 1×3×H×W."""
    page = np.full((height, width, 3), 50, np.uint8)
    cv2.circle(page, (width // 2, height // 2), radius, (220, 200, 160), -1, cv2.LINE_AA)
    return images.from_uint8(page)[None]


def clutter(height: int = 120, width: int = 144) -> Tensor:
    """Blobs of many strengths and sizes, with black and white beside each other."""
    rough = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(2))
    return (torch.nn.functional.interpolate(rough, (height, width), mode="bicubic") * 2 - 0.5).clamp(0, 1)


def share_near(points: Tensor | NDArray[np.bool_], others: Tensor | NDArray[np.bool_], reach: int) -> float:
    """How much of one mask lies within `reach` pixels of another."""
    one, other = (np.asarray(each).astype(np.uint8) for each in (points, others))
    wide = cv2.dilate(other, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return float((wide[one > 0] > 0).mean())


def published_xdog(pixels: NDArray[np.uint8], threshold: int) -> NDArray[np.uint8]:
    """The A1111 extension's convention, written from its description: bytes all the way, that wrap where they must."""
    fine, wide = (cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), sigma) for sigma in (0.5, 5.0))
    lighter = np.min(wide - fine, axis=2)
    inverse = np.clip(255 - lighter, 0, 255).astype(np.uint8)
    doubled = (2 * (255 - inverse.astype(int))) % 256
    return np.where(doubled > threshold, 255, 0).astype(np.uint8)


class TestXdog:
    @pytest.mark.parametrize("threshold", [1, 16, 32, 64])
    def test_equals_the_published_convention_byte_for_byte(self, threshold: int) -> None:
        for picture in (clutter(), disc(), torch.where(clutter() > 0.5, 1.0, 0.0)):
            found = Scribble(method="xdog", threshold=threshold)(picture)[0, 0].numpy() * 255
            assert np.array_equal(found, published_xdog(images.to_uint8(picture[0]), threshold))

    def test_goes_by_the_name_that_people_know(self) -> None:
        assert build("scribble_xdog") == Scribble(method="xdog")
        assert torch.equal(
            build("scribble_xdog", {"threshold": 20})(clutter()), Scribble(method="xdog", threshold=20)(clutter())
        )


class TestPen:
    def test_follows_the_outline(self) -> None:
        page = Scribble(thickness=2, variation=0)(disc())[0, 0] > 0
        truth = np.zeros((160, 200), np.uint8)
        cv2.circle(truth, (100, 80), 50, 1)
        assert share_near(page, truth > 0, 5) == 1
        assert share_near(truth > 0, page, 5) > 0.95

    def test_the_seed_is_the_hand(self) -> None:
        before = np.random.get_state()[1].tolist()  # type: ignore[index]
        drawn = [Scribble(seed=seed)(disc()) for seed in (0, 0, 1)]
        assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
        steady = [Scribble(seed=seed, wobble=0, variation=0)(disc()) for seed in (0, 1)]
        assert torch.equal(*steady)
        assert np.random.get_state()[1].tolist() == before, "no global chance is touched"  # type: ignore[index]

    def test_a_thicker_pen_leaves_more_ink_and_a_larger_page_gets_a_larger_pen(self) -> None:
        ink = [float(Scribble(thickness=value, variation=0, wobble=0)(disc()).mean()) for value in (2, 6, 16)]
        assert ink[2] > 1.5 * ink[1] > 1.5 * ink[0] > 0
        double = torch.nn.functional.interpolate(disc(), (480, 600), mode="bicubic").clamp(0, 1)
        assert float(Scribble(thickness=16, variation=0, wobble=0)(double).mean()) == pytest.approx(ink[2], rel=0.4)

    def test_thickness_differs_between_strokes_only_where_asked(self) -> None:
        apart = torch.cat([disc(160, 160, 40), disc(160, 160, 40)], -1)

        def widths(variation: float) -> list[float]:
            page = Scribble(variation=variation, thickness=10, wobble=0, seed=5)(apart)[0, 0]
            return [float(half.sum()) for half in page.split(160, -1)]

        assert widths(0)[0] == pytest.approx(widths(0)[1], rel=0.1)
        assert abs(widths(1)[0] / widths(1)[1] - 1) > 0.3

    def test_detail_says_how_much_is_drawn(self) -> None:
        ink = [float(Scribble(detail=value)(clutter()).sum()) for value in (0.0, 0.5, 1.0)]
        assert ink[0] < ink[1] < ink[2]


def on_paper(ink: NDArray[np.bool_], paper: str, seed: int = 0) -> Tensor:
    """A drawing H×W as a photograph of it: uneven light, grain, soft strokes; screens are clean."""
    ground, stroke = (np.array(colour) for colour in PAPERS[paper])
    clean = paper in ("screenshot", "night mode")
    chance, (height, width) = np.random.default_rng(seed), ink.shape
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    light = np.ones((height, width)) if clean else 0.55 + 0.4 * np.exp(-((x - 0.8) ** 2 + (y - 0.2) ** 2) / 0.5)
    mask = cv2.GaussianBlur(ink.astype(np.float64), (0, 0), 0.4 if clean else 0.9)[..., None]
    picture = (ground * (1 - mask) + stroke * mask) * light[..., None]
    picture += chance.normal(0, 0 if clean else 0.015, picture.shape)
    return torch.from_numpy(picture.clip(0, 1)).permute(2, 0, 1)[None].float()


def drawing(height: int = 200, width: int = 240) -> NDArray[np.bool_]:
    """A house under a sun."""
    page = np.zeros((height, width), np.uint8)
    cv2.rectangle(page, (40, 100), (150, 180), 1, 3)
    cv2.polylines(page, [np.array([[30, 102], [95, 45], [160, 102]])], False, 1, 3)
    cv2.circle(page, (200, 40), 20, 1, 3)
    cv2.line(page, (10, 188), (230, 186), 1, 2)
    return page > 0


class TestSketch:
    @pytest.mark.parametrize("paper", PAPERS)
    def test_finds_the_strokes_on_any_paper_white_on_black(self, paper: str) -> None:
        found = Sketch()(on_paper(drawing(), paper))[0, 0] > 0
        assert share_near(found, drawing(), 2) > 0.98
        assert share_near(drawing(), found, 1) > 0.98
        overlap = (found.numpy() & drawing()).sum() / (found.numpy() | drawing()).sum()
        assert overlap > 0.6, "strokes are about as wide as they were"

    def test_the_edge_of_a_shadow_is_no_stroke(self) -> None:
        photograph = on_paper(drawing(), "blue pen")
        shade = torch.where(torch.arange(240) + torch.arange(200)[:, None] / 2 > 190, 0.6, 1.0)
        found = Sketch()(photograph * shade)[0, 0] > 0
        assert share_near(found, drawing(), 2) > 0.93 and share_near(drawing(), found, 1) > 0.95

    def test_rulings_fainter_than_the_ink_are_left_behind(self) -> None:
        photograph = on_paper(drawing(), "blue pen")
        photograph[..., 10::16, :] *= torch.tensor([0.9, 0.93, 0.98])[:, None, None]
        assert share_near(Sketch()(photograph)[0, 0] > 0, drawing(), 2) > 0.98

    def test_which_ink_can_be_said(self) -> None:
        chalk = on_paper(drawing(), "chalk")
        assert torch.equal(Sketch(ink="light")(chalk), Sketch()(chalk))
        assert not (Sketch(ink="dark")(chalk)[0, 0].numpy() * drawing()).any()

    def test_specks_go(self) -> None:
        spotted = drawing()
        spotted[60:62, 10:12] = spotted[20:22, 100:102] = True
        kept = Sketch(specks=0)(on_paper(spotted, "screenshot"))[0, 0]
        clean = Sketch(specks=3)(on_paper(spotted, "screenshot"))[0, 0]
        assert kept[55:66, 5:16].any() and kept[15:26, 95:106].any()
        assert not clean[55:66, 5:16].any() and not clean[15:26, 95:106].any()

    def test_widths_become_one(self) -> None:
        for stroke in (1, 3, 7):
            page = np.zeros((200, 200), np.uint8)
            cv2.line(page, (20, 100), (180, 100), 1, stroke)
            found = Sketch(width=10)(on_paper(page > 0, "screenshot"))[0, 0]
            assert found[:, 60:140].sum(0).tolist() == [4] * 80

    def test_an_empty_page_is_empty(self) -> None:
        assert Sketch()(on_paper(np.zeros((96, 96), bool), "pencil")).sum() == 0


class TestContours:
    def test_a_ridge_is_one_pixel_wide_whatever_its_direction(self) -> None:
        y, x = np.mgrid[0:80, 0:80].astype(np.float32)
        for angle in np.linspace(0, np.pi, 7):
            off = (x - 40) * np.sin(angle) - (y - 40) * np.cos(angle)
            thin = ridges(np.exp(-(off**2) / 18).astype(np.float32)) > 0.3
            inner = thin[15:-15, 15:-15]
            assert share_near(inner, np.abs(off)[15:-15, 15:-15] < 1, 1) == 1
            assert 45 <= inner.sum() <= 80

    def test_weak_points_stay_only_beside_strong_ones(self) -> None:
        field = np.zeros((20, 40), np.float32)
        field[5, 2:30], field[5, 10], field[15, 2:30] = 0.4, 0.9, 0.4
        found = strong(field, 0.3, 0.8)
        assert found[5, 2:30].all() and not found[15].any()

    def test_strokes_are_curves_in_order(self) -> None:
        page = np.zeros((60, 60), np.uint8)
        page[30, 5:40] = 1
        cv2.circle(page, (20, 12), 8, 1)
        curves = sorted(strokes(page > 0), key=lambda curve: len(np.unique(curve, axis=0)))
        assert [len(curve) for curve in curves] == [35, len(curves[1])]
        assert np.abs(np.diff(curves[0], axis=0)).max() == 1 and {5.0, 39.0} == {curves[0][0, 0], curves[0][-1, 0]}
        assert curves[1][0].tolist() == curves[1][-1].tolist(), "a ring is closed"

    def test_where_lines_meet_all_end(self) -> None:
        page = np.zeros((41, 41), bool)
        page[20, 2:39] = page[2:39, 20] = True
        curves = strokes(page)
        assert len(curves) == 4
        assert all(15 <= len(curve) <= 18 for curve in curves)
