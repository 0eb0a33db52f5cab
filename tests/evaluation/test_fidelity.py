import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from underdraw.evaluation.fidelity import Estimate, bootstrap, depth_error, edge_scores, mean, obedience

Edges = NDArray[np.bool_]


def near(edges: Edges, others: Edges, tolerance: int) -> list[bool]:
    """For each edge pixel, by looking at every other one: is any at most `tolerance` away?"""
    places = np.argwhere(others)
    return [
        bool(len(places)) and int(np.abs(places - here).max(axis=1).min()) <= tolerance for here in np.argwhere(edges)
    ]


def by_hand(drawn: Edges, truth: Edges, tolerance: int) -> tuple[float, float, float]:
    if not drawn.any() and not truth.any():
        return 1.0, 1.0, 1.0
    hits, found = near(drawn, truth, tolerance), near(truth, drawn, tolerance)
    precision = sum(hits) / len(hits) if hits else 0.0
    recall = sum(found) / len(found) if found else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


@pytest.mark.parametrize("tolerance", [0, 1, 2])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3])
def test_edge_scores_equal_brute_force(tolerance: int, density: float) -> None:
    chance = np.random.default_rng(round(100 * density) + tolerance)
    drawn = chance.random((6, 13, 17)) < 0.08
    truth = chance.random((6, 13, 17)) < density
    drawn[0] = False
    scores = edge_scores(torch.from_numpy(drawn)[:, None].float(), torch.from_numpy(truth)[:, None].float(), tolerance)
    expected = torch.tensor([by_hand(d, t, tolerance) for d, t in zip(drawn, truth, strict=True)], dtype=torch.float32)
    assert_close(torch.stack([scores.precision, scores.recall, scores.f1], 1), expected, rtol=1e-6, atol=1e-6)


def line(column: int, height: int = 8) -> Tensor:
    edges = torch.zeros(1, 1, 8, 8)
    edges[..., :height, column] = 1
    return edges


def test_a_line_one_pixel_off_is_right_only_with_tolerance() -> None:
    assert edge_scores(line(3), line(4), 0).f1.item() == 0
    assert edge_scores(line(3), line(4), 1).f1.item() == 1
    assert edge_scores(line(3), line(5), 1).f1.item() == 0


def test_half_a_line_is_precise_but_forgetful() -> None:
    scores = edge_scores(line(3, height=4), line(3), 0)
    assert scores.precision.item() == 1
    assert scores.recall.item() == 0.5
    assert math.isclose(scores.f1.item(), 2 / 3, rel_tol=1e-6)


def test_empty_maps() -> None:
    nothing = torch.zeros(1, 1, 8, 8)
    assert edge_scores(nothing, nothing).f1.item() == 1
    assert edge_scores(nothing, line(3)).f1.item() == 0
    assert edge_scores(line(3), nothing).f1.item() == 0


def test_depth_error_is_what_it_says() -> None:
    truth = torch.rand(3, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    assert_close(depth_error(truth, truth), torch.zeros(3))
    assert_close(depth_error(truth + 0.25, truth), torch.full((3,), 0.25))
    assert depth_error(0.5 * truth, truth, "scale").max() < 1e-6
    assert depth_error(0.5 * truth + 0.2, truth, "scale").min() > 1e-2
    assert depth_error(0.5 * truth + 0.2, truth, "scale and shift").max() < 1e-6


def test_alignment_equals_least_squares() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn, truth = torch.rand(2, 1, 1, 8, 9, generator=generator)
    design = np.stack([drawn.numpy().ravel(), np.ones(72)], 1).astype(np.float64)
    target = truth.numpy().ravel().astype(np.float64)
    for columns, align in ((1, "scale"), (2, "scale and shift")):
        found = np.linalg.lstsq(design[:, :columns], target, rcond=None)[0]
        expected = np.sqrt(np.mean((design[:, :columns] @ found - target) ** 2))
        assert math.isclose(depth_error(drawn, truth, align).item(), expected, rel_tol=1e-5)  # type: ignore[arg-type]


def test_a_constant_map_can_be_aligned() -> None:
    flat, truth = torch.zeros(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    assert_close(depth_error(flat, truth, "scale and shift"), truth.std(correction=0)[None])


def test_obedience_counts_from_floor_to_ceiling() -> None:
    floor, ceiling = torch.full((20,), 0.5), torch.full((20,), 0.9)
    halfway = obedience(torch.full((20,), 0.7), floor, ceiling)
    assert [halfway.value, halfway.low, halfway.high] == pytest.approx([50, 50, 50])
    errors = obedience(torch.full((20,), 0.2), torch.full((20,), 0.4), torch.full((20,), 0.1))
    assert math.isclose(errors.value, 100 * 2 / 3, rel_tol=1e-5)


def test_where_floor_and_ceiling_meet_there_is_no_figure() -> None:
    same = torch.full((5,), 0.5)
    nothing = obedience(same, same, same)
    assert math.isnan(nothing.value) and math.isnan(nothing.low) and math.isnan(nothing.high)


def test_intervals_are_seeded_and_hold_the_truth_nineteen_times_in_twenty() -> None:
    scores = torch.rand(50, generator=torch.Generator().manual_seed(2))
    assert mean(scores, seed=3) == mean(scores, seed=3)
    assert mean(scores, seed=3) != mean(scores, seed=4)
    generator = torch.Generator().manual_seed(5)
    estimates = [mean(torch.rand(60, generator=generator), seed) for seed in range(200)]
    holds = sum(each.low <= 0.5 <= each.high for each in estimates)
    assert 180 <= holds <= 198


def test_an_interval_narrows_with_the_root_of_the_items() -> None:
    scores = torch.rand(6400, generator=torch.Generator().manual_seed(6))
    wide, narrow = (mean(scores[:count], 0) for count in (100, 6400))
    assert 6 < (wide.high - wide.low) / (narrow.high - narrow.low) < 10


def test_items_are_drawn_whole() -> None:
    """Ours and floor of one item go together: a constant distance leaves no doubt, however the items differ."""
    floor = torch.rand(40, generator=torch.Generator().manual_seed(7))
    distance = bootstrap(torch.stack([floor + 0.125, floor], 1), lambda means: means[:, 0] - means[:, 1])
    assert math.isclose(distance.low, 0.125, abs_tol=1e-6)
    assert math.isclose(distance.high, 0.125, abs_tol=1e-6)


def test_an_estimate_prints_with_its_interval() -> None:
    assert f"{Estimate(0.8125, 0.75, 0.875):.2f}" == "0.81 [0.75, 0.88]"
