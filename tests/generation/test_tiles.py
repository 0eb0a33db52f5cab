"""Windows: they cover everything, agree where they overlap, and hear their own piece of every map."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import InputError
from underdraw.generation import Studio, Tiles, draw
from underdraw.generation.tiles import blended, decode, encode, tiled
from underdraw.model import Control


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("size", [(16, 16), (17, 40), (8, 33), (5, 64)])
def test_windows_cover_everything_alike(size: tuple[int, int], overlap: float) -> None:
    windows = Tiles(64, 64, overlap).windows(size, 8)
    seen = torch.zeros(size)
    for rows, columns in windows:
        assert rows.stop - rows.start == min(8, size[0]) and columns.stop - columns.start == min(8, size[1])
        seen[rows, columns] += 1
    assert bool((seen > 0).all())
    starts = sorted({columns.start for _, columns in windows})
    gaps = {after - before for before, after in pairwise(starts)}
    assert len(gaps) <= 1 or max(gaps) - min(gaps) <= 1
    assert all(gap <= round(8 * (1 - overlap)) or overlap == 0.9 for gap in gaps)


def test_impossible_tiles() -> None:
    with pytest.raises(InputError, match="an overlap of 1 make no sense"):
        Tiles(64, 64, 1.0)


@pytest.mark.parametrize("scale", [0.25, 1, 4])
def test_blending_what_agrees_changes_nothing(scale: float) -> None:
    """Whatever each window does to its own values alone is what it does to the whole, enlarged or reduced too."""
    sample = torch.rand(2, 3, 24, 40)

    def change(part: Tensor, _: Any) -> Tensor:
        if scale < 1:
            return torch.nn.functional.avg_pool2d(part, 4)
        return part.repeat_interleave(int(scale), -1).repeat_interleave(int(scale), -2) ** 2

    windows = Tiles(16, 16, 0.5).windows((24, 40), 1)
    assert len(windows) > 4 and all(each.start % 4 == 0 for window in windows for each in window)
    assert_close(blended(change, sample, windows), change(sample, None))


def test_one_window_is_the_whole(studio: Studio) -> None:
    whole = list(draw(studio.backbone, ["x"], [0], (32, 24), steps=3))[-1].latents
    assert torch.equal(
        list(draw(studio.backbone, ["x"], [0], (32, 24), steps=3, tiles=Tiles(64, 64)))[-1].latents, whole
    )
    assert torch.equal(decode(studio.backbone, whole, Tiles(64, 64)), studio.backbone.decode_latents(whole))


def test_each_window_hears_its_piece_of_the_map(studio: Studio) -> None:
    """Hint and mask are cut where the sample is cut, and a window that the mask leaves out hears nothing."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    control = Control(studio.net("canny"), torch.rand(1, 3, 64, 64), mask=mask).prepared()
    sample, hint, tiles = torch.randn(1, 4, 16, 16), control.hint, Tiles(32, 32, 0.5)
    heard: list[Control] = []

    def network(part: Tensor, timestep: Tensor, text: Any, controls: Any) -> Tensor:
        heard.extend(controls)
        return part

    assert_close(tiled(network, tiles, 4)(sample, torch.tensor(0), None, [control]), sample)
    windows = tiles.windows((16, 16), 4)
    assert hint is not None and len(heard) == len(windows) == 9
    for (rows, columns), piece in zip(windows, heard, strict=True):
        assert piece.hint is not None and torch.equal(piece.hint, hint[..., rows, columns])
    assert [piece.silent for piece in heard] == [False, False, True] * 3


def test_a_large_picture_never_meets_the_network_whole(studio: Studio) -> None:
    """What the memory holds at once is a window, in the U-Net and in the decoder."""
    sides: list[int] = []
    hooks = [
        part.register_forward_hook(lambda _, inputs, __: sides.append(max(inputs[0].shape[-2:])))
        for part in (studio.backbone.unet.conv_in, studio.backbone.vae.decoder.conv_in)
    ]
    frames = list(draw(studio.backbone, ["x"], [0], (96, 64), steps=2, tiles=Tiles(32, 32, 0.25)))
    picture = decode(studio.backbone, frames[-1].latents, Tiles(32, 32, 0.25))
    for hook in hooks:
        hook.remove()
    assert picture.shape == (1, 3, 64, 96) and max(sides) == 8


def test_windows_agree_on_one_picture(studio: Studio) -> None:
    """The drawing is smooth across windows: latents differ across their borders as they do elsewhere."""
    frames = list(draw(studio.backbone, ["x"], [0], (64, 64), steps=8, tiles=Tiles(32, 32, 0.5)))
    across = (frames[-1].latents[..., 1:] - frames[-1].latents[..., :-1]).abs().mean((0, 1, 2))
    seams = [place - 1 for place in (4, 8, 12)]
    others = [place for place in range(15) if place not in seams]
    assert 0.8 < float(across[seams].mean() / across[others].mean()) < 1.2


def test_a_picture_is_encoded_in_windows(studio: Studio) -> None:
    picture = torch.rand(1, 3, 64, 96)
    whole, parts = encode(studio.backbone, picture), encode(studio.backbone, picture, Tiles(48, 48, 0.5))
    assert whole.shape == parts.shape == (1, 4, 16, 24)
    assert (whole - parts).abs().mean() < 0.3 * whole.std()
