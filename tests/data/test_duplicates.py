import io

import numpy as np
import pytest
import torch
from PIL import Image

from underdraw import images
from underdraw.data.duplicates import Twins, fingerprint

from .conftest import Pixels, blocks


def print_of(pixels: Pixels) -> bytes:
    return fingerprint(images.from_uint8(pixels)[None])


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def worn(pixels: Pixels, how: str) -> Pixels:
    picture = Image.fromarray(pixels)
    if how == "jpeg":
        return jpeg(pixels, 40)
    if how == "half":
        return np.asarray(picture.resize((48, 48), Image.Resampling.BOX))
    if how == "larger":
        return np.asarray(picture.resize((150, 150), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).normal(0, 5, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def twins() -> Twins:
    found = Twins()
    for seed in range(1500):
        found.add(str(seed), seed, print_of(blocks(seed)))
    return found


@pytest.mark.parametrize("how", ["jpeg", "half", "larger", "noise"])
def test_worn_copies_are_found(twins: Twins, how: str) -> None:
    found = [twins.near(print_of(worn(blocks(seed), how))) for seed in range(0, 1500, 15)]
    assert sum(str(seed) in near for seed, near in zip(range(0, 1500, 15), found, strict=True)) >= 98


def test_other_pictures_are_not(twins: Twins) -> None:
    assert sum(bool(twins.near(print_of(blocks(seed)))) for seed in range(5000, 5300)) <= 1


def test_the_same_picture_in_other_colours_is_another() -> None:
    twins, pixels = Twins(), blocks(1)
    twins.add("red", "a", print_of(pixels))
    assert twins.near(print_of(pixels)) == ["red"]
    assert not twins.near(print_of(np.ascontiguousarray(pixels[..., ::-1])))


def test_plain_pictures_of_other_colours_are_others() -> None:
    """Their signs are chance; the colours tell them apart."""
    twins = Twins()
    for number, value in enumerate((0.1, 0.5, 0.9)):
        print_ = fingerprint(torch.full((1, 3, 40, 40), value))
        assert not twins.near(print_)
        twins.add(str(number), value, print_)


def test_exact_twins() -> None:
    twins = Twins()
    twins.add("a", ("x", "y"), print_of(blocks(0)))
    twins.add("b", ("x", "y"), print_of(blocks(1)))
    assert twins.same(("x", "y")) == "a" and twins.same(("x", "z")) is None
