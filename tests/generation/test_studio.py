"""The studio: lists of everything, interruption, memory, second passes, and pictures that are verified."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import underdraw
from underdraw import images
from underdraw.errors import ConfigError, InputError
from underdraw.generation import (
    Batch,
    ControlRequest,
    Drawing,
    Frame,
    Studio,
    Wish,
    assemble,
    plan,
    read_drawing,
    redrawn,
    verify,
    write_drawing,
)

PICTURES = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 32, 32)
MASK[:, 8:20, 12:28] = 1
QUICK: dict[str, Any] = {"steps": 3}


def values(picture: Tensor) -> Tensor:
    """As a file holds them."""
    return torch.round(picture * 255) / 255


def test_eight_different_pictures_are_eight_single_runs(studio: Studio) -> None:
    """Law 6 through the whole house: each picture's own recipe gives what it got in company."""
    masks = [(PICTURES[place, :1] > 0.5).float() for place in range(8)]
    drawn = studio.draw(
        ["a", "b", "c", "", "e", "f", "g", "h"],
        controls=[
            ControlRequest("canny", list(PICTURES), weight=[place / 8 for place in range(8)], mask=masks),
            ControlRequest("depth", PICTURES[0], is_map=True, side="conditional", end=0.7),
        ],
        seeds=[5, 3, 5, 9, 100, 2, 0, 7],
        negative=["", "x", "", "", "y", "", "", "z"],
        **QUICK,
    )
    assert [one.drawing.batch for one in drawn] == [1] * 8
    for one in drawn:
        (alone,) = studio.draw_batch(Batch((one.drawing,), (0,)))
        assert_close(alone.picture, one.picture, atol=1e-4, rtol=0)
    assert len({one.drawing.controls[0].map for one in drawn}) == 8
    assert len({one.drawing.controls[1].map for one in drawn}) == 1


def test_a_control_that_only_some_have(studio: Studio) -> None:
    """Recipes of different controls are one batch: what a picture does not have is silent in it."""
    settings = QUICK | {"seed": 3}
    wishes = [
        Wish(("x",), (ControlRequest("canny", PICTURES[0]),), (32, 32), settings=settings),
        Wish(("x",), (ControlRequest("depth", PICTURES[1], 0.5, is_map=True),), (32, 32), settings=settings),
        Wish(("x",), None, (32, 32), settings=settings),
    ]
    drawings = [drawing for wish in wishes for batch in plan(studio, wish) for drawing in batch.drawings]
    (batch,) = assemble(drawings)
    together = studio.draw_batch(batch)
    for place, drawing in enumerate(drawings):
        (alone,) = studio.draw_batch(Batch((drawing,), (0,)))
        assert_close(together[place].picture, alone.picture, atol=1e-4, rtol=0)


def test_seeds_and_lists(studio: Studio) -> None:
    drawn = studio.draw("x", seeds=range(3), **QUICK)
    assert [(one.drawing.seed, one.drawing.index, one.drawing.batch) for one in drawn] == [
        (0, 0, 3),
        (1, 1, 3),
        (2, 2, 3),
    ]
    assert [one.drawing.seed for one in studio.draw(["x", "y"], seeds=7, **QUICK)] == [7, 7]
    assert len(studio.draw("x", **QUICK)) == 1
    with pytest.raises(InputError, match="2 of prompts were given for 3 pictures"):
        studio.draw(["x", "y"], seeds=range(3), **QUICK)
    with pytest.raises(InputError, match="3 of control canny: pictures were given for 2 pictures"):
        studio.draw("x", seeds=range(2), controls=[ControlRequest("canny", list(PICTURES[:3]))], **QUICK)
    with pytest.raises(InputError, match="there is none; give one"):
        studio.draw("x", strength=0.5)
    with pytest.raises(ConfigError, match="unknown key 'stpes'; did you mean 'steps'"):
        studio.draw("x", stpes=3)


def test_the_face_of_the_package(base: Path) -> None:
    """`import underdraw; underdraw.load()…`"""
    studio = underdraw.load(str(base), "cpu")
    (drawn,) = studio.draw("x", controls=[underdraw.Control("canny", PICTURES[0], weight=0.8)], seeds=[1], **QUICK)
    assert drawn.picture.shape == (3, 32, 32) and drawn.drawing.controls[0].weight == 0.8
    with pytest.raises(AttributeError, match="no attribute 'draw'"):
        _ = underdraw.draw  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_verified(studio: Studio, tmp_path: Path, suffix: str) -> None:
    """Bit-exact from the file alone; a value off by two is rounding; a painted-over corner is not."""
    path = tmp_path / f"out{suffix}"
    request = ControlRequest("canny", PICTURES[0], 0.7, mask=MASK, preset="guess mode")
    first, second = studio.draw(
        "红色", controls=[request], seeds=[3, 4], variation={"seed": 9, "strength": 0.3}, **QUICK
    )
    second.save(path)
    assert verify(studio, path).finding == "exact"
    for shift, finding in ((2, "close"), (9, "altered")):
        painted = values(second.picture)
        painted[:, :4, :4] = (painted[:, :4, :4] + shift / 255 * (1 - 2 * painted[:, :4, :4].round())).clamp(0, 1)
        write_drawing(painted, second.drawing, path)
        found = verify(studio, path)
        assert (found.finding, found.largest) == (finding, shift)
    write_drawing(first.picture, first.drawing.model_copy(update={"base_hash": "0" * 16}), path)
    with pytest.raises(InputError, match="other weights"):
        verify(studio, path)


