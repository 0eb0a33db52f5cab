"""Grids, and the two figures of the paper."""

from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw import images
from underdraw.errors import ConfigError
from underdraw.generation import Axis, ControlRequest, Drawing, Frame, Studio, Wish, draw_grid
from underdraw.generation.figures import prompt_robustness, resolution_weighting
from underdraw.generation.grid import AXES

PICTURE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
QUICK: dict[str, Any] = {"steps": 2, "seed": 5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weight=0.5, 1,1.5", Axis("weight", (0.5, 1.0, 1.5))),
        ('prompt=a cat,"a dog, brown"', Axis("prompt", ("a cat", "a dog, brown"))),
        ("CFG=1,4", Axis("guidance", (1.0, 4.0))),
        ("sampler=euler a,ddim", Axis("scheduler", ("euler a", "ddim"))),
        ("seed=1,2", Axis("seed", (1, 2))),
        ("curve=flat,1:0.5", Axis("curve", ("flat", (1.0, 0.5)))),
    ],
)
def test_parse(text: str, expected: Axis) -> None:
    assert Axis.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight", "is not NAME=VALUE"),
        ("wieght=1", "cannot vary 'wieght'; did you mean 'weight'"),
        ("weight=", "weight has no values"),
        ("weight=loud", "a value of weight is not a number"),
        ("seed=1.5", "a value of seed is not a number"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Axis.parse(text)


def varied(name: str) -> tuple[Any, Any]:
    """Two values of an axis that give different recipes."""
    words = {
        "prompt": ("a", "b"),
        "negative": ("a", "b"),
        "control": ("none", ""),
        "preset": ("guess mode", "lcm"),
        "scheduler": ("ddim", "euler"),
        "curve": ("soft", "guess"),
        "side": ("both", 0.5),
        "times": ((1.0,), (1.0, 0.0)),
        "seed": (1, 2),
        "steps": (1, 2),
        "clip_skip": (1, 2),
        "start": (0.0, 0.5),
        "end": (0.5, 1.0),
    }
    return words.get(name, (0.5, 1.0))


@pytest.mark.parametrize("name", sorted(AXES))
def test_every_axis_varies(studio: Studio, tmp_path: Path, name: str) -> None:
    """Two values, two recipes, one seed; both are drawn."""
    images.write(PICTURE, tmp_path / "a.png")
    from underdraw.generation import PictureRequest

    request = ControlRequest("canny", PICTURE)
    picture = PictureRequest(PICTURE) if name == "strength" else None
    wish = Wish(("x",), (request,), (32, 32), picture=picture, settings=dict(QUICK))
    values = ("none", f"canny={tmp_path / 'a.png'}") if name == "control" else varied(name)
    made, drawn = draw_grid(studio, wish, [Axis(name, values)])
    assert len(drawn) == 2 and made.shape[0] == 3
    first, second = (one.drawing for one in drawn)
    assert first != second and (name == "seed" or first.seed == second.seed == 5)
    assert name in ("times", "scale") or not torch.equal(drawn[0].picture, drawn[1].picture)


def test_two_axes_are_rows_and_columns(studio: Studio) -> None:
    """Every combination once, the first axis across; the same pictures as by themselves."""
    wish = Wish(("x",), (ControlRequest("canny", PICTURE),), (32, 32), settings=dict(QUICK))
    axes = [Axis("weight", (0.0, 1.0, 2.0)), Axis("seed", (1, 2))]
    made, drawn = draw_grid(studio, wish, axes)
    told = [(one.drawing.seed, one.drawing.controls[0].weight) for one in drawn]
    assert told == [(1, 0.0), (1, 1.0), (1, 2.0), (2, 0.0), (2, 1.0), (2, 2.0)]
    (alone,) = studio.draw("x", controls=[ControlRequest("canny", PICTURE, 2.0)], seeds=[2], steps=2)
    assert (alone.picture - drawn[5].picture).abs().max() < 1e-4
    single, _ = draw_grid(studio, wish, axes[:1])
    assert made.shape[1] > 1.5 * single.shape[1]


def test_a_map_is_made_once_for_a_grid(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ControlRequest] = []
    guide = Studio.guide

    def counted(self: Studio, request: ControlRequest, *said: Any) -> Any:
        made.append(request)
        return guide(self, request, *said)

    monkeypatch.setattr(Studio, "guide", counted)
    wish = Wish(("x",), (ControlRequest("canny", PICTURE),), (32, 32), settings=dict(QUICK))
    _, drawn = draw_grid(studio, wish, [Axis("guidance", (1.0, 2.0, 3.0)), Axis("steps", (1, 2))])
    assert len(drawn) == 6 and len(made) == 1


def test_an_interrupted_grid_shows_what_there_is(studio: Studio) -> None:
    seen: list[Frame] = []

    def stop(frame: Frame) -> None:
        seen.append(frame)
        if len(seen) == 5:
            raise KeyboardInterrupt

    wish = Wish(("x",), None, (32, 32), settings={"seed": 1})
    made, drawn = draw_grid(studio, wish, [Axis("guidance", (1.0, 3.0)), Axis("steps", (3, 4))], stop)
    assert 1 <= len(drawn) < 4 and drawn[-1].interrupted and made.shape[0] == 3


def test_too_many_pictures(studio: Studio) -> None:
    with pytest.raises(ConfigError, match="the grid has 1,000,000 pictures"):
        draw_grid(studio, Wish(("x",)), [Axis("seed", tuple(range(1000))), Axis("weight", tuple(range(1000)))])


def test_prompt_robustness(studio: Studio) -> None:
    """Four prompts, one map, the same seeds: 16 pictures on a sheet."""
    figure = prompt_robustness(studio, ControlRequest("canny", PICTURE), "a cat", "a fish", seeds=(1, 2), steps=2)
    assert list(figure.pictures) == ["no prompt", "insufficient", "conflicting", "perfect"]
    recipes: list[Drawing] = [one.drawing for row in figure.pictures.values() for one in row]
    assert len({recipe.controls[0].map for recipe in recipes}) == 1
    assert [recipe.prompt for recipe in recipes[::2]] == [
        "",
        "high-quality and detailed masterpiece",
        "a fish",
        "a cat",
    ]
    assert figure.sheet.shape[0] == 3


def test_resolution_weighting(studio: Studio) -> None:
    """Without a prompt, a control on both halves makes guidance a no-op; the other ways do not."""
    request = ControlRequest("canny", PICTURE)
    strong, weak = (
        resolution_weighting(studio, request, "a cat", seeds=(1,), steps=2, guidance=guidance)
        for guidance in (9.0, 1.5)
    )
    assert len(strong.pictures) == 8
    for name in strong.pictures:
        apart = (strong.pictures[name][0].picture - weak.pictures[name][0].picture).abs().max()
        silent = name in ("both halves, no prompt", "no control, no prompt")
        assert (apart < 1e-4) == silent, name
