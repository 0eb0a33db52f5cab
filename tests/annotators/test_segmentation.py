import cv2
import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import PALETTES, Segmentation, extract
from underdraw.annotators.palettes import VOID, paint
from underdraw.annotators.regions import colour_regions, connected, dominant, lab, spread, superpixels
from underdraw.data.scenes import KINDS


def colours_of(picture: Tensor) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in images.to_uint8(picture[0]).reshape(-1, 3).tolist()}


def flag() -> np.ndarray:
    """A red disc on white, a blue bar below."""
    pixels = np.full((96, 128, 3), 250, np.uint8)
    cv2.circle(pixels, (64, 40), 25, (200, 30, 30), -1)
    pixels[75:] = (20, 40, 160)
    return pixels


def photograph() -> Tensor:
    return images.resize(images.from_uint8(skimage.data.astronaut())[None], (192, 192))


def test_published_palettes() -> None:
    """ADE20K's against MIT's color150.mat, COCO's against panopticapi's categories: the first, the last and sums."""
    ade, coco = PALETTES["ade20k"], PALETTES["coco"]
    assert len(ade.names) == len(set(ade.names)) == len(ade.colours) == 150
    assert ade.colours[:3] == ((120, 120, 120), (180, 120, 120), (6, 230, 230)) and ade.colours[-1] == (92, 0, 255)
    assert np.array(ade.colours).sum(0).tolist() == [17965, 20212, 20250]
    assert (ade.names[0], ade.names[12], ade.names[149]) == ("wall", "person", "flag")
    assert [ade.names[i] for i, colour in enumerate(ade.colours) if colour == (140, 140, 140)] == ["road", "skyscraper"]
    assert len(coco.names) == len(set(coco.names)) == len(set(coco.colours)) == 133
    assert coco.colours[0] == (220, 20, 60) and coco.colours[-1] == (250, 141, 255)
    assert np.array(coco.colours).sum(0).tolist() == [18228, 16349, 17444]
    assert (coco.names[0], coco.names[79], coco.names[-1]) == ("person", "toothbrush", "rug")


def test_the_rooms_palette_is_that_of_the_rooms() -> None:
    assert PALETTES["rooms"].names == tuple(KINDS)
    assert PALETTES["rooms"].colours == tuple(kind.rgb for kind in KINDS.values())


def test_nothing_is_painted_black() -> None:
    assert paint(np.array([[0, VOID]]), [(1, 2, 3)]).tolist() == [[[1, 2, 3], [0, 0, 0]]]


def test_flat_shapes_are_found_exactly_and_the_largest_comes_first() -> None:
    found = colour_regions(flag(), 8, 0.002)
    expected = np.where((flag() == (20, 40, 160)).all(-1), 1, np.where((flag() == (200, 30, 30)).all(-1), 2, 0))
    assert (found == expected).mean() > 0.99
    assert np.bincount(found.ravel()).argsort().tolist() == [2, 1, 0]


def test_one_colour_in_two_places_is_two_regions() -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[8:24, 8:24] = pixels[8:24, 40:60] = 255
    assert colour_regions(pixels, 4, 0).max() == 2


def test_specks_join_their_neighbours() -> None:
    labels = np.zeros((40, 40), np.int64)
    labels[:, 20:] = 1
    labels[5, 5] = labels[30, 30] = 2
    assert np.array_equal(connected(labels, 0.01), np.where(np.arange(40) < 20, 0, 1) * np.ones((40, 1)))
    assert connected(labels, 0).max() == 3


def test_unknown_places_take_the_nearest_value() -> None:
    values = np.zeros((5, 9), np.int64)
    values[2, 1], values[2, 7] = 3, 8
    assert (spread(values, values > 0) == np.where(np.arange(9) <= 4, 3, 8)).mean() > 0.85


def test_dominant_colours_are_the_picture_s_and_ordered() -> None:
    found = dominant(lab(flag()), 3)
    expected = lab(np.array([[[250, 250, 250], [20, 40, 160], [200, 30, 30]]], np.uint8))[0]
    assert np.abs(found - expected).max() < 0.5
    assert len(dominant(lab(flag()), 20)) == 3, "no more than there are"


@pytest.mark.parametrize("palette", ["ade20k", "coco", "rooms"])
def test_only_the_palette_s_colours_and_each_means_one_region(palette: str) -> None:
    look = Segmentation(palette=palette)
    found = look.map(images.from_uint8(flag())[None])
    assert colours_of(found) == set(PALETTES[palette].colours[:3])
    assert look.meaning.palette and colours_of(look.map(photograph())) <= set(look.meaning.palette)


def test_colours_are_never_blended_when_the_map_changes_size() -> None:
    for size in ((50, 37), (300, 300)):
        found = extract("segmentation", photograph(), size, resolution=96)
        assert colours_of(found) <= set(PALETTES["ade20k"].colours)


def test_own_colours_look_like_the_picture() -> None:
    picture = photograph()
    plain = (picture - picture.mean((2, 3), keepdim=True)).abs().mean()
    assert (Segmentation(palette="own", colours=16)(picture) - picture).abs().mean() < 0.4 * plain
    assert len(colours_of(Segmentation(palette="own")(picture))) < 200


def test_superpixels_are_compact_connected_and_follow_edges() -> None:
    pixels = images.to_uint8(photograph()[0])
    found = superpixels(pixels, 150)
    count = int(found.max()) + 1
    assert 100 < count < 220
    assert connected(found, 0).max() + 1 == count, "each is in one piece"
    means = np.stack([np.bincount(found.ravel(), channel.ravel()) for channel in np.moveaxis(pixels, -1, 0)], -1)
    flat = (means / np.bincount(found.ravel())[:, None])[found]
    squares = pixels.reshape(16, 12, 16, 12, 3).mean((1, 3)).repeat(12, 0).repeat(12, 1)
    assert np.abs(flat - pixels).mean() < 0.75 * np.abs(squares - pixels).mean(), "better than squares of that size"


def test_more_regions_than_colours_use_them_again() -> None:
    found = Segmentation(method="superpixels", count=400, palette="rooms")(photograph())
    assert colours_of(found) == set(PALETTES["rooms"].colours)


def test_a_picture_of_one_colour_is_one_region() -> None:
    for method in ("colours", "superpixels"):
        assert len(colours_of(Segmentation(method=method, count=2)(torch.full((1, 3, 16, 24), 0.4)))) <= 2
