import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from underdraw import images
from underdraw.errors import InputError


def picture(height: int = 24, width: int = 20) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(pillow: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    pillow.save(file, kind, **options)
    return file.getvalue()


def steps(channels: int = 3, height: int = 16, width: int = 24) -> Tensor:
    """A picture whose values are multiples of 1/255, which PNG keeps."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (channels, height, width), generator=generator) / 255


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_every_step(tmp_path: Path, channels: int) -> None:
    images.write(steps(channels), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        pixels = np.atleast_3d(np.asarray(written))
    assert torch.equal(images.from_uint8(pixels), steps(channels))


def test_read_undoes_write(tmp_path: Path) -> None:
    images.write(steps()[None], tmp_path / "a.png", {"recipe": "蘑菇 " * 1000, "short": "ünïcode"})
    assert torch.equal(images.read(tmp_path / "a.png")[0], steps())
    assert images.read_text(tmp_path / "a.png") == {"recipe": "蘑菇 " * 1000, "short": "ünïcode"}
    assert images.encode_png(steps()) == images.encode_png(steps()[None])


def test_a_text_of_megabytes_can_be_read_back(tmp_path: Path) -> None:
    """A recipe carries its condition map; pillow by itself refuses more than a megabyte."""
    long = "".join(np.random.default_rng(0).choice(list("abcdefghij"), 3_000_000))
    images.write(steps(), tmp_path / "a.png", {"map": long})
    assert images.read_text(tmp_path / "a.png")["map"] == long


def test_values_outside_are_clipped_and_halves_are_rounded() -> None:
    pixels = images.to_uint8(torch.tensor([-1.0, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 2.0]).reshape(1, 1, 6))
    assert pixels.ravel().tolist() == [0, 0, 0, 1, 255, 255]


def test_transparency_lies_over_white_or_what_is_asked(tmp_path: Path) -> None:
    half = torch.tensor([1.0, 0.0, 0.0, 128 / 255]).reshape(4, 1, 1).expand(4, 8, 8)
    images.write(half, tmp_path / "a.png")
    white, black = images.read(tmp_path / "a.png"), images.read(tmp_path / "a.png", background=(0, 0, 0))
    assert_close(white[0, :, 0, 0], torch.tensor([1.0, 127 / 255, 127 / 255]))
    assert_close(black[0, :, 0, 0], torch.tensor([128 / 255, 0.0, 0.0]))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    data = encoded(picture().convert(mode), "TIFF")
    expected = np.asarray(picture().convert(mode).convert("RGB"))
    assert torch.equal(images.decode(data, "a")[0], images.from_uint8(expected))


def test_sixteen_bit_grey_keeps_its_depth() -> None:
    values = np.arange(20 * 24, dtype=np.uint16).reshape(24, 20) * 136
    seen = images.decode(encoded(Image.fromarray(values), "PNG"), "a")
    assert seen.shape == (1, 3, 24, 20)
    assert_close(seen[0, 1], torch.from_numpy(values.astype(np.float32)) / 65535)


def test_float_pictures_are_taken_as_they_are() -> None:
    values = np.linspace(-0.5, 1.5, 20 * 24, dtype=np.float32).reshape(24, 20)
    values[0, 0] = np.nan
    seen = images.decode(encoded(Image.fromarray(values), "TIFF"), "a")[0, 0]
    assert_close(seen[1:], torch.from_numpy(values[1:]).clamp(0, 1))
    assert seen[0, 0] == 0


@pytest.mark.parametrize(("tag", "turn"), [(3, 180), (6, 270), (8, 90)])
def test_exif_rotation_is_applied(tag: int, turn: int) -> None:
    exif = Image.Exif()
    exif[0x112] = tag
    seen = images.decode(encoded(picture(), "PNG", exif=exif), "a")[0]
    assert torch.equal(seen, images.from_uint8(np.asarray(picture().rotate(turn, expand=True))))


def test_damaged_exif_is_done_without() -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    data = encoded(picture(), "WEBP", exif=exif, lossless=True).replace(b"MM\x00*", b"MZ\x00*")
    data = data.replace(b"II*\x00", b"IZ*\x00")
    assert images.decode(data, "a").shape == (1, 3, 24, 20)


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (12, 12), colour) for colour in ("red", "blue", "green")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.decode(data, "a")[0, :, 5, 5].tolist() == [1, 0, 0]


def huge_png(side: int) -> bytes:
    """The head of a PNG that claims to be enormous."""
    data = bytearray(encoded(picture(8, 8).convert("1"), "PNG"))
    import struct
    import zlib

    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"these are words", "not a picture that can be read"),
        (b"", "not a picture that can be read"),
        (encoded(picture(), "PNG")[:200], "not a picture that can be read"),
        (encoded(picture(1, 1), "PNG"), "is 1×1; both sides must be at least 8 pixels"),
        (encoded(picture(300, 7), "PNG"), "is 7×300; both sides must be at least 8 pixels"),
        (huge_png(20_000), "at most 100,000,000 pixels are read"),
        (huge_png(11_000), "is 11000×11000; at most 100,000,000 pixels are read"),
    ],
)
def test_bad_pictures_are_refused_in_one_line(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "bad.png").write_bytes(data)
    with pytest.raises(InputError, match=reason) as caught:
        images.read(tmp_path / "bad.png")
    assert "bad.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none.png: No such file"):
        images.read(tmp_path / "none.png")
    with pytest.raises(InputError, match="Is a directory"):
        images.read(tmp_path)
    with pytest.raises(InputError, match=r"cannot read .*none.png"):
        images.read_text(tmp_path / "none.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000"])
def test_damage_never_surprises(kind: str) -> None:
    """Whatever bytes are flipped or missing: a picture or an InputError, no warning, nothing else."""
    chance, whole = np.random.default_rng(3), encoded(picture(), kind)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for place in chance.integers(0, min(len(data), 300), 4):
            data[place] = chance.integers(0, 256)
        try:
            seen = images.decode(bytes(data[: chance.integers(len(data) // 2, len(data) + 1)]), "damaged")
            assert seen.shape[:2] == (1, 3)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 0


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        images.write(steps(), tmp_path / "file" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_resize_by_area_averages() -> None:
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(8, 8)[None, None]
    assert_close(images.resize(board, (8, 8)), torch.full((1, 1, 8, 8), 0.5))
    ramp = torch.linspace(0, 1, 48).reshape(1, 1, 1, 48).expand(1, 1, 30, 48)
    assert_close(images.resize(ramp, (16, 10)).mean(), ramp.mean(), atol=1e-6, rtol=0)


def test_resize_by_maximum_keeps_thin_lines() -> None:
    line = torch.zeros(1, 1, 60, 60)
    line[..., 31] = 1
    small = images.resize(line, (13, 13), "max")
    assert small.amax(-1).sum() == 13
    assert set(small.flatten().tolist()) == {0.0, 1.0}
    assert set(images.resize(line, (100, 100), "max").flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("how", ["area", "max", "nearest", "bicubic"])
@pytest.mark.parametrize("size", [(7, 11), (40, 9), (64, 48), (20, 24)])
def test_resize_gives_the_size_and_stays_in_range(how: images.Reduction, size: tuple[int, int]) -> None:
    source = torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    seen = images.resize(source, size, how)
    assert seen.shape == (2, 3, size[1], size[0])
    assert seen.min() >= 0 and seen.max() <= 1
    if how == "nearest":
        assert set(seen.flatten().tolist()) <= set(source.flatten().tolist())
    if size == (20, 24):
        assert torch.equal(seen, source)


def test_crop_keeps_the_middle_in_the_drawing_s_proportions() -> None:
    wide = torch.arange(12.0).expand(1, 3, 6, 12)
    assert images.crop(wide, (64, 64)).shape == (1, 3, 6, 6)
    assert images.crop(wide, (64, 64))[0, 0, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert images.crop(wide.mT, (64, 64)).shape == (1, 3, 6, 6)
    assert torch.equal(images.crop(wide, (24, 12)), wide)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "LA", "RGBA", "1"])
def test_what_is_opaque_is_the_same_by_either_way(tmp_path: Path, mode: str) -> None:
    """Pictures without transparency are spared the fourth channel; they have the bits that they have with it."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    Image.fromarray(noise).convert(mode).save(path)
    with Image.open(path) as file:
        rgba = images.from_uint8(np.asarray(file.convert("RGBA")))
    found = images.read(path)
    assert torch.equal(found[0], rgba[:3] * rgba[3:] + (1 - rgba[3:]))
