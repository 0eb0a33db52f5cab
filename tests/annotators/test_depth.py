from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.testing import assert_close

from underdraw import images
from underdraw.annotators import DepthLayers, extract, given, nearness, read_depth, write_depth
from underdraw.annotators.depth import stretch
from underdraw.errors import InputError

SENSED = Path(__file__).parents[3] / "shared" / "data" / "depth"


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


def test_holes_take_the_nearest_distance_not_the_nearest_place() -> None:
    """A sensor's 0 is "not measured"."""
    distances = torch.full((1, 1, 16, 16), 4.0)
    distances[..., 8:] = 2.0
    distances[..., 3:6, 3] = distances[..., 12] = 0
    distances[..., 0, 0] = torch.nan
    assert torch.equal(nearness(distances), (torch.arange(16) >= 8).float().expand(1, 1, 16, 16))
    with pytest.raises(InputError, match="no distances"):
        nearness(torch.zeros(1, 1, 8, 8))


def test_layers_are_flat_and_evenly_grey() -> None:
    found = DepthLayers(count=5)(field())
    assert found.unique().tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert (found.flatten().diff() >= 0).all(), "near stays before far"
    assert (found - field()).abs().max() < 0.21
    steep = DepthLayers(count=5)(field() ** 6)
    assert steep.eq(0).float().mean() > 0.6


def test_quantiles_give_each_layer_its_share() -> None:
    found = DepthLayers(count=5, method="quantile")(field() ** 6)
    _, counts = found.unique(return_counts=True)
    assert counts.tolist() == [48 * 40 / 5] * 5
    same = DepthLayers(count=5, method="quantile")(field())
    assert torch.equal(found, same), "only the order counts"


@pytest.mark.parametrize("share", [0.25, 0.75])
@pytest.mark.parametrize("method", ["equal", "quantile"])
def test_what_is_equally_deep_is_one_layer(share: float, method: str) -> None:
    stage = (torch.arange(40) >= 40 * share).float().expand(1, 1, 8, 40)
    assert torch.equal(DepthLayers(count=2, method=method)(stage), stage)
    assert DepthLayers(method=method)(torch.full((1, 1, 8, 8), 3.0)).sum() == 0


def test_layers_stay_flat_at_every_size() -> None:
    for size in ((17, 31), (96, 80)):
        assert len(extract("depth_layers", field(), size, count=3).unique()) <= 3


def test_grey_files_are_fields_and_photographs_are_not(tmp_path: Path) -> None:
    write_depth(field(), tmp_path / "depth.png")
    look = DepthLayers()
    assert torch.equal(look.map(look.read(tmp_path / "depth.png")), look(read_depth(tmp_path / "depth.png")))
    images.write(torch.rand(3, 16, 16), tmp_path / "photograph.png")
    with pytest.raises(InputError, match=r"give a depth map \(near = white\): a grey picture or \.npy"):
        look.map(look.read(tmp_path / "photograph.png"))


def test_every_value_of_sixteen_bits_survives(tmp_path: Path) -> None:
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "a.png")
    write_depth(read_depth(tmp_path / "a.png"), tmp_path / "b.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), values)


@pytest.mark.skipif(not SENSED.is_dir(), reason="the pictures with ground truth are not there")
def test_a_depth_camera_s_millimetres_pass_through_unchanged(tmp_path: Path) -> None:
    paths = sorted(SENSED.glob("*.png"))
    assert paths
    for path in paths:
        write_depth(read_depth(path), tmp_path / "depth.png")
        again = np.asarray(Image.open(tmp_path / "depth.png"))
        assert again.dtype == np.uint16 and np.array_equal(again, np.asarray(Image.open(path)))


def test_a_stereo_camera_s_disparity_loses_less_than_half_a_step(tmp_path: Path) -> None:
    """338,000 different floats do not fit into 65,536 values; what fits passes through unchanged from then on."""
    disparity = torch.from_numpy(skimage.data.stereo_motorcycle()[2])[None, None]
    known = disparity.isfinite()
    near = stretch(torch.where(known, disparity, 0.0))
    write_depth(near, tmp_path / "once.png")
    once = read_depth(tmp_path / "once.png")
    assert (once - near).abs().max() <= 0.5 / 65535 + 1e-7
    write_depth(once, tmp_path / "twice.png")
    assert torch.equal(read_depth(tmp_path / "twice.png"), once)


def test_fields_in_any_unit_keep_their_proportions_at_every_size() -> None:
    distances = 1 / (0.2 + 0.8 * field())
    for size in ((20, 24), (80, 96), (40, 24)):
        expected = extract("depth", field(), size)
        for unit in (1, 1000):
            assert_close(extract("depth", distances * unit, size, distance=True), expected, atol=1e-5, rtol=0)
    holed = distances.clone()
    holed[..., ::7, ::5] = 0
    assert (extract("depth", holed, (20, 24), distance=True) - extract("depth", field(), (20, 24))).abs().max() < 0.05
