from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from underdraw import images
from underdraw.annotators import PALETTES, Labels, OneHot, extract, read_labels
from underdraw.annotators.palettes import paint
from underdraw.data.scenes import palette, render, sample
from underdraw.errors import InputError

ADE = PALETTES["ade20k"].colours


def ids(height: int = 24, width: int = 32) -> np.ndarray:
    """Blocks of 8 pixels: 0, 1, 2 …"""
    return np.arange(height * width // 64).reshape(height // 8, -1).repeat(8, 0).repeat(8, 1).astype(np.uint8)


def tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[None, None]


def drawn(values: np.ndarray, colours: tuple[tuple[int, int, int], ...] = ADE) -> Tensor:
    return images.from_uint8(paint(values.astype(np.int64), colours))[None]


def test_ids_are_drawn_in_ade20k_s_colours_unless_told_otherwise() -> None:
    assert torch.equal(Labels()(tensor(ids())), drawn(ids()))
    assert torch.equal(Labels(palette="coco")(tensor(ids())), drawn(ids(), PALETTES["coco"].colours))


def test_void_is_black_and_files_that_count_from_one_are_read() -> None:
    values = ids()
    values[:8, :8] = 255
    found = Labels()(tensor(values))
    assert found[..., :8, :8].sum() == 0 and torch.equal(found[..., 8:, :], drawn(ids())[..., 8:, :])
    shifted = Labels(first=1)(tensor(ids()))
    assert shifted[..., :8, :8].sum() == 0
    assert torch.equal(shifted[..., 8:, :], drawn(ids().astype(np.int64) - 1)[..., 8:, :])


@pytest.mark.parametrize("mode", ["index", "grey", "deep", "npy"])
def test_files_of_ids_keep_their_ids(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("labels.npy" if mode == "npy" else "labels.png")
    if mode == "npy":
        np.save(path, ids())
    elif mode == "index":
        file = Image.fromarray(ids()).convert("P")
        file.putpalette(np.random.default_rng(0).integers(0, 255, 768).astype(np.uint8).tobytes())
        file.putdata(ids().ravel().tolist())
        file.save(path)
    else:
        Image.fromarray(ids().astype(np.uint16) if mode == "deep" else ids()).save(path)
    assert torch.equal(read_labels(path), tensor(ids()))
    look = Labels(palette="ade20k")
    assert torch.equal(look.map(look.read(path)), drawn(ids()))


def test_an_index_file_keeps_its_own_colours_where_nothing_else_is_asked(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(1, 255, (12, 3)).astype(np.uint8)
    file = Image.new("P", (32, 24))
    file.putpalette(colours.tobytes())
    file.putdata(ids().ravel().tolist())
    file.save(tmp_path / "labels.png")
    look = Labels()
    assert np.array_equal(images.to_uint8(look.map(look.read(tmp_path / "labels.png"))[0]), colours[ids()])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "1"])
def test_a_cut_out_is_a_white_figure_on_black(tmp_path: Path, mode: str) -> None:
    inside = np.zeros((24, 32), bool)
    inside[6:18, 4:20] = True
    if mode in ("L", "1"):
        file = Image.fromarray(inside.astype(np.uint8) * 255).convert(mode)
    else:
        file = Image.new("RGB", (32, 24), (200, 30, 60)).convert(mode)
        file.putalpha(Image.fromarray(inside.astype(np.uint8) * 255))
    file.save(tmp_path / "cut.png")
    look = Labels()
    assert torch.equal(look.map(look.read(tmp_path / "cut.png")), tensor(inside).expand(-1, 3, -1, -1))
    assert torch.equal(OneHot(classes=2).map(read_labels(tmp_path / "cut.png"))[:, 1:], tensor(inside))


def test_colours_go_back_to_ids_and_out_again() -> None:
    found = OneHot()(drawn(ids()))
    assert torch.equal(found.argmax(1)[0], torch.from_numpy(ids().astype(np.int64)))
    assert torch.equal(Labels(palette="ade20k")(drawn(ids())), drawn(ids()))


def test_blended_outlines_become_pure_again() -> None:
    """A map that somebody resized smoothly."""
    sharp = images.from_uint8(paint(ids(64, 64).astype(np.int64) % 5, ADE))[None]
    smooth = functional.interpolate(sharp, (150, 150), mode="bilinear")
    clean = functional.interpolate(sharp, (150, 150), mode="nearest-exact")
    for look in (Labels(), Labels(palette="ade20k")):
        found = look(smooth)
        assert set(map(tuple, images.to_uint8(found[0]).reshape(-1, 3).tolist())) == set(ADE[:5])
        assert (found != clean).any(1).float().mean() < 0.06


def test_slightly_shifted_colours_are_understood() -> None:
    noise = torch.randint(-2, 3, (1, 3, 24, 32), generator=torch.Generator().manual_seed(0)) / 255
    assert torch.equal(Labels(palette="ade20k")((drawn(ids()) + noise).clamp(0, 1)), drawn(ids()))


def test_ids_are_picked_not_averaged_at_any_size() -> None:
    for size in ((19, 23), (90, 50)):
        assert set(
            map(tuple, images.to_uint8(extract("labels", tensor(ids()), size)[0]).reshape(-1, 3).tolist())
        ) <= set(ADE[:12])
        assert extract("onehot", tensor(ids()), size, classes=12).sum(1).unique().tolist() == [1]


def test_the_rooms_labels_are_read_from_their_colours() -> None:
    view = render([sample(3)], (64, 64))
    maps = palette(view.semantic)
    found = OneHot(classes=26, palette="rooms")(maps)
    assert torch.equal(found.argmax(1), view.semantic) and found.sum(1).unique().tolist() == [1]
    assert torch.equal(Labels()(maps), maps)


def test_one_channel_a_class_and_its_picture() -> None:
    look = OneHot(classes=12)
    assert look.meaning.channels == 12 and OneHot.meaning.channels == 150
    found = look(tensor(ids()))
    assert found.shape == (1, 12, 24, 32) and found.sum(1).unique().tolist() == [1]
    assert torch.equal(look.show(found), drawn(ids()))
    assert OneHot(classes=12)(torch.full((1, 1, 8, 8), 255.0)).sum() == 0, "void is in no channel"
    assert OneHot(classes=3).show(torch.zeros(1, 3, 8, 8)).sum() == 0


def test_what_is_no_label_map_is_refused(tmp_path: Path) -> None:
    photograph = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"no label map.*`segmentation` makes regions"):
        Labels()(photograph)
    with pytest.raises(InputError, match="are not the palette's"):
        Labels(palette="coco")(drawn(ids()))
    with pytest.raises(InputError, match="id 11 is in the label map, but there are 5 classes from 0 on"):
        OneHot(classes=5)(tensor(ids()))
    with pytest.raises(InputError, match="whole numbers"):
        Labels()(tensor(ids()) / 2)
    np.save(tmp_path / "labels.npy", np.zeros((9, 9)))
    with pytest.raises(InputError, match="must be whole numbers, height × width"):
        read_labels(tmp_path / "labels.npy")
    (tmp_path / "labels.npy").write_text("hello")
    with pytest.raises(InputError, match="not an array"):
        read_labels(tmp_path / "labels.npy")
    with pytest.raises(InputError, match=r"cannot read .*missing\.png"):
        read_labels(tmp_path / "missing.png")
