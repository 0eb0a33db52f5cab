import dataclasses
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.annotators import (
    ANNOTATORS,
    Annotator,
    Canny,
    Depth,
    Meaning,
    Needs,
    Person,
    Poses,
    annotator,
    as_hint,
    build,
    draw_knobs,
    extract,
    given,
    knob,
    knobs,
)
from underdraw.annotators.keypoints import ABSENT
from underdraw.errors import ConfigError, InputError


def picture(height: int = 48, width: int = 64, seed: int = 0) -> Tensor:
    """A bright disc and a stripe on a dark slope: things with edges."""
    down, across = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    disc = ((down - 0.5) ** 2 + (across - 0.4) ** 2 < 0.09).float()
    colour = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.5
    return (disc * colour + 0.3 * across * (1 - disc))[None]


TORSO = {0: (32.5, 6.5), 1: (32.5, 16.5), 2: (22.5, 18.5), 5: (42.5, 18.5), 8: (28.5, 38.5), 11: (37.5, 38.5)}
"""Somebody small: a head, shoulders and hips."""


def source(kind: str) -> Tensor:
    """What the annotator of that kind takes."""
    grey = picture().mean(1, keepdim=True)
    if kind in ("labels", "onehot"):
        return (grey > 0.4).float()
    if kind == "inpaint":
        return torch.cat([picture(), (grey > 0.4).float()], 1)
    if kind == "pose":
        body = tuple((*TORSO[place], 1.0) if place in TORSO else ABSENT for place in range(18))
        return build(kind).map(Poses((Person(body),), (64, 48)))
    return grey if kind in ("depth", "depth_layers", "normal") else picture()


@pytest.mark.parametrize("kind", [kind for kind in ANNOTATORS if ANNOTATORS[kind].needs == Needs()])
class TestEveryAnnotator:
    def test_is_a_value(self, kind: str) -> None:
        assert build(kind) == build(kind)
        assert hash(build(kind)) == hash(build(kind))
        with pytest.raises(dataclasses.FrozenInstanceError):
            build(kind).low = 3  # type: ignore[attr-defined]

    def test_is_filed_under_its_name_and_described(self, kind: str) -> None:
        part = ANNOTATORS[kind]
        assert part.kind == kind
        assert part.__doc__
        assert part.meaning.polarity
        assert all(setting.help and setting.low <= setting.high for setting in knobs(part).values())

    def test_knobs_are_fields_with_defaults_in_range(self, kind: str) -> None:
        part = ANNOTATORS[kind]
        assert list(knobs(part)) == [field.name for field in dataclasses.fields(part)]
        assert build(kind).settings == {name: setting.default for name, setting in knobs(part).items()}

    @pytest.mark.parametrize("size", [(64, 48), (33, 57), (16, 16), (100, 40)])
    def test_a_map_has_the_size_and_range_that_were_promised(self, kind: str, size: tuple[int, int]) -> None:
        found = extract(kind, source(kind), size)
        meaning = ANNOTATORS[kind].meaning
        assert found.shape == (1, meaning.channels, size[1], size[0])
        assert found.dtype == torch.float32
        assert meaning.low <= found.min() and found.max() <= meaning.high
        assert found.std() > 0

    def test_the_same_picture_gives_the_same_map_whatever_came_before(self, kind: str) -> None:
        before = extract(kind, source(kind), (64, 48))
        for _ in range(2):
            draw_knobs(kind, torch.Generator().manual_seed(1))(source(kind))
        assert torch.equal(before, extract(kind, source(kind), (64, 48)))

    def test_a_batch_gives_each_what_it_gets_alone(self, kind: str) -> None:
        several = torch.cat([source(kind), source(kind).flip(-1), source(kind).flip(-2)])
        together = build(kind)(several)
        assert torch.equal(together, torch.cat([build(kind)(one[None]) for one in several]))

    def test_leaves_the_picture_as_it_was(self, kind: str) -> None:
        original = source(kind)
        extract(kind, original, (32, 24))
        assert torch.equal(original, source(kind))

    def test_gradients_flow_where_promised(self, kind: str) -> None:
        original = source(kind).requires_grad_()
        found = build(kind)(original)
        assert found.requires_grad == ANNOTATORS[kind].meaning.differentiable

    def test_a_map_of_its_own_passes_through(self, kind: str) -> None:
        found = extract(kind, source(kind), (64, 48))
        shown = as_hint(found) if found.shape[1] in (1, 3) else found
        assert_close(given(kind, shown, (64, 48)), found)