def test_a_slightly_different_company_is_within_tolerance(studio: Studio, tmp_path: Path) -> None:
    """What another batch changes are last bits: its recipe says it was alone."""
    for place, one in enumerate(studio.draw(["x", "y", "z"], seeds=[1, 9, 4], **QUICK)):
        one.save(tmp_path / f"{place}.png")
        assert verify(studio, tmp_path / f"{place}.png").finding in ("exact", "close")


def test_a_picture_to_start_from_travels_in_the_recipe(studio: Studio, tmp_path: Path) -> None:
    images.write(PICTURES[0], tmp_path / "photo.png")
    images.write(MASK, tmp_path / "mask.png")
    (drawn,) = studio.draw(
        "x", image=tmp_path / "photo.png", mask=tmp_path / "mask.png", strength=0.8, seeds=[1], **QUICK
    )
    drawn.save(tmp_path / "out.png")
    for name in ("photo.png", "mask.png"):
        (tmp_path / name).unlink()
    again = read_drawing(tmp_path / "out.png")
    assert again == drawn.drawing and again.given is not None and again.given.source == "photo.png"
    assert verify(studio, tmp_path / "out.png").finding == "exact"
    outside = (MASK == 0).expand(3, -1, -1)
    assert torch.equal(drawn.picture[outside], values(PICTURES[0])[outside])
    assert "Denoising strength: 0.8, Mask blur: 4" in again.parameters()


def test_outpainting_keeps_the_picture_and_draws_around_it(studio: Studio) -> None:
    (drawn,) = studio.draw("x", image=PICTURES[0, :, :16, :24], outpaint=(8, 0, 0, 16), seeds=[1], **QUICK)
    assert drawn.picture.shape == (3, 32, 32)
    assert torch.equal(drawn.picture[:, :16, 8:], values(PICTURES[0, :, :16, :24]))


@pytest.mark.parametrize("how", ["picture", "latent"])
def test_a_second_pass(studio: Studio, how: str) -> None:
    """Twice as large; its structure is that of the first pass, its controls are heard in both."""
    hires = {"scale": 2, "strength": 0.4, "steps": 5, "how": how}
    frames: list[Frame] = []
    (large,) = studio.draw("x", seeds=[1], steps=4, hires=hires, tell=frames.append)
    (small,) = studio.draw("x", seeds=[1], steps=4)
    assert large.drawing.size == (64, 64) and large.picture.shape == (3, 64, 64)
    assert [tuple(frame.latents.shape[-2:]) for frame in frames] == [(8, 8)] * 4 + [(16, 16)] * 2
    reduced = torch.nn.functional.avg_pool2d(large.picture, 2)
    other = studio.draw("x", seeds=[2], steps=4)[0].picture
    assert (reduced - small.picture).abs().mean() < (reduced - other).abs().mean()
    request = ControlRequest("canny", PICTURES[0])
    bound = studio.draw("x", controls=[request], seeds=[1], steps=4, hires=hires)[0]
    assert bound.drawing.controls[0].source == "" and not torch.equal(bound.picture, large.picture)
    assert "Hires upscale: 2, Hires steps: 5" in large.drawing.parameters()


def test_a_second_pass_over_an_inpainting_in_windows(studio: Studio) -> None:
    """All tasks at once: what the mask leaves stays, at the size of the second pass."""
    (drawn,) = studio.draw(
        "x",
        image=torch.nn.functional.interpolate(PICTURES[:1], (64, 64)),
        mask=torch.nn.functional.interpolate(MASK[None], (64, 64)),
        controls=[ControlRequest("canny", PICTURES[0])],
        seeds=[1],
        size=(32, 32),
        hires={"scale": 2},
        tiling={"width": 32, "height": 32},
        variation={"seed": 3, "strength": 0.2},
        interval=(0.0, 0.5),
        rescale=0.5,
        **QUICK,
    )
    expected = values(torch.nn.functional.interpolate(PICTURES[:1], (64, 64))[0])
    outside = (torch.nn.functional.interpolate(MASK[None], (64, 64))[0] == 0).expand(3, -1, -1)
    assert torch.equal(drawn.picture[outside], expected[outside])


