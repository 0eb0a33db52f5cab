import math

import pytest
import torch

from underdraw.evaluation.fidelity import Estimate, bootstrap, mean, obedience


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
