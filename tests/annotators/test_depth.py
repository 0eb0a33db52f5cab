from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.testing import assert_close

from underdraw import images
from underdraw.annotators import extract, given, nearness, read_depth, write_depth
from underdraw.annotators.depth import stretch
from underdraw.errors import InputError


def field() -> torch.Tensor:
    return torch.linspace(0, 1, 48 * 40).reshape(1, 1, 48, 40)


def test_near_is_white() -> None:
    near = nearness(torch.tensor([[1.0, 2.0], [4.0, torch.inf]])[None, None])
    assert_close(near, torch.tensor([[1.0, 0.5], [0.25, 0.0]])[None, None])


def test_each_picture_is_stretched_by_itself() -> None:
    two = torch.cat([field(), 5 + 3 * field()])
    assert_close(stretch(two)[1:], field(), atol=1e-5, rtol=0)
    assert stretch(torch.full((1, 1, 8, 8), 3.0)).abs().sum() == 0


def test_sixteen_bits_survive_a_png(tmp_path: Path) -> None:
    write_depth(field(), tmp_path / "depth.png")
    assert_close(read_depth(tmp_path / "depth.png"), field(), atol=0.5 / 65535 + 1e-7, rtol=0)
    assert len(set(images.read(tmp_path / "depth.png").flatten().tolist())) == 48 * 40


def test_arrays_are_read(tmp_path: Path) -> None:
    for kind in (np.float16, np.float32, np.float64, np.uint16, np.int32):
        np.save(tmp_path / "depth.npy", (field()[0, 0].numpy() * 1000).astype(kind))
        assert_close(read_depth(tmp_path / "depth.npy"), field() * 1000, atol=1, rtol=0)


def test_distances_in_millimetres_become_nearness(tmp_path: Path) -> None:
    distances = np.full((16, 16), 4000, np.uint16)
    distances[4:8, 4:8] = 1000
    np.save(tmp_path / "depth.npy", distances)
    near = extract("depth", read_depth(tmp_path / "depth.npy"), (16, 16), distance=True)
    assert near[0, 0, 5, 5] == 1 and near[0, 0, 0, 0] == 0


def test_a_given_map_keeps_its_values(tmp_path: Path) -> None:
    write_depth(0.2 + 0.5 * field(), tmp_path / "depth.png")
    seen = given("depth", images.read(tmp_path / "depth.png"), (20, 24))
    assert seen.shape == (1, 1, 24, 20)
    assert seen.min() > 0.2 and seen.max() < 0.7


@pytest.mark.parametrize(
    "values", [np.zeros((3, 8, 8)), np.zeros((4, 4)), np.zeros((8, 8), complex), np.zeros((8, 8), bool)]
)
def test_arrays_that_are_no_depth_are_refused(tmp_path: Path, values: NDArray[Any]) -> None:
    np.save(tmp_path / "depth.npy", values)
    with pytest.raises(InputError, match=r"must be numbers, height × width"):
        read_depth(tmp_path / "depth.npy")


def test_files_that_are_no_depth_are_refused(tmp_path: Path) -> None:
    (tmp_path / "depth.npy").write_text("hello")
    with pytest.raises(InputError, match=r"not an array"):
        read_depth(tmp_path / "depth.npy")
    with pytest.raises(InputError, match=r"cannot read .*missing.npy"):
        read_depth(tmp_path / "missing.npy")
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"not an array"):
        read_depth(tmp_path / "pickle.npy")
    np.save(tmp_path / "nan.npy", np.full((8, 8), np.nan))
    with pytest.raises(InputError, match=r"not finite"):
        read_depth(tmp_path / "nan.npy")
