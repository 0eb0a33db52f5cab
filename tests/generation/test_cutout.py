"""Only what is masked: what is cut out, where it is put back, and that a drawing of it is the drawing of that part."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw import images
from underdraw.errors import ConfigError, InputError
from underdraw.generation import (
    ControlRequest,
    Cutout,
    PictureRequest,
    Studio,
    Wish,
    filled,
    plan_each,
    read_drawing,
    redrawn,
    verify,
)
from underdraw.generation.cutout import shaped
from underdraw.generation.provenance import unpack_map

PICTURE = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 1, 60, 80)
MASK[..., 20:32, 50:60] = 1
QUICK: dict[str, Any] = {"steps": 2, "seeds": [3], "strength": 0.8}


@pytest.mark.parametrize(
    ("size", "padding", "box"),
    [
        ((32, 32), 4, (45, 16, 65, 36)),
        ((32, 32), 0, (49, 20, 61, 32)),
        ((64, 32), 4, (35, 16, 75, 36)),
        ((32, 64), 0, (50, 16, 60, 36)),
        ((32, 32), 22, (26, 0, 80, 54)),  # on the right there are no more
        ((32, 32), 1000, (0, -10, 80, 70)),  # all of it, and beyond
        ((32, 32), 30, (20, 0, 80, 60)),
    ],
)
def test_what_is_cut_out(size: tuple[int, int], padding: int, box: tuple[int, int, int, int]) -> None:
    """The mask, the padding, the proportions of the drawing; within the picture where that is possible."""
    assert Cutout.around(MASK, padding, size) == Cutout((80, 60), box)


def test_a_speck_is_given_room() -> None:
    mask = torch.zeros(1, 1, 60, 80)
    mask[..., 0, 0] = 1
    assert Cutout.around(mask, 0, (64, 32)).box == (0, 0, 16, 8)


@pytest.mark.parametrize("box", [(10, 5, 50, 45), (-10, 20, 30, 70), (0, -10, 80, 70), (200, 200, 240, 240)])
def test_there_and_back(box: tuple[int, int, int, int]) -> None:
    """What is put back unchanged changes nothing; another part is there and nowhere else."""
    part = Cutout((80, 60), box)
    cut = part.of(PICTURE)
    assert cut.shape[-2:] == (box[3] - box[1], box[2] - box[0])
    assert torch.equal(part.laid(cut, PICTURE), PICTURE)
    changed = (part.laid(1 - cut, PICTURE) != PICTURE).any(1)[0]
    inside = torch.zeros(60, 80, dtype=torch.bool)
    inside[max(0, box[1]) : box[3], max(0, box[0]) : box[2]] = True
    assert not changed[~inside].any() and changed.sum() > 0.99 * inside.sum() - 1


def test_the_same_part_of_another_resolution() -> None:
    part, large = Cutout((80, 60), (10, 5, 50, 45)), images.resize(PICTURE, (160, 120), "nearest")
    assert_close(part.of(large), images.resize(part.of(PICTURE), (80, 80), "nearest"))
    assert part.of(PICTURE[..., :4, :4]).numel()  # however small


def test_other_proportions() -> None:
    assert shaped((0, 0, 40, 40), (64, 32)) == (0, 10, 40, 30)


def drawn(studio: Studio, **more: Any) -> Any:
    told: dict[str, Any] = {"image": PICTURE, "mask": MASK, "only_masked": 4} | QUICK | more
    (one,) = studio.draw("x", **told)
    return one


def test_outside_the_mask_nothing_changes(studio: Studio) -> None:
    one = drawn(studio)
    outside = (MASK == 0).expand_as(PICTURE)[0]
    before = images.from_uint8(images.to_uint8(PICTURE[0]))
    assert one.picture.shape == (3, 60, 80) and one.drawing.size == (32, 32)
    assert torch.equal(one.picture[outside], before[outside])
    assert (one.picture - before)[~outside].abs().mean() > 0.02


def test_it_is_the_drawing_of_that_part(studio: Studio) -> None:
    """With what its control sees of it, and where it hears it: as if all had been cut out by hand."""
    part = Cutout.around(MASK, 4, (32, 32))
    region = torch.zeros(1, 1, 60, 80)
    region[..., 20:] = 1
    whole, cut = (
        Wish(
            ("x",),
            (ControlRequest("canny", of(PICTURE), mask=of(region)),),
            (32, 32),
            picture=PictureRequest(images.from_uint8(images.to_uint8(of(PICTURE)[0])), mask=of(MASK), padding=padding),
            settings={"steps": 3},
        )
        for of, padding in ((lambda each: each, 4), (part.of, None))
    )
    mine, expected = (plan_each(studio, wish, [5]) for wish in (whole, cut))
    assert mine[0].given is not None and mine[0].given.box == part.box
    assert torch.equal(unpack_map(mine[0].controls[0], ""), unpack_map(expected[0].controls[0], ""))
    assert mine[0].controls[0].mask == expected[0].controls[0].mask
    *_, last = studio.frames(mine)
    *_, other = studio.frames(expected)
    assert_close(last.latents, other.latents, atol=0.05, rtol=0)  # a PNG keeps 256 values


def test_a_control_that_is_cut_already(studio: Studio) -> None:
    edges = torch.zeros(1, 32, 32)
    edges[:, 10] = 1
    for is_cut, expected in ((True, True), (False, False)):
        one = drawn(studio, controls=[ControlRequest("canny", edges, is_map=True, is_cut=is_cut)])
        assert torch.equal(unpack_map(one.drawing.controls[0], "")[0], edges) == expected


def test_each_of_a_batch_has_its_own(studio: Studio) -> None:
    """Law 6: other pictures, sizes and masks."""
    other, mask = torch.rand(3, 40, 40), torch.zeros(1, 40, 40)
    mask[:, 5:9, 5:30] = 1
    told: dict[str, Any] = {"only_masked": 2, "size": (32, 32), "steps": 2, "strength": 0.8}
    both = studio.draw("x", image=[PICTURE, other], mask=[MASK, mask], seeds=[3, 8], **told)
    for one, image, its_mask, seed in zip(both, (PICTURE, other), (MASK, mask), (3, 8), strict=True):
        (alone,) = studio.draw("x", image=image, mask=its_mask, seeds=[seed], **told)
        assert_close(one.picture, alone.picture, atol=1e-4, rtol=0)


def test_its_recipe_draws_it_again(studio: Studio, tmp_path: Path) -> None:
    control = ControlRequest("canny", PICTURE)
    one = drawn(studio, controls=[control], masked_content="fill")
    one.save(tmp_path / "out.png")
    drawing = read_drawing(tmp_path / "out.png")
    assert "Inpaint area: Only masked, Masked content: fill" in drawing.parameters()
    assert verify(studio, tmp_path / "out.png").finding == "exact"
    (batch,) = redrawn(studio, drawing, Wish(size=(64, 32)), "out.png")
    assert batch.drawings[0].given is not None and batch.drawings[0].given.box == (45, 21, 65, 31)
    assert studio.draw_batch(batch)[0].picture.shape == (3, 60, 80)
    (batch,) = redrawn(studio, drawing, Wish(controls=(control,)), "out.png")
    assert batch.drawings[0].controls[0].map == drawing.controls[0].map


def test_with_a_second_pass_and_beyond_the_edges(studio: Studio) -> None:
    one = drawn(studio, hires={"scale": 2.0}, outpaint=(0, 0, 8, 0), mask=None)
    assert one.picture.shape == (3, 60, 88) and one.drawing.size == (64, 64)
    assert torch.equal(one.picture[..., :80], images.from_uint8(images.to_uint8(PICTURE[0])))


CONTENTS = ("original", "fill", "latent noise", "latent nothing")


def test_what_stands_in_the_mask(studio: Studio) -> None:
    """Where some strength is left to it, it is seen."""
    shared: dict[str, Any] = {"only_masked": None, "size": (80, 56), "strength": 0.5}
    found = [drawn(studio, masked_content=name, **shared).picture for name in CONTENTS]
    for place, one in enumerate(found):
        assert all((one - other).abs().max() > 0.01 for other in found[:place])


def test_colours_flow_in() -> None:
    picture = torch.full((1, 3, 33, 47), 0.2)
    picture[..., 24:] = 0.8
    mask = torch.zeros(1, 1, 33, 47)
    mask[..., 5:30, 3:44] = 1
    made = filled(torch.where(mask > 0, 0.0, picture), mask)
    assert torch.equal(made[..., :5, :], picture[..., :5, :])
    assert made.min() >= 0.2 - 1e-5 and made.max() <= 0.8 + 1e-5
    assert made[..., 17, 4].mean() < 0.3 and made[..., 17, 42].mean() > 0.7
    assert_close(filled(picture, torch.ones(1, 1, 33, 47)), torch.full_like(picture, 0.5))


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ({"mask": torch.zeros(1, 60, 80)}, InputError, "the mask is black everywhere"),
        ({"mask": None}, InputError, "say how a mask is drawn, and there is none"),
        (
            {"mask": torch.ones(1, 60, 80), "image": torch.rand(3, 8, 4096), "size": (8, 64)},
            InputError,
            "too long for a",
        ),
        ({"only_masked": -1}, InputError, "a padding of -1 pixels makes no sense"),
        ({"masked_content": "colour"}, ConfigError, "content"),
        ({"image": None, "mask": None, "strength": None}, InputError, "there is none; give one"),
    ],
)
def test_what_makes_no_sense(studio: Studio, told: dict[str, Tensor], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        drawn(studio, **told)
