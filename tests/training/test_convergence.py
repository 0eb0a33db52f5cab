"""When a run began to obey."""

import math
import random

import pytest

from underdraw.training.convergence import Look, verdict


def look(step: int, gap: float, draw: random.Random, items: int = 16, noise: float = 0.05) -> Look:
    """Scores around 0.4 without the map and `gap` above it under the right one."""
    base = [0.4 + draw.gauss(0, 0.1) for _ in range(items)]
    blurred = [[value + draw.gauss(0, noise) for value in base] for _ in range(3)]
    return Look(step, tuple(value + gap for value in blurred[0]), tuple(blurred[1]), tuple(blurred[2]))


@pytest.mark.parametrize("at", [3, 8, 15])
def test_a_sudden_change_is_found_where_it_was(at: int) -> None:
    for seed in range(20):
        draw = random.Random(seed)
        found = verdict([look(250 * (k + 1), 0.3 if k >= at else 0.0, draw) for k in range(20)])
        assert found and found.how == "sudden" and abs(found.since - 250 * (at + 1)) <= 250


def test_a_slow_rise_is_called_gradual() -> None:
    for seed in range(20):
        draw = random.Random(seed)
        found = verdict([look(250 * (k + 1), 0.4 * k / 20, draw, noise=0.03) for k in range(20)])
        assert found and found.how == "gradual"


def test_what_never_obeys_is_never_said_to() -> None:
    """A thousand runs of forty looks at noise, from tidy to wild."""
    for seed in range(1000):
        draw = random.Random(seed)
        noise = 10 ** draw.uniform(-3, 0)
        assert verdict([look(k, 0.0, draw, noise=noise) for k in range(40)]) is None


def test_identical_pictures_are_no_gap() -> None:
    """A silent net draws the same whatever the map: all gaps are 0, or rounding."""
    scores = tuple(0.1 * k for k in range(16))
    assert verdict([Look(step, scores, scores, scores) for step in range(9)]) is None
    nearly = tuple(math.nextafter(score, 1) for score in scores)
    assert verdict([Look(step, nearly, scores, scores) for step in range(9)]) is None


def test_who_obeys_from_the_start_is_early() -> None:
    draw = random.Random(0)
    found = verdict([look(250 * (k + 1), 0.3, draw) for k in range(10)])
    assert found and (found.since, found.how) == (250, "early")
    assert str(found) == "obeys since step 250: it came from the first looks on"
    assert verdict([look(1, 0.3, draw)]) is None
