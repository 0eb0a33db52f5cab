"""Every key of a recipe is on the page about training."""

import re
from pathlib import Path

import pytest

from underdraw.config import Config
from underdraw.training import recipe

TABLES = [table for name in recipe.__all__ if issubclass(table := getattr(recipe, name), Config)]
PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_keys_are_documented(table: type[Config]) -> None:
    said = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`[^`]+`", PAGE))))
    assert set(table.model_fields) - said <= {"data", "learn"}
