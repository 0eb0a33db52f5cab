"""What control costs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from underdraw import images
from underdraw.errors import InputError
from underdraw.evaluation import Protocol, cost_table, weigh
from underdraw.evaluation.quality import _kid, _percent, kid, nearest, variety

FEW = Protocol(items=6, steps=2, batch=24)


def units(count: int, shift: float = 0.0, seed: int = 0, width: int = 16) -> Tensor:
    """Unit vectors, more or less in one direction."""
    found = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return normalize(found + shift * torch.eye(width)[0], dim=1)


def by_hand(one: NDArray[np.float64], two: NDArray[np.float64], paired: bool = False) -> float:
    """The unbiased estimate, pair by pair."""

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float((x @ y + 1) ** 3)

    within = [
        sum(kernel(each[i], each[j]) for i in range(len(each)) for j in range(len(each)) if i != j)
        / (len(each) * (len(each) - 1))
        for each in (one, two)
    ]
    across = [kernel(x, y) for i, x in enumerate(one) for j, y in enumerate(two) if not (paired and i == j)]
    return within[0] + within[1] - 2 * float(np.mean(across))


def test_kid_equals_the_definition_of_all_and_of_subsets() -> None:
    one, two = units(9, 0.5), units(7, 0.0, seed=1)
    arrays = (one.double().numpy(), two.double().numpy())
    assert kid(one, two).item() == pytest.approx(by_hand(*arrays), rel=1e-9)
    paired = kid(one[:7], two, paired=True).item()
    assert paired == pytest.approx(by_hand(arrays[0][:7], arrays[1], paired=True), rel=1e-9)
    generator = torch.Generator().manual_seed(0)
    rows = [(torch.randperm(9, generator=generator)[:4], torch.randperm(7, generator=generator)[:4]) for _ in range(5)]
    chosen = (torch.zeros(5, 9), torch.zeros(5, 7))
    for place, pair in enumerate(rows):
        for weights, row in zip(chosen, pair, strict=True):
            weights[place, row] = 1
    expected = [by_hand(arrays[0][a.numpy()], arrays[1][b.numpy()]) for a, b in rows]
    assert kid(one, two, chosen).tolist() == pytest.approx(expected, rel=1e-9)


def test_kid_is_about_nothing_for_pictures_alike_and_grows_with_the_distance() -> None:
    """Unbiased: over many pairs of samples of one distribution it is 0 in the mean, and now and then negative."""
    same = torch.stack([kid(units(20, seed=2 * k), units(20, seed=2 * k + 1)) for k in range(200)])
    assert abs(same.mean()) < 3 * same.std() / 200**0.5 and same.min() < 0
    distances = [kid(units(100, shift), units(100, seed=1)).item() for shift in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances) and distances[1] > 0.01
    bound, free, true = units(60, 2.0), units(60, 0.3, seed=1), units(60, seed=2)
    worse = _kid(bound, true, 0, other=free)
    assert worse.value == pytest.approx((kid(bound, true, paired=True) - kid(free, true, paired=True)).item())
    assert 0 < worse.low < worse.value < worse.high
    level = _kid(free, true, 0, other=units(60, 0.3, seed=3))
    assert level.low < 0 < level.high


def test_to_be_like_one_s_own_truth_is_not_to_be_natural() -> None:
    """Copies of other pictures of the same distribution, and copies of the very ones, are as natural as each other."""
    true = units(80)
    assert kid(true, true, paired=True).abs() < 1e-9 and kid(true, true) < -0.01
    assert abs(kid(units(80, seed=1), true, paired=True).item()) < 0.05


def test_intervals_of_kid_hold_the_truth_most_times() -> None:
    """The distance of two distributions, known from many pictures."""
    truth = kid(units(3000, 0.6), units(3000, seed=1)).item()
    found = [_kid(units(50, 0.6, seed=3 * k), units(50, seed=3 * k + 1), k) for k in range(40)]
    assert sum(each.low <= truth <= each.high for each in found) >= 34


def test_variety_is_the_mean_distance_of_pairs() -> None:
    features = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = [
        np.mean([np.linalg.norm(row[i] - row[j]) for i in range(4) for j in range(i)]) for row in features.numpy()
    ]
    assert variety(features).tolist() == pytest.approx(expected, rel=1e-5)
    assert not variety(features[:, :1].expand(-1, 4, -1)).any()
    half = _percent(variety(0.5 * features), variety(features), 0)
    assert (half.value, half.low, half.high) == pytest.approx((50, 50, 50))


def test_the_nearest_are_found() -> None:
    learnt = units(300)
    seen = torch.cat([learnt[[7, 250]], units(300, seed=5)])
    found = nearest(seen, learnt)
    assert found.indices[:2].tolist() == [7, 250] and found.values[:2].tolist() == pytest.approx([1, 1])
    assert found.values.tolist() == pytest.approx((seen @ learnt.T).amax(1).tolist())


def test_a_report_from_end_to_end(base: Path, worlds: list[Path], clip: Path, reader: Path, tmp_path: Path) -> None:
    heard: set[str] = set()
    told = {"clip": clip, "protocol": FEW, "readers": [reader], "device": "cpu"}
    costs = weigh(str(base), worlds, tmp_path / "out", tell=lambda what, *_: heard.add(what), **told)  # type: ignore[arg-type]
    assert set(costs.quality) == {"canny", "depth"} and costs.learnt == 8
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    canny = facts["quality"]["canny"]
    assert canny["items"] == 6 and canny["kid"]["low"] <= canny["kid"]["value"] + 1e-9
    assert canny["worse"]["value"] == pytest.approx(canny["kid"]["value"] - canny["kid_free"]["value"], abs=2e-5)
    assert 0 < canny["variety_pixels"]["value"] < 1000
    assert canny["kept"]["value"] == pytest.approx(
        100 * canny["alignment"]["value"] / canny["alignment_free"]["value"], rel=0.01
    )
    assert str(tmp_path) not in json.dumps(facts), "no path of this machine"
    assert heard == {"without control"} | {
        f"{k}: {w}" for k in ("canny", "depth") for w in ("under the map", "by several seeds")
    }
    text = (tmp_path / "out" / "report.md").read_text()
    assert text == cost_table(costs) and "| canny | 6 | KID |" in text and "8 pictures were learnt from" in text
    assert images.read(tmp_path / "out" / "quality-depth.png").shape[-1] > 400
    again = weigh(str(base), worlds, tmp_path / "again", kinds=["canny"], **told)  # type: ignore[arg-type]
    assert repr(again.quality["canny"]) == repr(costs.quality["canny"]), "pinned: the same again"


def test_without_what_was_learnt_from_nothing_is_drawn(
    base: Path, clip: Path, worlds: list[Path], tmp_path: Path
) -> None:
    heard: list[str] = []
    train = Protocol(items=4, split="nothing")
    with pytest.raises(InputError, match="no picture of split 'nothing'"):
        weigh(
            str(base),
            worlds,
            tmp_path,
            clip=clip,
            protocol=train,
            kinds=["canny"],
            device="cpu",
            tell=lambda what, *_: heard.append(what),
        )
    assert not heard
