from collections.abc import Iterator
from random import Random

import cv2
import numpy as np
import pytest

from underdraw.annotators import Person, Poses, draw_poses
from underdraw.annotators.keypoints import ABSENT, BODY, Points
from underdraw.annotators.skeleton import STICKS, Pixels
from underdraw.annotators.skeleton_discs import foreign
from underdraw.annotators.skeleton_reading import decode
from underdraw.data.scenes import mannequin
from underdraw.data.scenes.poses import MAKERS

SIZE = (256, 256)
CLOSE = 1.5
"""Pixels by which a point that was read may be off."""


def mannequins(count: int, seed: int = 0) -> Iterator[Points]:
    """Mannequins in all their poses, as a camera before them sees them: from 80 to 230 pixels tall, turned a little."""
    for number in range(count):
        rng = Random(seed + number)
        body = np.array(mannequin.build(rng, list(MAKERS)[number % len(MAKERS)]).points)
        yaw = rng.uniform(-1, 1)
        across = body[:, 0] * np.cos(yaw) + body[:, 2] * np.sin(yaw)
        tall = rng.uniform(80, 230)
        scale = tall / np.ptp(body[:, 1])
        x = rng.uniform(100, 156) + across * scale
        y = 128 + tall / 2 - (body[:, 1] - body[:, 1].min()) * scale
        yield tuple((float(a), float(b), 1.0) for a, b in zip(x, y, strict=True))


def skeleton(*bodies: Points, stick: int = 4) -> Pixels:
    return draw_poses(Poses(tuple(Person(body) for body in bodies), SIZE), SIZE, stick=stick)


def off(expected: Points, found: Points) -> list[float]:
    """By how much each point is off; those that were not found are infinitely so."""
    return [
        float(np.hypot(a[0] - b[0], a[1] - b[1])) if b[2] else np.inf
        for a, b in zip(expected, found, strict=True)
        if a[2]
    ]


def test_mannequins_are_read_again() -> None:
    wrong, points = [], 0
    for body in mannequins(48):
        poses = decode(skeleton(body))
        assert len(poses.people) == 1 and poses.canvas == SIZE
        errors = off(body, poses.people[0].body)
        points += len(errors)
        wrong += [error for error in errors if error > CLOSE]
    assert len(wrong) <= 0.005 * points, "only points that lie wholly under others of the same body"
    assert all(error == np.inf for error in wrong)


@pytest.mark.parametrize("stick", [2, 3, 6])
def test_other_widths(stick: int) -> None:
    for body in mannequins(4, seed=100):
        (person,) = decode(skeleton(body, stick=stick), stick).people
        assert max(off(body, person.body)) <= CLOSE


def test_what_is_not_there_is_not_found() -> None:
    body = next(mannequins(1, seed=7))
    for missing in ((3,), (4, 7), (0,), (8, 9, 10), (14, 16), (13,)):
        without = tuple(ABSENT if place in missing else point for place, point in enumerate(body))
        (person,) = decode(skeleton(without)).people
        assert [place for place, point in enumerate(person.body) if not point[2]] == list(missing)


def test_several_people_are_told_apart() -> None:
    first, second, third = (
        tuple((0.5 * x + shift, y, seen) for x, y, seen in body)
        for body, shift in zip(mannequins(3, seed=30), (-30.0, 50.0, 130.0), strict=True)
    )
    found = decode(skeleton(first, second, third)).people
    assert len(found) == 3
    for body in (first, second, third):
        errors = min((off(body, person.body) for person in found), key=np.median)
        assert sum(error > CLOSE for error in errors) <= 1


def test_one_who_covers_another() -> None:
    """The legs of one behind another: a limb of the one in front hides points of the one behind."""
    behind = tuple((x - 12, y, seen) for x, y, seen in next(mannequins(1, seed=41)))
    front = tuple((x + 12, y, seen) for x, y, seen in next(mannequins(1, seed=53)))
    found = decode(skeleton(behind, front)).people
    assert len(found) == 2
    assert min(max(off(front, person.body)) for person in found) <= CLOSE
    assert min(np.median(off(behind, person.body)) for person in found) <= CLOSE


def test_hands_and_faces_do_not_disturb() -> None:
    body = next(mannequins(1, seed=3))
    wrist = body[7]
    hand = tuple((wrist[0] + 3 * (place % 4), wrist[1] + 2 * (place // 4), 1.0) for place in range(21))
    drawn = draw_poses(Poses((Person(body, hand),), SIZE), SIZE)
    (person,) = decode(drawn).people
    errors = off(body, person.body)
    assert max(error for place, error in enumerate(errors) if BODY[place] != "left wrist") <= CLOSE


@pytest.mark.parametrize("sampling", [0x111111, 0x221111], ids=["4:4:4", "4:2:0"])
def test_jpeg_is_borne(sampling: int) -> None:
    body = next(mannequins(1, seed=11))
    enlarged = tuple((2 * x, 2 * y, seen) for x, y, seen in body)
    drawn = draw_poses(Poses((Person(enlarged),), (512, 512)), (512, 512))
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, data = cv2.imencode(".jpg", drawn[..., ::-1], options)
    read = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    (person,) = decode(np.ascontiguousarray(read[..., ::-1])).people
    errors = off(enlarged, person.body)
    assert np.median(errors) < 0.6 and sum(error > CLOSE for error in errors) <= 2


def test_nothing_in_nothing() -> None:
    assert decode(np.zeros((64, 64, 3), np.uint8)).people == ()
    only_limb = np.zeros((64, 64, 3), np.uint8)
    cv2.line(only_limb, (10, 10), (50, 50), STICKS[3], 7)
    assert decode(only_limb).people == ()


def test_foreign_colours_are_counted() -> None:
    drawn = skeleton(*mannequins(1))
    assert foreign(drawn) == 0
    drawn[:64] = (120, 110, 100)
    assert foreign(drawn) == pytest.approx(0.25, abs=0.02)