class Interrupted:
    """Hears frames, and presses Ctrl-C at one of them."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0

    def __call__(self, frame: Frame) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 3, 5])
def test_interrupted_it_returns_what_there_is(studio: Studio, tmp_path: Path, at: int) -> None:
    """The estimate after the last whole step; its recipe says so, and draws the same again."""
    drawn = studio.draw("x", seeds=range(40), steps=5, tell=Interrupted(at))
    assert len(drawn) == 16 and all(one.interrupted and one.drawing.stopped == at for one in drawn)
    assert all(bool(one.picture.isfinite().all()) for one in drawn)
    drawn[3].save(tmp_path / "out.png")
    assert verify(studio, tmp_path / "out.png").finding == "exact"


def test_later_batches_are_not_begun(studio: Studio) -> None:
    drawn = studio.draw("x", seeds=range(32), steps=2, tell=Interrupted(3))
    assert [one.interrupted for one in drawn] == [False] * 16 + [True] * 16


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_short_of_memory_fewer_are_drawn_at_once(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Down to what fits, and what fitted once is not exceeded again."""
    expected = studio.draw("x", seeds=range(20), steps=2)
    tried: list[int] = []
    said: list[str] = []
    frames = Studio.frames

    def tight(self: Studio, drawings: Sequence[Drawing]) -> Iterator[Frame]:
        tried.append(len(drawings))
        if len(drawings) > 4:
            raise error
        return frames(self, drawings)

    monkeypatch.setattr(Studio, "frames", tight)
    batches = plan(studio, Wish(("x",), count=20, settings={"seed": 0, "steps": 2}))
    drawn = list(studio.draw_all(batches, say=said.append))
    assert [one.drawing.seed for one in drawn] == list(range(20))
    assert tried == [16, 8, 4, 4, 4, 4, 4] and len(said) == 2 and "16 pictures at once are too many" in said[0]
    for one, other in zip(drawn, expected, strict=True):
        assert_close(one.picture, other.picture, atol=1e-4, rtol=0)
        assert (one.drawing.batch, one.drawing.index) == (4, one.drawing.seed % 4)


def test_one_picture_that_does_not_fit_says_so(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: Studio, drawings: Sequence[Drawing]) -> Iterator[Frame]:
        raise MemoryError

    monkeypatch.setattr(Studio, "frames", none)
    with pytest.raises(MemoryError):
        studio.draw("x", seeds=range(4), **QUICK)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Wish(size=(48, 32)), {"width": 48, "height": 32, "hires": None}),
        (Wish(settings={"hires": {"scale": 2}}), {"width": 64, "height": 64}),
        (Wish(preset="lcm"), {"scheduler": "lcm", "steps": 6, "guidance": 1.5}),
        (Wish(preset="lcm", settings={"steps": 4}), {"scheduler": "lcm", "steps": 4}),
        (Wish(prompts=("y",), settings={"rescale": 0.5}), {"prompt": "y", "rescale": 0.5, "seed": 3}),
    ],
)
def test_a_wish_over_a_recipe(studio: Studio, change: Wish, expected: dict[str, Any]) -> None:
    request = ControlRequest("canny", PICTURES[0], curve="soft", mask=MASK)
    (batch,) = plan(studio, Wish(("x",), (request,), settings={"seed": 3}))
    ((new,),) = (each.drawings for each in redrawn(studio, batch.drawings[0], change, "out.png"))
    assert {name: getattr(new, name) for name in expected} == expected
    assert new.controls[0].curve == "soft" and new.controls[0].mask == batch.drawings[0].controls[0].mask


def test_how_a_preset_is_heard(studio: Studio) -> None:
    """By controls that do not say it themselves."""
    requests = (ControlRequest("canny", PICTURES[0]), ControlRequest("depth", PICTURES[0], is_map=True, side="both"))
    wish = Wish(("x",), requests, preset="resolution weighting")
    several = ControlRequest("canny", list(PICTURES[:2]))
    drawn = studio.draw("x", controls=[several], seeds=[1, 2], preset="guess mode", **QUICK)
    assert [one.drawing.controls[0].mode for one in drawn] == ["guess mode"] * 2
    (batch,) = plan(studio, wish)
    first, second = batch.drawings[0].controls
    assert (first.curve, first.side, second.curve, second.side) == ("resolution", "conditional", "flat", "both")
    with pytest.raises(ConfigError, match="unknown preset 'lmc'; did you mean 'lcm'"):
        Wish(("x",), preset="lmc")


def test_a_large_picture_is_drawn_at_the_size_of_the_base(studio: Studio) -> None:
    """Unless a size is asked for; a small one keeps its own."""
    said: list[str] = []

    def size(side: int, **more: Any) -> tuple[int, int]:
        from underdraw.generation import PictureRequest

        wish = Wish(("x",), picture=PictureRequest(torch.rand(3, side, side)), **more)
        return next(plan(studio, wish, said.append)).drawings[0].size

    assert size(40) == (40, 40) and size(30) == (32, 32) and said == ["size 30x30 becomes 32x32: multiples of 8"]
    assert size(200) == (32, 32) and "the picture of 200x200 is drawn at 32x32" in said[-1]
    assert size(200, size=(96, 96)) == (96, 96)
