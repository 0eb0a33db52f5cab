import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from underdraw import images
from underdraw.annotators import Person, Poses, read_coco, read_openpose, read_poses, write_coco, write_openpose
from underdraw.annotators.keypoint_files import COCO, from_coco, from_openpose, to_coco, to_openpose
from underdraw.annotators.keypoints import ABSENT, BODY, FACE, HAND, Points
from underdraw.errors import InputError


def points(count: int, width: float, height: float, missing: tuple[int, ...] = ()) -> Points:
    return tuple(
        ABSENT if place in missing else (width * (place + 1) / (count + 2), height * (place + 0.5) / count, 0.9)
        for place in range(count)
    )


def person(width: float = 512, height: float = 384) -> Person:
    return Person(
        points(len(BODY), width, height, (4, 17)),
        points(HAND, width / 2, height),
        (),
        points(FACE, width, height / 2, (3,)),
    )


def test_a_canvas_of_the_same_proportions_is_scaled() -> None:
    moved = Poses((person(),), (512, 384)).on((256, 192))
    assert moved.canvas == (256, 192)
    for before, after in zip(person().body, moved.people[0].body, strict=True):
        assert after == pytest.approx((before[0] / 2, before[1] / 2, before[2]))


@pytest.mark.parametrize("size", [(64, 64), (33, 57), (120, 40), (40, 120)])
def test_the_canvas_is_cut_as_pictures_are(size: tuple[int, int]) -> None:
    """A white pixel in a cropped and enlarged picture lies where its keypoint has moved to."""
    width, height = 91, 70
    for x, y in ((45, 35), (47, 32), (43, 36)):
        picture = torch.zeros(1, 1, height, width)
        picture[..., y, x] = 1
        seen = images.resize(images.crop(picture, size), (8 * size[0], 8 * size[1]), "nearest")[0, 0]
        middle = seen.nonzero().float().mean(0) + 0.5
        body = ((x + 0.5, y + 0.5, 1.0),) + (ABSENT,) * 17
        at = Poses((Person(body),), (width, height)).on((8 * size[0], 8 * size[1])).people[0].body[0]
        assert at[0] == pytest.approx(float(middle[1]), abs=0.6)
        assert at[1] == pytest.approx(float(middle[0]), abs=0.6)


def test_what_is_not_there_stays_away() -> None:
    moved = Poses((person(),), (512, 384)).on((100, 300)).people[0]
    assert moved.body[4] == moved.body[17] == ABSENT
    assert moved.right_hand == ()
    assert len(person().points) == 16 + HAND + FACE - 1


def test_shares_fill_any_drawing_and_pixels_of_no_canvas_are_the_drawings() -> None:
    shares = Poses((person(1, 1),), (1, 1))
    assert shares.on((200, 100)).people[0].body[0] == pytest.approx((200 / 20, 100 * 0.5 / 18, 0.9))
    assert shares.extent == (512, 512)
    loose = Poses((person(),))
    assert loose.on((64, 64)).people == loose.people
    assert loose.extent == (512, 384 + 64 - 64)
    assert Poses().extent == (64, 64)


def test_shares_and_back() -> None:
    poses = Poses((person(),), (512, 384))
    back = poses.shares().on((512, 384)).people[0]
    for before, after in zip(poses.people[0].points, back.points, strict=True):
        assert after == pytest.approx(before)


coordinates = st.floats(3, 5000, allow_nan=False)
confidences = st.one_of(st.just(0.0), st.floats(0.01, 1))


@st.composite
def people(draw: st.DrawFn) -> Person:
    def some(count: int) -> Points:
        drawn = [(draw(coordinates), draw(coordinates), draw(confidences)) for _ in range(count)]
        return tuple(point if point[2] else ABSENT for point in drawn)

    return Person(some(18), some(21) if draw(st.booleans()) else (), some(21) if draw(st.booleans()) else ())


@settings(max_examples=25, deadline=None)
@given(st.lists(people(), max_size=3), st.sampled_from([None, (640, 480)]))
def test_openpose_loses_nothing(somebody: list[Person], canvas: tuple[int, int] | None) -> None:
    poses = Poses(tuple(somebody), canvas)
    assert from_openpose(json.loads(json.dumps(to_openpose(poses))), "x") == (poses,)


def test_files_of_both_forms(tmp_path: Path) -> None:
    one, two = Poses((person(),), (512, 384)), Poses((person(), person()), (640, 640))
    write_openpose(one, tmp_path / "one.json")
    write_openpose([one, two], tmp_path / "list.json")
    assert read_poses(tmp_path / "one.json") == one
    assert read_openpose(tmp_path / "list.json") == (one, two)
    assert json.loads((tmp_path / "list.json").read_text())[1]["canvas_width"] == 640
    with pytest.raises(InputError, match=r"list.json holds 2 pictures; take one of them with read_openpose"):
        read_poses(tmp_path / "list.json")


