"""Small worlds and recipes that train in seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw.config import parse
from underdraw.data.folder import Record, write_folder
from underdraw.training.recipe import Recipe

from ..generation.conftest import tiny_base

COLOURS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.2), "blue": (0.1, 0.2, 0.9), "white": (1.0, 1.0, 1.0)}


def _square(index: int) -> Record:
    """A coloured square on grey; every fourth is watched, not learnt from."""
    word, colour = list(COLOURS.items())[index % 4]
    picture = torch.full((3, 32, 32), 0.5)
    top, left = 2 + index % 7, 2 + index % 5
    picture[:, top : top + 16, left : left + 18] = torch.tensor(colour)[:, None, None]
    depth = (picture != 0.5).any(0, keepdim=True).float()
    split = "watch" if index % 3 == 0 else "train"
    return Record(f"{index:03d}", picture, f"a {word} square", {"depth": depth}, {"split": split, "text_zh": "方块"})


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of 24 squares, 32 px, with depth maps."""
    folder = tmp_path_factory.mktemp("squares")
    assert len(list(write_folder(folder, map(_square, range(24))))) == 24
    return folder


@pytest.fixture
def recipe(squares: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe over the squares: `recipe({"task": "vae", …}, steps=…)`."""

    def make(learn: dict[str, Any], output: str = "run", **changes: Any) -> Recipe:
        table: dict[str, Any] = {"output": str(tmp_path / output), "steps": 6, "batch": 4, "log_steps": 2}
        table |= {"data": {"folders": [str(squares)], "maps": ["depth"]}, "learn": learn, "sheet_steps": 3}
        return parse(Recipe, table | {"optimizer": {"lr": 1e-3, "warmup": 2}} | changes, "test")

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with random weights; do not write in it."""
    return tiny_base(tmp_path_factory.mktemp("models") / "tiny")
