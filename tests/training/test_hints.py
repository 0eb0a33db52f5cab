"""What a ControlNet in training is shown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw.annotators import extract
from underdraw.data.batches import PictureSet, generators
from underdraw.errors import InputError
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


def mixed(pictures: PictureSet) -> PictureSet:
    """The same pictures, of which every third has no depth, and the last ones show a person."""
    points = [[6.0 + k, 4.0 + k, 2.0] for k in range(18)]
    return replace(
        pictures,
        has={"depth": torch.arange(16) % 3 > 0},
        attributes=[{"keypoints": points if row >= 12 else []} for row in range(16)],
    )


def test_a_family_shows_what_each_picture_can_show(pictures: PictureSet) -> None:
    """Depth layers of those with depth, poses of those with people; who can show nothing is left out."""
    family, some = hints(["depth", "depth_layers", "pose"]), mixed(pictures)
    assert family.kinds_of(some, 0) == [] and family.kinds_of(some, 1) == ["depth", "depth_layers"]
    assert family.kinds_of(some, 12) == ["pose"] and family.kinds_of(some, 13) == ["depth", "depth_layers", "pose"]
    assert family.rows(some, "pose").tolist() == [12, 13, 14, 15]
    able = family.able(some)
    assert len(able) == 12 and able.texts[0] == some.texts[1]
    skeleton = family(some, ALL[12:13])
    assert torch.equal(skeleton, family(some, ALL[12:13], kind="pose")) and skeleton.amax() == 1
    assert torch.equal(family(some, ALL[13:14], kind="depth_layers"), family(some, ALL[13:14], kind="depth"))
    for step in range(8):
        drawn = family(some, ALL, generators(0, step, range(16)))
        assert not drawn[0].any(), "it can show nothing"
        assert torch.equal(drawn[12] > 0, skeleton[0] > 0)
    with pytest.raises(InputError, match="no picture has a map of normal; name the maps"):
        hints("normal").able(replace(some, maps={}, has={}))


def test_annotators_look_at_the_size_that_they_were_made_for(pictures: PictureSet) -> None:
    """As `extract` does: a colour grid has its eight cells, whatever the picture's size."""
    shown = hints("colour_grid")(pictures, ALL[:2])
    for row in range(2):
        assert torch.equal(shown[row : row + 1], extract("colour_grid", pictures.pictures(ALL[row : row + 1])))
    assert len(shown[0].flatten(1).T.unique(dim=0)) > 1


def test_holes_are_drawn_anew(pictures: PictureSet) -> None:
    drawn = [hints("inpaint")(pictures, ALL[:1], generators(0, step, [0])) for step in range(2)]
    assert not torch.equal(drawn[0] < 0, drawn[1] < 0)