def test_what_pose_editors_write_is_read() -> None:
    """As A1111's extension and its editor exchange it: null for what is missing, pixels or shares, a canvas."""
    numbers = [value for x, y, seen in points(18, 100, 100, (2,)) for value in (x, y, seen)]
    entry: dict[str, Any] = {"pose_keypoints_2d": numbers, "face_keypoints_2d": None, "hand_left_keypoints_2d": None}
    page = {"people": [entry], "canvas_width": 100, "canvas_height": 50, "animals": []}
    (poses,) = from_openpose([page], "x")
    assert poses == Poses((Person(points(18, 100, 100, (2,))),), (100, 50))
    shared = [number / 100 if place % 3 < 2 else number for place, number in enumerate(numbers)]
    (stretched,) = from_openpose(page | {"people": [entry | {"pose_keypoints_2d": shared}]}, "x")
    assert stretched.canvas == (100, 50)
    assert stretched.people[0].body[0] == pytest.approx((100 / 20, 50 * 0.5 / 18, 0.9))
    (relative,) = from_openpose({"people": [entry | {"pose_keypoints_2d": shared}]}, "x")
    assert relative.relative


def test_the_body_of_25_has_the_body_of_18() -> None:
    """OpenPose's later body: 8 is the middle of the hips, and from there on all move up by one; feet come last."""
    later = [float(value) for place in range(25) for value in (10 * place + 5, 7, 1)]
    (poses,) = from_openpose({"people": [{"pose_keypoints_2d": later}]}, "x")
    assert [x for x, _, _ in poses.people[0].body] == [10 * place + 5 for place in (*range(8), *range(9, 19))]


COCO_PAGE: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 80}],
    "annotations": [
        {"image_id": 7, "keypoints": [value for place in range(17) for value in (place + 1, 2 * place + 1, place % 3)]},
        {"image_id": 7, "keypoints": [0] * 51},
        {"image_id": 7, "iscrowd": 1, "keypoints": [1] * 51},
    ],
}


def test_coco_has_no_neck_and_other_places() -> None:
    found = from_coco(COCO_PAGE, "x")["a.jpg"]
    assert found.canvas == (100, 80)
    (body,) = [person.body for person in found.people]
    for place, name in enumerate(COCO):
        confidence = (0.0, 0.5, 1.0)[place % 3]
        assert body[BODY.index(name)] == ((place + 1, 2 * place + 1, confidence) if confidence else ABSENT)
    assert body[1] == ABSENT, "the right shoulder is not there"
    both = COCO_PAGE | {
        "annotations": [{"image_id": 7, "keypoints": [3, 4, 1] * 5 + [10, 20, 2, 30, 24, 1] + [3, 4, 2] * 10}]
    }
    assert from_coco(both, "x")["a.jpg"].people[0].body[1] == (20, 22, 0.5)


def test_coco_goes_round(tmp_path: Path) -> None:
    before = from_coco(COCO_PAGE, "x")
    write_coco(before, tmp_path / "coco.json")
    assert read_coco(tmp_path / "coco.json") == before
    assert read_poses(tmp_path / "coco.json") == before["a.jpg"]
    (entry,) = to_coco(before)["annotations"]
    assert entry["keypoints"] == [
        value if place % 3 or value else 0
        for place, value in enumerate(_without(COCO_PAGE["annotations"][0]["keypoints"]))
    ]
    assert entry["num_keypoints"] == 11 and entry["bbox"] == [2, 3, 15, 30]


def _without(numbers: list[int]) -> list[int]:
    """With zeros for what is not there."""
    return [value if numbers[place - place % 3 + 2] else 0 for place, value in enumerate(numbers)]


BROKEN: dict[str, Any] = {
    "not JSON": "{",
    "no people": "{}",
    "a number": "3",
    "people of text": '{"people": "many"}',
    "a body of two": '{"people": [{"pose_keypoints_2d": [1, 2, 1, 3, 4, 1]}]}',
    "half a point": '{"people": [{"pose_keypoints_2d": [1, 2]}]}',
    "infinite": json.dumps({"people": [{"pose_keypoints_2d": [1e400, 2, 1] * 18}]}),
    "far away": json.dumps({"people": [{"pose_keypoints_2d": [1e9, 2, 1] * 18}]}),
    "words": json.dumps({"people": [{"pose_keypoints_2d": ["left", 2, 1] * 18}]}),
    "coco without images": '{"annotations": []}',
    "coco of three": '{"images": [{"id": 1, "file_name": "a", "width": 9, "height": 9}], '
    '"annotations": [{"image_id": 1, "keypoints": [1, 1, 1]}]}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_hold_no_poses_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "poses.json").write_text(BROKEN[name])
    with pytest.raises(InputError, match=r"poses.json is not") as caught:
        read_poses(tmp_path / "poses.json")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"cannot read nowhere\.json"):
        read_poses("nowhere.json")
