from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from underdraw import images
from underdraw.annotators import ANNOTATORS, Canny, build
from underdraw.annotators.twins import HAVE_TWINS, soft_canny, twin
from underdraw.errors import ConfigError

PHOTOGRAPHS = sorted((Path(__file__).parents[2] / "examples" / "pictures" / "photographs").iterdir())


def photo(path: Path, side: int = 96) -> Tensor:
    picture = images.read(path)
    return images.resize(images.crop(picture, (side, side)), (side, side))


def agreement(soft: Tensor, hard: Tensor) -> float:
    """F1 of the pixels that both call an edge."""
    found, wanted = soft > 0.5, hard > 0.5
    return float(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.stem)
@pytest.mark.parametrize("colour", [True, False])
def test_a_nearly_hard_twin_sees_canny_s_edges(path: Path, colour: bool) -> None:
    look, picture = Canny(colour=colour), photo(path)
    assert agreement(soft_canny(picture, look, softness=0.5), look(picture)) > 0.95


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.stem)
def test_the_twin_of_training_is_near(path: Path) -> None:
    look = build("canny")
    picture = photo(path)
    assert agreement(twin(look)(picture), look(picture)) > 0.9


def test_following_its_gradient_draws_the_edges_that_are_wanted() -> None:
    """A flat grey picture with a faint hint of the shape becomes one with the shape's edges."""
    rows, columns = torch.arange(48)[:, None], torch.arange(48)
    disc = ((rows - 24) ** 2 + (columns - 24) ** 2 < 150).float().expand(1, 3, -1, -1)
    look = build("canny")
    wanted = look(disc)
    picture = (0.5 + 0.15 * functional.avg_pool2d(disc, 3, 1, 1)).requires_grad_()
    assert agreement(look(picture.detach()), wanted) < 0.05
    painter = torch.optim.Adam([picture], 0.02)
    for _ in range(60):
        painter.zero_grad()
        (twin(look)(picture) - wanted).square().mean().backward()
        painter.step()
    assert agreement(look(picture.detach().clamp(0, 1)), wanted) > 0.6


SETTINGS: dict[str, list[dict[str, Any]]] = {
    "luminance": [{}, {"gamma": 1.5}, {"swapped": True}],
    "intensity": [{}, {"gamma": 1.3}],
    "blur": [{"sigma": 2.0}, {"sigma": 9.0}, {"sigma": 40.0}],
    "tile": [{}, {"rate": 8.0}, {"rate": 1.0}],
    "colour_grid": [{"cell": 16}, {"cell": 96}],
}
CASES = [(kind, settings) for kind, several in SETTINGS.items() for settings in several]


@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_twins_see_what_their_annotators_see(kind: str, settings: dict[str, Any]) -> None:
    """To within two steps of a byte: annotators round, and cut off."""
    picture, look = photo(PHOTOGRAPHS[0], 96), build(kind, settings)
    found = twin(look)(picture)
    assert found.shape == look(picture).shape
    assert float((found - look(picture)).abs().max()) <= 2.01 / 255
    seen = picture.clone().requires_grad_()
    twin(look)(seen).square().sum().backward()
    assert seen.grad is not None and bool(seen.grad.isfinite().all()) and seen.grad.abs().sum() > 0


def test_all_that_have_twins_are_named() -> None:
    assert {"canny", *SETTINGS} == set(HAVE_TWINS)


@pytest.mark.parametrize("kind", [kind for kind in ANNOTATORS if ANNOTATORS[kind].meaning.differentiable])
def test_differentiable_annotators_are_their_own_twins(kind: str) -> None:
    look = build(kind)
    assert twin(look) is look


def test_who_has_none_says_so() -> None:
    without = [kind for kind in ANNOTATORS if kind not in HAVE_TWINS and not ANNOTATORS[kind].meaning.differentiable]
    for kind in without:
        with pytest.raises(ConfigError, match=f"{kind} has no differentiable twin"):
            twin(build(kind))
