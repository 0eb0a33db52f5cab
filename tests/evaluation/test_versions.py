"""Versions of a recipe beside each other: rows, the table, the chart."""

from pathlib import Path
from typing import Any

import pytest

from underdraw import images
from underdraw.evaluation.versions import chart, merged, row, table


def run(score: float, since: int | None = 50) -> dict[str, Any]:
    """What a run of four pictures found; the floor is 0, the ceiling 1, and all pictures score alike."""
    looks = [{"step": step, "right": score * step / 100, "none": 0.0, "shuffled": 0.1} for step in (50, 100)]
    return {
        "since": since,
        "how": None,
        "looks": looks,
        "parameters": 1000,
        "memory": 2**20,
        "seconds": 0.5,
        "errors": {"right": [0.1] * 4, "none": [0.2] * 4},
        "measure": "F1",
        "prompts": {name: [score] * 4 for name in ("none", "insufficient", "conflicting", "perfect")},
        "floor": [0.0] * 4,
        "ceiling": [1.0] * 4,
    }


PLAIN = row("as it is", {}, [0, 1], [run(0.4), run(0.6)])
LITE = row("branch=lite", {"branch": "lite"}, [0, 1], [run(0.1, None)])


def test_a_row_is_all_runs_together() -> None:
    found = PLAIN["obedience"]
    assert found["value"] == pytest.approx(50) and 39.9 < found["low"] < 49 and 51 < found["high"] < 60.1
    assert PLAIN["since"] == [50, 50] and LITE["since"] == [None] and LITE["seeds"] == [0], "one of two seeds is done"


def test_the_difference_is_over_the_seeds_that_both_have() -> None:
    """Of the two seeds of the recipe as it is, 0.4 and 0.6, the version has only the first."""
    lines = [line.split(" | ") for line in table([PLAIN, LITE]).splitlines()]
    place = lines[0].index("difference")
    assert lines[2][place] == "–" and lines[3][place] == "-30 [-30, -30]"
    assert lines[3][2] == "never" and lines[3][-1] == "1 MB |"


def test_a_condition_that_nobody_sees_has_errors_alone() -> None:
    blind = {key: value for key, value in run(0.5).items() if key not in ("measure", "prompts", "floor", "ceiling")}
    told = table([row("as it is", {}, [0], [blind])])
    assert "prompt" not in told and "100.0 [100.0, 100.0] | 200.0" in told


def test_what_was_measured_before_stays() -> None:
    again = row("branch=lite", {"branch": "lite"}, [0, 1], [run(0.1), run(0.2)])
    rows = merged([PLAIN, LITE], [again, row("taps=gaussian", {"taps": "gaussian"}, [0], [run(0.3)])])
    assert [each["version"] for each in rows] == ["as it is", "branch=lite", "taps=gaussian"]
    assert rows[1] is again


def test_the_chart_has_a_panel_a_group(tmp_path: Path) -> None:
    both = row("pictures=9 branch=lite", {"pictures": "9", "branch": "lite"}, [0], [run(0.2)])
    for name, rows in (("one", [PLAIN]), ("two", [PLAIN, LITE, both])):
        chart(rows, tmp_path / f"{name}.png")
    one, two = (images.read(tmp_path / f"{name}.png").shape for name in ("one", "two"))
    assert two[-1] == 2 * one[-1] and two[-2] == one[-2]
