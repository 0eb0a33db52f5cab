from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from underdraw import images
from underdraw.annotators import Inpaint, build, extract, masked, read_masked
from underdraw.errors import InputError


def photograph() -> Tensor:
    blocks = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    return torch.round(images.resize(blocks, (64, 48), "nearest") * 255) / 255


def hole() -> Tensor:
    mask = torch.zeros(1, 1, 48, 64)
    mask[..., 10:30, 20:50] = 1
    return mask


def holed() -> Tensor:
    return torch.where(hole() > 0, -1.0, photograph())


def write_rgba(path: Path, alpha: Tensor) -> None:
    pixels = torch.cat([photograph()[0], alpha[0]])
    Image.fromarray(images.to_uint8(pixels)).save(path)


def test_masked_pixels_are_minus_one_and_the_others_untouched() -> None:
    assert torch.equal(Inpaint()(masked(photograph(), hole())), holed())
    assert build("inpaint_only") == build("inpaint_global_harmonious") == Inpaint()
    assert Inpaint.meaning.low == -1


def test_transparent_is_masked_and_colours_below_are_kept(tmp_path: Path) -> None:
    alpha = 1 - hole()
    alpha[..., 40:, :] = 0.7
    write_rgba(tmp_path / "a.png", alpha)
    look = Inpaint()
    assert torch.equal(look.map(look.read(tmp_path / "a.png")), holed()), "faint is not gone, and keeps its colour"


@pytest.mark.parametrize("scale", [1, 2])
def test_a_grey_file_beside_the_picture_is_its_mask(tmp_path: Path, scale: int) -> None:
    images.write(photograph(), tmp_path / "a.png")
    images.write(images.resize(hole(), (64 * scale, 48 * scale), "nearest"), tmp_path / "a.mask.png")
    look = Inpaint()
    assert torch.equal(look.map(look.read(tmp_path / "a.png")), holed())
    assert torch.equal(look(read_masked(tmp_path / "a.png", tmp_path / "a.mask.png")), holed())


def test_both_holes_count(tmp_path: Path) -> None:
    write_rgba(tmp_path / "a.png", 1 - hole())
    other = torch.zeros(1, 1, 48, 64)
    other[..., 40:, :] = 1
    images.write(other, tmp_path / "a.mask.png")
    found = Inpaint()(read_masked(tmp_path / "a.png"))
    assert torch.equal(found[:, :1] == -1, (hole() + other) > 0)


def test_its_own_picture_reads_back_as_the_same_map(tmp_path: Path) -> None:
    look = Inpaint()
    images.write(look.show(holed()), tmp_path / "map.png")
    assert torch.equal(look.map(look.read(tmp_path / "map.png")), holed())


def test_a_smoothed_outline_is_the_original_s() -> None:
    """A Gaussian over the mask; what is above a half is masked."""
    found = Inpaint(blur=5.0)(masked(photograph(), hole()))
    soft = gaussian_filter(hole()[0, 0].numpy(), 5.0, mode="mirror")
    sure = np.abs(soft - 0.5) > 0.01
    assert np.array_equal((found[0, 0] == -1).numpy()[sure], (soft > 0.5)[sure])
    assert (found[0, 0] == -1).sum() < hole().sum(), "corners are cut"


def test_nothing_lies_between_masked_and_seen_at_any_size() -> None:
    for size in ((31, 40), (100, 100)):
        found = extract("inpaint", masked(photograph(), hole()), size)
        gone = (found == -1).all(1)
        assert gone.any() and (found.amin(1)[~gone] >= 0).all()


def test_no_mask_and_a_foreign_mask_name_the_remedy(tmp_path: Path) -> None:
    images.write(photograph(), tmp_path / "a.png")
    with pytest.raises(InputError, match=r"transparent, or white in NAME\.mask\.png"):
        Inpaint().map(read_masked(tmp_path / "a.png"))
    with pytest.raises(InputError, match="the mask is 64×64, the picture 64×48"):
        masked(photograph(), torch.zeros(1, 1, 64, 64))
    with pytest.raises(InputError, match="cannot read"):
        read_masked(tmp_path / "missing.png")
