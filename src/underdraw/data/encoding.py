"""Pictures on their way into shards and out of them: decoded no larger than needed, encoded as PNG or JPEG."""

import io
import warnings
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from underdraw import images
from underdraw.errors import InputError

__all__ = ["Encoding", "decode_near", "encode", "pixels_of", "sniff", "to_bytes"]

Encoding = Literal["jpg", "png"]
HEADROOM = 2
"""A large picture is decoded at least this many times larger than it is needed, and then reduced by area."""
LEVEL = 1
"""Of PNG's compression: a quarter of the time of the usual 6, for a tenth more bytes."""
PLAIN = ("RGB", "L", "YCbCr")
"""Modes of JPEGs that are decoded at a fraction of their size; everything else goes the careful way."""


def decode_near(data: bytes, name: str, needed: int) -> tuple[Tensor, tuple[int, int]]:
    """A picture file as 1×3×H×W in [0, 1], and its own (width, height), both upright.

    A JPEG whose shorter side is several times `needed` is halved while it is decoded, and any picture by whole factors
    afterwards, as long as its shorter side stays at `HEADROOM` times `needed`. Raises InputError as `images.decode`.
    """
    small = _draft(data, needed * HEADROOM)
    if small is None:
        picture = images.decode(data, name)
        return picture, (picture.shape[-1], picture.shape[-2])
    return images.from_uint8(np.asarray(small[0])).unsqueeze(0), small[1]


def _draft(data: bytes, least: int) -> tuple[Image.Image, tuple[int, int]] | None:
    """A plain JPEG, smaller where it is large, and its own size; None for what needs more care."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and damaged tags: those are refused elsewhere
            picture = Image.open(io.BytesIO(data))
            width, height = picture.size
            if picture.format != "JPEG" or picture.mode not in PLAIN or width * height > images.MAX_PIXELS:
                return None
            if min(width, height) < images.MIN_SIDE:
                return None
            picture.draft("RGB", (least, least))
            picture.load()
            factor = max(1, min(picture.size) // least)
            turned = ImageOps.exif_transpose(picture.convert("RGB"))
            upright = (width, height) if (turned.width > turned.height) == (width > height) else (height, width)
            return turned.reduce(factor), upright
    except images.BROKEN:
        return None


def sniff(data: bytes) -> Encoding:
    """How a picture made from this file is best kept: as JPEG if it comes from a lossy one, else as PNG."""
    lossy = data[:3] == b"\xff\xd8\xff" or (data[8:12] == b"WEBP" and data[12:16] != b"VP8L")
    return "jpg" if lossy else "png"


def to_bytes(picture: Tensor) -> Tensor:
    """Floats in [0, 1] as uint8, rounded to the nearest."""
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def encode(pixels: Tensor, form: Encoding, quality: int) -> bytes:
    """C×H×W uint8 (C = 1, 3 or 4) as the bytes of a file. JPEG keeps the full resolution of its colours."""
    layers = pixels.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(layers[..., 0] if layers.shape[-1] == 1 else layers)
    file = io.BytesIO()
    if form == "jpg":
        picture.save(file, "JPEG", quality=quality, subsampling=0)
    else:
        picture.save(file, "PNG", compress_level=LEVEL)
    return file.getvalue()


def pixels_of(data: bytes, name: str) -> Tensor:
    """C×H×W uint8 of a file that `encode` wrote. Raises InputError for one that is damaged."""
    try:
        layers = np.array(Image.open(io.BytesIO(data)))
    except images.BROKEN as error:
        raise InputError(f"{name} is damaged ({error}); prepare the data again") from error
    return torch.from_numpy(layers if layers.ndim == 3 else layers[..., None]).permute(2, 0, 1)
