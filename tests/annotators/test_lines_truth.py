"""Lines against truth: exact edges and lines of rooms, and boundaries that people drew (BSDS, where it is present)."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.boundaries import Sample, canny_levels, counts, evaluate, matched, read_samples, soft_levels
from underdraw.annotators import Canny, Lines
from underdraw.data.scenes import Views, render, sample

BSDS = Path(__file__).parents[3] / "shared" / "data" / "bsds"
ROOMS, SIDE, BATCH = 200, 256, 4
Mask = NDArray[np.bool_]


def beside(mask: Mask, reach: int) -> Mask:
    """The pixels within `reach` of a mask, diagonals included for one pixel, a disc beyond."""
    shape = cv2.MORPH_RECT if reach == 1 else cv2.MORPH_ELLIPSE
    wide = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(shape, (2 * reach + 1, 2 * reach + 1)))
    return np.asarray(wide > 0)


def jumps(field: NDArray[np.float32], axis: int) -> Mask:
    """Where distances H×W jump to the next pixel: by over 5 %, and three times as much as beside the jump."""
    field = np.moveaxis(field, axis, -1)
    steps = np.pad(np.abs(np.diff(field)), ((0, 0), (1, 1)), mode="edge")
    here, slope = steps[:, 1:-1], np.minimum(steps[:, :-2], steps[:, 2:])
    return np.moveaxis((here > 0.05 * np.minimum(field[:, 1:], field[:, :-1])) & (here > 3 * slope), -1, axis)


def exact_edges(views: Views, index: int) -> Mask:
    """Pixels whose right or lower neighbour is another thing or kind, or beyond a jump in depth; visible or not."""
    found = np.zeros((SIDE, SIDE), bool)
    labels = [each[index].numpy() for each in (views.semantic, views.instance)]
    for axis, place in ((0, np.s_[:-1, :]), (1, np.s_[:, :-1])):
        found[place] |= jumps(views.depth[index, 0].numpy(), axis)
        for each in labels:
            found[place] |= np.diff(each, axis=axis) != 0
    return found


def rooms() -> Iterator[tuple[Views, int]]:
    for first in range(0, ROOMS, BATCH):
        views = render([sample(seed) for seed in range(first, first + BATCH)], (SIDE, SIDE))
        yield from ((views, index) for index in range(BATCH))


@pytest.mark.slow
def test_canny_recalls_exact_edges_and_lines_are_those_of_the_room() -> None:
    """200 rooms at 256 px: of Canny's recall at 1 px, chance (the truth of the room mirrored) is named beside it."""
    recall, chance, lines = np.zeros(2), np.zeros(2), np.zeros(4)
    for views, index in rooms():
        picture = views.image[index][None]
        edges, near = exact_edges(views, index), beside(Canny()(picture)[0, 0].numpy() > 0, 1)
        recall += (edges & near).sum(), edges.sum()
        chance += (edges[:, ::-1] & near).sum(), edges.sum()
        found, truth = Lines()(picture)[0, 0].numpy() > 0, views.lines[index, 0].numpy() > 0.5
        lines += (found & beside(truth, 2)).sum(), found.sum(), (truth & beside(found, 2)).sum(), truth.sum()
    precision, recalled = lines[0] / lines[1], lines[2] / lines[3]
    f1 = 2 * precision * recalled / (precision + recalled)
    print(f"canny recall {recall[0] / recall[1]:.3f}, by chance {chance[0] / chance[1]:.3f}; ", end="")
    print(f"lines F1 {f1:.3f} (precision {precision:.3f}, recall {recalled:.3f})")
    assert recall[0] / recall[1] >= 0.85 > 0.5 > chance[0] / chance[1]
    assert f1 >= 0.6


@pytest.mark.slow
@pytest.mark.skipif(not BSDS.is_dir(), reason="BSDS is not beside the checkout")
def test_soft_edges_find_what_people_draw_better_than_canny_at_its_best() -> None:
    """Canny at the blur and the thresholds that are best for it; `python -m bench.boundaries` tries the others."""
    samples = read_samples(BSDS)
    soft = evaluate(samples, soft_levels("softedge", (0.35, 0.4, 0.45)))
    canny = evaluate(samples, canny_levels(4, (38, 46, 56)))
    print(f"ODS: softedge {soft.ods:.3f}, canny {canny.ods:.3f}")
    assert soft.ods > canny.ods + 0.05


def ring(size: int = 80, radius: int = 25, shift: int = 0) -> Mask:
    page = np.zeros((size, size), np.uint8)
    cv2.circle(page, (size // 2 + shift, size // 2), radius, 1)
    return page > 0


class TestTheMeasure:
    def test_the_truth_itself_is_perfect_and_nothing_finds_nothing(self) -> None:
        assert counts(ring(), [ring(), ring()]) == (ring().sum(), ring().sum(), 2 * ring().sum(), 2 * ring().sum())
        nothing = np.zeros((80, 80), bool)
        assert counts(nothing, [ring()]) == (0, 0, 0, ring().sum())
        assert counts(ring(), [nothing]) == (0, ring().sum(), 0, 0)

    def test_points_match_within_reach_only(self) -> None:
        assert matched(ring(shift=2), ring(), 2.5)[1] == ring().sum()
        hit, pairs = matched(ring(shift=2), ring(), 0.5)
        assert pairs == hit.sum() == (ring(shift=2) & ring()).sum()

    def test_a_point_matches_once_so_doubled_lines_are_half_wrong(self) -> None:
        double = ring(radius=24) | ring(radius=26)
        for found, truth in ((double, ring()), (ring(), double)):
            hit, pairs = matched(found, truth, 2.5)
            assert pairs == hit.sum() == min(found.sum(), truth.sum())

    def test_as_many_pairs_as_can_be(self) -> None:
        """The nearest partner is not always the right one: three in a row, shifted by one, all match."""
        found, truth = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
        found[4, 2:5], truth[4, 3:6] = True, True
        assert matched(found, truth, 1.0)[1] == 3

    def test_ods_takes_one_threshold_for_all_and_ois_the_best_of_each(self) -> None:
        picture = torch.zeros(3, 80, 80)
        samples = [Sample("dark", picture, (ring(),)), Sample("light", picture + 1, (ring(),))]
        nothing = np.zeros((80, 80), bool)

        def levels(seen: torch.Tensor) -> tuple[Mask, Mask]:
            return (ring(), nothing) if seen.sum() == 0 else (nothing, ring())

        score = evaluate(samples, levels)
        assert (score.precision, score.recall, score.ois) == (1.0, 0.5, 1.0)
        assert score.ods == pytest.approx(2 / 3)
