from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from underdraw.annotators.readers import Reader, Shape, load_reader, save_reader
from underdraw.errors import CheckpointError

SMALL = Shape("depth", channels=(8, 16), learned_from="train")


def reader(shape: Shape = SMALL) -> Reader:
    torch.manual_seed(0)
    return Reader(shape).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 57), (8, 8), (40, 130)])
def test_any_size_gives_a_map_of_that_size(height: int, width: int) -> None:
    read = reader()(torch.rand(2, 3, height, width))
    assert read.shape == (2, 1, height, width)
    assert read.min() >= 0 and read.max() <= 1


def test_several_channels_and_the_usual_one_is_small() -> None:
    assert reader(Shape("normal", maps=3, channels=(8, 16)))(torch.rand(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    assert sum(each.numel() for each in Reader(Shape("depth")).parameters()) < 1_000_000


def test_each_picture_is_read_by_itself() -> None:
    pictures = torch.rand(3, 3, 24, 32)
    together = reader()(pictures)
    assert_close(together, torch.cat([reader()(each[None]) for each in pictures]), atol=1e-6, rtol=0)


def test_gradients_reach_the_picture_and_every_weight() -> None:
    read, picture = reader(), torch.rand(1, 3, 24, 32, requires_grad=True)
    read(picture).square().sum().backward()
    assert picture.grad is not None and (picture.grad != 0).float().mean() > 0.99
    assert [name for name, each in read.named_parameters() if each.grad is None or not each.grad.any()] == []


def test_a_file_gives_the_same_reader(tmp_path: Path) -> None:
    save_reader(reader(), tmp_path / "depth.safetensors")
    loaded = load_reader(tmp_path / "depth.safetensors")
    picture = torch.rand(1, 3, 32, 32)
    assert loaded.shape == SMALL
    assert torch.equal(loaded(picture), reader()(picture))
    assert not loaded.training and not any(each.requires_grad for each in loaded.parameters())


def test_files_that_are_no_reader_are_named(tmp_path: Path) -> None:
    path = tmp_path / "depth.safetensors"
    save_reader(reader(), path)
    whole = path.read_bytes()
    for broken in (whole[:1000], whole[: len(whole) // 2], b"", b"words"):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"cannot read reader .*depth.safetensors") as caught:
            load_reader(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"cannot read reader .*none"):
        load_reader(tmp_path / "none")
    path.write_bytes(whole.replace(b"[8, 16]", b"[8, 24]"))
    with pytest.raises(CheckpointError, match=r"cannot read reader"):
        load_reader(path)


def test_other_weights_do_not_say_what_they_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is not a reader"):
        load_reader(tmp_path / "other.safetensors")
