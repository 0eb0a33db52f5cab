"""What a ControlNet in training is shown."""

from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw.annotators import extract
from underdraw.data.batches import PictureSet, generators
from underdraw.training.hints import Hints
from underdraw.training.recipe import ControlRun

ALL = torch.arange(16)


@pytest.fixture
def pictures(squares: Path) -> PictureSet:
    return PictureSet.load([squares], "train", ["depth"])


def hints(condition: str | list[str], **more: Any) -> Hints:
    return Hints(ControlRun.model_validate({"base": "b", "condition": condition} | more))


def test_one_condition_is_the_annotator_s_or_the_data_s(pictures: PictureSet) -> None:
    shown = hints("canny")(pictures, ALL[:3])
    for row in range(3):
        expected = extract("canny", pictures.pictures(ALL[row : row + 1]))
        assert torch.equal(shown[row : row + 1], expected.expand(-1, 3, -1, -1))
    assert torch.equal(hints("depth")(pictures, ALL[:3]), pictures.map("depth", ALL[:3]))


def test_a_family_shows_one_kind_a_sample_and_its_first_where_nothing_is_drawn(pictures: PictureSet) -> None:
    family = hints(["depth", "canny"])
    assert family.channels == 3
    assert torch.equal(family(pictures, ALL), pictures.map("depth", ALL))
    drawn = torch.cat([family(pictures, ALL, generators(0, step, range(16))) for step in range(8)])
    depth = pictures.map("depth", ALL).repeat(8, 1, 1, 1)
    share = float((drawn == depth).flatten(1).all(1).float().mean())
    assert 0.35 < share < 0.65
    again = family(pictures, ALL[4:6], generators(0, 3, range(4, 6)))
    assert torch.equal(again, drawn[3 * 16 + 4 : 3 * 16 + 6]), "a sample's map does not depend on its batch"


def test_a_stack_shows_all_kinds_and_drops_each_by_itself(pictures: PictureSet) -> None:
    stack = hints(["depth", "canny"], join="stack", condition_drop=0.3)
    assert stack.channels == 2
    whole = stack(pictures, ALL)
    assert whole.shape == (16, 2, 32, 32)
    assert torch.equal(whole[:, :1], pictures.map("depth", ALL)[:, :1])
    drawn = torch.cat([stack(pictures, ALL, generators(0, step, range(16))) for step in range(12)])
    gone = (drawn.flatten(2) == 0).all(2).float()
    assert gone.mean(0)[0] == pytest.approx(0.3, abs=0.1)
    assert float((gone[:, 0] * (1 - gone[:, 1])).mean()) > 0.1


def test_a_net_for_a_stack_has_its_channels() -> None:
    config = ControlRun.model_validate({"base": "b", "condition": ["depth", "canny"], "join": "stack"})
    assert config.control_of(Hints(config).channels).branch.hint_channels == 2
