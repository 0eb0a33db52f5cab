"""The drawing, against what controlnet_aux 0.0.10 drew of the same points, and by what is known of its looks."""

import hashlib
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from math import cos, sin
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from underdraw.annotators import Person, Poses, draw_poses
from underdraw.annotators.keypoints import ABSENT, Points
from underdraw.annotators.skeleton import DOTS, LIMBS, PALETTE, Pixels

PUBLISHED = {
    (512, 512): "5b73c1739e5c0b41a2c1bb2ce8de792cf4db95379ace7515bbed6aab192ecbb0",
    (333, 250): "7f09e5d7f96187312ae5759290d90773a343ee332a422d67601679a10c6a60fe",
    (128, 192): "4a788462109e125edeb1396b09a893e58614e63a031578cdaedc3ad6d79d9925",
}
"""SHA-256 of the bytes that controlnet_aux 0.0.10 draws of `people`, by size."""


def wave(count: int, width: float, height: float, turn: float, missing: tuple[int, ...] = ()) -> Points:
    """Points all over a drawing, some outside."""
    return tuple(
        ABSENT
        if place in missing
        else (
            width * (0.5 + 0.42 * cos(turn + 2.3 * place) * (0.35 + 0.65 * place / count)),
            height * (0.5 + 0.45 * sin(1.7 * turn + 1.1 * place)),
            1.0,
        )
        for place in range(count)
    )


def somebody(number: int, width: int, height: int) -> Person:
    return Person(
        wave(18, width, height, number + 0.3, (4,) if number else (10, 17)),
        wave(21, 0.6 * width, 0.5 * height, number + 1.1),
        wave(21, 1.3 * width, 0.9 * height, number + 2.2),
        wave(70, width, 0.7 * height, number + 3.3),
    )


def people(size: tuple[int, int]) -> Poses:
    return Poses(tuple(somebody(number, *size) for number in range(2)), size)


@pytest.mark.parametrize("size", PUBLISHED)
def test_is_the_published_drawing_byte_for_byte(size: tuple[int, int]) -> None:
    drawn = draw_poses(people(size), size)
    assert hashlib.sha256(drawn.tobytes()).hexdigest() == PUBLISHED[size]


def peer() -> Any:
    """The peer's module of drawing alone: the package itself imports torchvision."""
    package = find_spec("controlnet_aux")
    if package is None or not package.submodule_search_locations:
        pytest.skip("controlnet_aux is not installed")
    path = Path(package.submodule_search_locations[0]) / "open_pose" / "util.py"
    source = path.read_text(encoding="utf-8").replace(
        "from .body import BodyResult, Keypoint", "BodyResult = Keypoint = object"
    )
    spec = spec_from_file_location("peer_of_skeletons", path)
    assert spec is not None
    module = module_from_spec(spec)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("whole", [False, True])
def test_draws_as_the_peer_does_where_it_is_installed(whole: bool) -> None:
    theirs, generator = peer(), np.random.default_rng(0)
    for width, height in ((512, 512), (333, 250), (640, 427), (100, 90)):
        spread = [generator.uniform(-0.05, 1.05, (count, 2)) * (width, height) for count in (18, 21, 21, 70)]
        parts = [tuple((float(x), float(y), 1.0) for x, y in (np.round(spots) if whole else spots)) for spots in spread]
        expected = np.zeros((height, width, 3), np.uint8)
        given = [[SimpleNamespace(x=x / width, y=y / height) for x, y, _ in part] for part in parts]
        for draw, part in zip(("bodypose", "handpose", "handpose", "facepose"), given, strict=True):
            getattr(theirs, f"draw_{draw}")(expected, part)
        assert np.array_equal(draw_poses(Poses((Person(*parts),), (width, height)), (width, height)), expected)


def upright() -> Points:
    """Somebody who stands in a canvas of 256 × 256, arms and legs apart."""
    spots = (
        *((128, 50), (128, 80), (100, 82), (80, 110), (60, 140), (156, 82), (176, 110), (196, 140)),
        *((112, 150), (104, 190), (98, 235), (144, 150), (152, 190), (158, 235)),
        *((118, 40), (138, 40), (106, 44), (150, 44)),
    )
    return tuple((x + 0.5, y + 0.5, 1.0) for x, y in spots)


def drawn(body: Points, **look: Any) -> Pixels:
    return draw_poses(Poses((Person(body),), (256, 256)), (256, 256), **look)


def test_points_and_limbs_have_their_colours() -> None:
    pixels = drawn(upright())
    for (x, y, _), colour in zip(upright(), DOTS, strict=True):
        assert tuple(pixels[int(y), int(x)]) == colour
    for (start, end), colour in zip(LIMBS, DOTS, strict=False):
        across, down = (int((upright()[start][axis] + upright()[end][axis]) / 2) for axis in (0, 1))
        assert tuple(pixels[down, across]) == tuple(int(0.6 * value) for value in colour)
    assert {tuple(colour) for colour in np.unique(pixels.reshape(-1, 3), axis=0).tolist()} <= {(0, 0, 0), *PALETTE}


def test_a_limb_is_as_wide_as_was_asked() -> None:
    for stick in (2, 4, 7):
        pixels = drawn((ABSENT,) * 8 + ((128.0, 40.0, 1.0), (128.0, 200.0, 1.0)) + (ABSENT,) * 8, stick=stick)
        assert pixels[120].any(-1).sum() == 2 * stick + 1
        assert pixels[40].any(-1).sum() == pixels[200].any(-1).sum() == 2 * stick + 1


def test_without_a_point_its_limbs_are_not_drawn() -> None:
    pixels = drawn((*upright()[:3], ABSENT, *upright()[4:]))
    missing = (drawn(upright()) != pixels).any(-1)
    assert missing.any() and not missing[:, 110:].any()
    assert tuple(pixels[140, 60]) == DOTS[4], "the wrist stays"


def test_each_part_can_be_left_out() -> None:
    size = (128, 128)
    whole = draw_poses(people(size), size)
    bodies = draw_poses(people(size), size, hands=False, face=False)
    assert (whole != bodies).any()
    assert np.array_equal(bodies, draw_poses(Poses(tuple(Person(p.body) for p in people(size).people), size), size))
    assert not draw_poses(people(size), size, body=False, hands=False, face=False).any()


def test_points_far_outside_do_no_harm() -> None:
    far = tuple((x + 900_000.0, y - 900_000.0, 1.0) for x, y, _ in upright())
    assert not drawn(far).any()
    stretched = ((900_000.0, 128.0, 1.0), *upright()[1:])
    assert drawn(stretched)[:, 200:].any()
