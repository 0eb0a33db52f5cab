"""DWPose: its two networks' files, as small ones of the same inputs and outputs, through OpenCV."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.annotators.small_onnx import write_finder, write_pointer
from underdraw.annotators import build
from underdraw.annotators.learned import close_networks
from underdraw.annotators.learned.dwpose import FINDS, POINTS, PUBLISHED
from underdraw.annotators.pose import SKELETON
from underdraw.errors import CheckpointError

SPOTS = {0: (200.0, 100.0), 1: (260.0, 300.0), 2: (330.0, 200.0)}
"""x and y of the red, the green and the blue spot."""
BOX = (150.0, 60.0, 220.0, 300.0)
NOWHERE = (0.0, 0.0, 0.0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with small networks in it: one person, found twice, and an unsure one."""
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path))
    for name in list(PUBLISHED["large"].sha256):
        monkeypatch.delitem(PUBLISHED["large"].sha256, name)
    place = tmp_path / PUBLISHED["large"].place
    place.mkdir()
    left, top, width, height = BOX
    write_finder(place / FINDS, [(left + 3, top, width, height, 0.8), (*BOX, 0.9), (400.0, 300.0, 100.0, 100.0, 0.2)])
    write_pointer(place / POINTS)
    return place


def spotted() -> Tensor:
    picture = torch.zeros(1, 3, 480, 640)
    for colour, (x, y) in SPOTS.items():
        picture[0, colour, int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 1
    return picture


def look(**knobs: Any) -> Any:
    return build("dw_openpose_full", {"visibility": 0.0, **knobs})


def test_points_come_back_where_they_are() -> None:
    (person,) = look().find(spotted()).people
    # of COCO's 133 points in their order, point k lies on the spot of colour k % 3
    for ours, theirs in ((0, 0), (2, 6), (5, 5), (7, 9), (10, 16), (13, 15), (14, 2), (17, 3)):
        assert person.body[ours][:2] == pytest.approx(SPOTS[theirs % 3], abs=1)
    assert person.body[1][:2] == pytest.approx((265, 150), abs=1), "the neck is between a blue and a red shoulder"
    for place in range(68):
        assert person.face[place][:2] == pytest.approx(SPOTS[(23 + place) % 3], abs=1)
    assert person.face[68:] == (NOWHERE, NOWHERE)
    for place in range(21):
        assert person.left_hand[place][:2] == pytest.approx(SPOTS[(91 + place) % 3], abs=1)
        assert person.right_hand[place][:2] == pytest.approx(SPOTS[(112 + place) % 3], abs=1)


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (1280, 960), (480, 480)])
def test_points_are_pixels_of_the_drawing(size: tuple[int, int]) -> None:
    poses = look(resolution=480).find(spotted(), size)
    scale, cut = size[1] / 480, (640 - size[0] * 480 / size[1]) / 2
    assert poses.canvas == size
    x, y, _ = poses.people[0].body[0]
    assert (x, y) == pytest.approx(((200 - cut) * scale, 100 * scale), abs=1.5 * max(scale, 1))


def test_the_map_is_the_drawing() -> None:
    found = look().map(spotted(), (320, 240))
    assert found.shape == (1, 3, 240, 320)
    assert found.amax() == 1
    colours = {tuple(pixel) for pixel in (found[0] * 255).round().int().reshape(3, -1).T.tolist()}
    assert colours <= {*(SKELETON.palette or ()), (0, 0, 0)}
    assert torch.equal(look()(torch.cat([spotted(), spotted()]))[1:], look()(spotted()))


def test_the_surest_of_boxes_that_overlap_is_kept() -> None:
    assert len(look().find(spotted()).people) == 1
    assert len(look(surety=0.1).find(spotted()).people) == 2
    assert len(look(surety=0.1, crowd=1).find(spotted()).people) == 1
    assert look(surety=0.95).find(spotted()).people == ()
    assert look(surety=0.95).map(spotted()).max() == 0


def test_parts_and_unsure_points_are_left_out() -> None:
    (person,) = look(hands=False, face=False).find(spotted()).people
    assert person.body and not (person.left_hand or person.right_hand or person.face)
    assert set(look(visibility=0.9).find(spotted()).people[0].body) == {NOWHERE}
    assert look(visibility=0.9).map(spotted()).max() == 0


def test_an_empty_picture_of_any_shape_is_drawn() -> None:
    for size in ((16, 16), (90, 20), (20, 90)):
        assert look().map(torch.zeros(1, 3, size[1], size[0]), size).shape == (1, 3, size[1], size[0])


def test_files_that_hold_something_else_are_one_line(folder: Path) -> None:
    (folder / POINTS).write_bytes(b"something else")
    close_networks()
    with pytest.raises(CheckpointError, match=r"does not hold yolox_l.onnx and dw-ll_ucoco_384.onnx") as caught:
        look().find(spotted())
    assert "\n" not in str(caught.value)
    (folder / POINTS).write_bytes((folder / FINDS).read_bytes())
    with pytest.raises(CheckpointError, match="DWPose's networks"):
        look().find(spotted())


def test_files_that_are_not_the_published_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLISHED["large"].sha256, FINDS, "0" * 64)
    close_networks()
    with pytest.raises(CheckpointError, match=r"yolox_l.onnx is not the file that was published"):
        look().find(spotted())
