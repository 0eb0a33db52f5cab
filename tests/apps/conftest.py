"""The tiny base of the generation tests, and the command line as a person calls it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from underdraw import images
from underdraw.apps.cli import main

from ..generation.conftest import tiny_base

Underdraw = Callable[..., "Done"]


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; do not write in it."""
    return tiny_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def underdraw(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Underdraw:
    """`underdraw("extract", "canny", …)`, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return call


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture with a bright disc, 60×40."""
    rows, columns = torch.arange(40)[:, None], torch.arange(60)
    disc = ((rows - 20) ** 2 + (columns - 25) ** 2 < 150).float()
    images.write(torch.stack([disc, 0.5 * disc, 0.2 + 0.3 * disc]), tmp_path / "photo.png")
    return tmp_path / "photo.png"
