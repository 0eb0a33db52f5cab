from pathlib import Path

import numpy as np
import pytest
import torch

from underdraw import images
from underdraw.annotators import Person, Pose, Poses, build, decode, draw_poses, extract, write_coco, write_openpose
from underdraw.annotators.keypoints import Points
from underdraw.errors import InputError

EXAMPLES = Path(__file__).parents[2] / "examples" / "pictures"


def body(width: float = 400, height: float = 300) -> Points:
    spots = (
        *((50, 12), (50, 25), (40, 25), (32, 40), (26, 55), (60, 25), (68, 40), (74, 55)),
        *((44, 55), (42, 74), (41, 95), (56, 55), (58, 74), (59, 95)),
        *((47, 9), (53, 9), (43, 11), (57, 11)),
    )
    return tuple((x * width / 100, y * height / 100, 1.0) for x, y in spots)


def poses() -> Poses:
    return Poses((Person(body()),), (400, 300))


def test_a_file_of_keypoints_becomes_the_drawing(tmp_path: Path) -> None:
    write_openpose(poses(), tmp_path / "pose.json")
    write_coco({"a.jpg": poses()}, tmp_path / "coco.json")
    expected = images.from_uint8(draw_poses(poses(), (400, 300)))[None]
    pose = build("pose")
    assert torch.equal(pose.map(pose.read(tmp_path / "pose.json")), expected)
    assert pose.extent(pose.read(tmp_path / "pose.json")) == (400, 300)
    assert torch.equal(pose.map(pose.read(tmp_path / "coco.json")), expected)


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (97, 64), (1024, 512)])
def test_points_are_scaled_and_not_pixels(size: tuple[int, int]) -> None:
    """A limb is as thick in a large drawing as in one of 256 px, thinner below, and the middle of the canvas stays."""
    found = Pose().map(poses(), size)
    assert found.shape == (1, 3, size[1], size[0])
    stick = {64: 1}.get(min(size), 4)
    assert torch.equal(found, images.from_uint8(draw_poses(poses().on(size), size, stick=stick))[None])
    _, columns = found[0].amax(0).nonzero(as_tuple=True)
    assert abs(float(columns.min() + columns.max()) / 2 - size[0] / 2) <= 2


def test_resolution_draws_smaller_and_enlarges() -> None:
    coarse = Pose(resolution=75).map(poses(), (400, 300))
    assert torch.equal(coarse, images.resize(Pose().map(poses(), (100, 75)), (400, 300), "nearest"))


def test_knobs_choose_what_is_drawn() -> None:
    hand = tuple((200.0 + 4 * place, 150.0, 1.0) for place in range(21))
    both = Poses((Person(body(), hand),), (400, 300))
    assert torch.equal(Pose(hands=False).map(both), Pose().map(poses()))
    assert Pose(body=False).map(both).mean() < 0.5 * Pose().map(both).mean()
    assert Pose(stick=8).map(poses()).mean() > 1.5 * Pose().map(poses()).mean()


def test_a_drawn_skeleton_is_drawn_anew_at_another_size() -> None:
    drawn = Pose().map(poses())
    again = Pose().map(drawn, (800, 600))
    exact = Pose().map(poses(), (800, 600))
    assert (again != exact).any(1).float().mean() < 0.3 * (exact > 0).any(1).float().mean()
    assert torch.equal(Pose()(torch.zeros(2, 3, 64, 64)), torch.zeros(2, 3, 64, 64))


def test_a_photograph_names_the_annotators_that_can() -> None:
    photograph = images.read(EXAMPLES / "photographs" / "astronaut.jpg")
    with pytest.raises(
        InputError, match=r"take .*openpose_mediapipe \(pip install 'underdraw\[mediapipe\]'\)"
    ) as caught:
        extract("pose", photograph)
    assert "\n" not in str(caught.value) and "pose=FILE.json" in str(caught.value)
    dark = torch.zeros(1, 3, 64, 64)
    dark[..., :2, :2] = 0.5
    with pytest.raises(InputError, match="poses cannot be seen"):
        extract("pose", dark)


def test_a_batch_of_skeletons() -> None:
    drawn = Pose().map(poses(), (128, 96))
    pair = torch.cat([drawn, torch.zeros_like(drawn)])
    assert torch.equal(Pose()(pair)[0], Pose()(drawn)[0])
    assert not Pose()(pair)[1].any()


def test_small_skeletons_are_read_as_they_were_drawn() -> None:
    """By us with thinner sticks, by other tools with their usual ones."""
    wanted = np.array(poses().on((128, 96)).people[0].body)
    for stick in (2, 4):
        (person,) = decode(draw_poses(poses().on((128, 96)), (128, 96), stick=stick)).people
        assert np.hypot(*(np.array(person.body) - wanted)[:, :2].T).mean() < 0.6


def test_people_outside_the_cut_are_left_out() -> None:
    aside = Poses((Person(tuple((x / 4, y, seen) for x, y, seen in body())),), (400, 300))
    assert np.asarray(Pose().map(aside, (400, 300))).any()
    assert not Pose().map(aside, (100, 300)).any(), "the person stands in the left quarter, the cut is the middle one"