def test_unknown_kinds_and_knobs_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown annotator 'cany'; did you mean 'canny'\?"):
        extract("cany", picture())
    with pytest.raises(ConfigError, match=r"canny has no knob 'lo'; did you mean 'low'\?"):
        extract("canny", picture(), lo=3)


@pytest.mark.parametrize("value", [-1, 256, 1.5, "100", True, None])
def test_a_bad_knob_says_which_and_what_range(value: object) -> None:
    with pytest.raises(ConfigError, match=r"canny: knob 'low' must be a whole number from 0 to 255 \(got .*\)"):
        build("canny", {"low": value})


def test_a_switch_takes_only_yes_and_no() -> None:
    with pytest.raises(ConfigError, match="canny: knob 'colour' must be true or false"):
        build("canny", {"colour": 1})


def test_drawn_knobs_are_seeded_and_stay_in_their_usual_range() -> None:
    generator = torch.Generator().manual_seed(5)
    drawn = [draw_knobs("canny", generator) for _ in range(300)]
    again = torch.Generator().manual_seed(5)
    assert drawn == [draw_knobs("canny", again) for _ in range(300)]
    for name in ("low", "high"):
        low, high = knobs(Canny)[name].usual or (0, 0)
        values = {look.settings[name] for look in drawn}
        assert values <= set(range(int(low), int(high) + 1))
        assert len(values) > 50
    assert {look.settings["resolution"] for look in drawn} == {0}


def test_others_can_add_their_own() -> None:
    try:

        @annotator("darkness")
        class Darkness(Annotator):
            """How dark it is."""

            meaning: ClassVar[Meaning] = Meaning(1, "dark is white", "area", differentiable=True)
            strength: float = knob(1.0, 0.5, 2, "power of the darkness", usual=(0.5, 1.5))

            def __call__(self, pictures: Tensor) -> Tensor:
                return (1 - pictures.mean(1, keepdim=True)) ** self.strength

        assert extract("darkness", picture(), (24, 24), strength=2).shape == (1, 1, 24, 24)
        strength = draw_knobs("darkness", torch.Generator().manual_seed(0)).settings["strength"]
        assert 0.5 <= strength <= 1.5 and strength != 1.0
        with pytest.raises(ConfigError, match=r"knob 'strength' must be a number from 0.5 to 2 \(got nan\)"):
            Darkness(strength=float("nan"))
    finally:
        ANNOTATORS._parts.pop("darkness", None)


def test_things_keep_their_proportions() -> None:
    down, across = torch.meshgrid(torch.arange(48.0), torch.arange(96.0), indexing="ij")
    disc = ((down - 24) ** 2 + (across - 48) ** 2 < 15**2).float().expand(1, 3, -1, -1)
    edges = extract("canny", disc, (48, 48))[0, 0]
    assert abs(int(edges.any(0).sum()) - int(edges.any(1).sum())) <= 1


def test_a_hint_has_three_channels() -> None:
    grey, colour = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(as_hint(grey)[:, 2], grey[:, 0])
    assert torch.equal(as_hint(colour), colour)
    with pytest.raises(InputError, match="2 channels"):
        as_hint(torch.rand(1, 2, 4, 4))


def test_depth_of_a_photograph_names_the_remedy() -> None:
    with pytest.raises(InputError, match=r"depth map \(near = white\): depth=FILE,map"):
        extract("depth", picture())
    assert Depth(distance=True)(torch.tensor([1.0, 2, 4]).reshape(1, 1, 1, 3)).flatten().tolist() == pytest.approx(
        [1, 1 / 3, 0]
    )
