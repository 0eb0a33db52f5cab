"""Pictures between files and tensors: the only place besides annotators where uint8, HWC or PIL exist (law 8)."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor
from torch.nn import functional

from underdraw.errors import InputError
from underdraw.files import atomic

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "SUFFIXES",
    "crop",
    "decode",
    "encode_png",
    "from_uint8",
    "read",
    "read_text",
    "resize",
    "to_uint8",
    "write",
]

MAX_PIXELS = 100_000_000
"""Largest picture that is opened: 100 megapixels, 1.2 GB as floats."""
MIN_SIDE = 8
"""Smallest side in pixels that a picture or map may have."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm", ".pgm")
"""Of the files in a folder that are taken for pictures."""
MAX_TEXT = 16 * 2**20
"""Largest text chunk of a PNG that is read, in bytes."""

BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error)
"""What pillow raises for pictures that are damaged or none at all."""

Reduction = Literal["area", "max", "nearest", "bicubic"]


def read(path: str | Path, *, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Tensor:
    """The picture in a file as 1×3×H×W RGB floats in [0, 1].

    Rotated by its EXIF tag, 16-bit and CMYK converted, transparency laid over `background` (white), the first frame of
    an animation. Raises InputError for a file that is missing, not a picture, over 100 megapixels or under 8 px.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return decode(data, str(path), background=background)


def decode(data: bytes, name: str, *, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Tensor:
    """As `read`, from the bytes of a picture file; `name` is for error messages."""
    picture = _open(data, name)
    if picture.mode.startswith(("I", "F")):
        return _deep(picture).expand(1, 3, -1, -1).contiguous()
    if not picture.has_transparency_data:
        return from_uint8(np.asarray(picture.convert("RGB"))).unsqueeze(0)
    rgba = from_uint8(np.asarray(picture.convert("RGBA"))).unsqueeze(0)
    colour, alpha = rgba[:, :3], rgba[:, 3:]
    return colour * alpha + torch.tensor(background).view(1, 3, 1, 1) * (1 - alpha)


def _open(data: bytes, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and of damaged tags: we refuse, or do without
            picture = Image.open(io.BytesIO(data))
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise InputError(f"{name} is {width}×{height}; at most {MAX_PIXELS:,} pixels are read: reduce it first")
            if min(width, height) < MIN_SIDE:
                raise InputError(f"{name} is {width}×{height}; both sides must be at least {MIN_SIDE} pixels")
            picture.seek(0)
            picture.load()
            return _upright(picture)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large: at most {MAX_PIXELS:,} pixels are read; reduce it first") from error
    except BROKEN as error:
        raise InputError(
            f"{name} is not a picture that can be read (PNG, JPEG, WebP …): {_first_line(error)}"
        ) from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says; as it is where the tags are damaged."""
    try:
        return ImageOps.exif_transpose(picture)
    except BROKEN:
        return picture


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].partition(" <_io")[0]


def _deep(picture: Image.Image) -> Tensor:
    """16-bit, 32-bit and float grey as 1×1×H×W; integers over 65,535, floats as they are, clipped to [0, 1]."""
    values = torch.from_numpy(np.asarray(picture).astype(np.float32))
    scale = 1.0 if picture.mode.startswith("F") else 65535.0
    return torch.nan_to_num(values / scale).clamp(0, 1)[None, None]


def write(picture: Tensor, path: str | Path, text: dict[str, str] | None = None) -> None:
    """Write C×H×W or 1×C×H×W floats in [0, 1] (C = 1, 3 or 4) as PNG, whole or not at all, with text chunks."""
    data = encode_png(picture, text)
    with atomic(path) as draft:
        draft.write_bytes(data)


def encode_png(picture: Tensor, text: dict[str, str] | None = None) -> bytes:
    """The bytes of the PNG that `write` writes; the same picture and text give the same bytes."""
    pixels = to_uint8(picture[0] if picture.ndim == 4 else picture)
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value, zip=len(value) > 1000)
    file = io.BytesIO()
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(flat).save(file, "PNG", pnginfo=info, compress_type=zlib.Z_RLE)  # as small, in a third of the time
    return file.getvalue()


def read_text(path: str | Path) -> dict[str, str]:
    """The text chunks of a PNG. Raises InputError as `read`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    limit, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, MAX_TEXT
    try:
        return {str(key): value for key, value in _open(data, str(path)).info.items() if isinstance(value, str)}
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK = limit


def to_uint8(picture: Tensor) -> NDArray[np.uint8]:
    """C×H×W floats in [0, 1] → H×W×C bytes, rounded to the nearest."""
    pixels: NDArray[np.uint8] = (
        picture.detach().float().mul(255).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    )
    return pixels


def from_uint8(pixels: NDArray[np.uint8]) -> Tensor:
    """H×W×C bytes → C×H×W floats in [0, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float().div_(255)


def resize(pictures: Tensor, size: tuple[int, int], how: Reduction = "area") -> Tensor:
    """B×C×H×W at `size` = (width, height).

    "area" averages (bilinear where it enlarges), "max" keeps the brightest pixel of each cell (thin lines survive),
    "nearest" keeps labels pure, "bicubic" is for looking.
    """
    width, height = size
    if pictures.shape[-2:] == (height, width):
        return pictures
    shrinks = height <= pictures.shape[-2] and width <= pictures.shape[-1]
    if how == "nearest" or (how == "max" and not shrinks):
        return functional.interpolate(pictures, (height, width), mode="nearest-exact")
    if how == "max":
        return functional.adaptive_max_pool2d(pictures, (height, width))
    if how == "area" and shrinks:
        return functional.adaptive_avg_pool2d(pictures, (height, width))
    if how == "bicubic":  # overshoots beside edges
        return functional.interpolate(pictures, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    return functional.interpolate(pictures, (height, width), mode="bilinear", antialias=True)


def crop(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest centred window of B×C×H×W that has the proportions of `size` = (width, height)."""
    height, width = picture.shape[-2:]
    scale = min(width / size[0], height / size[1])
    across, down = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - down) // 2, (width - across) // 2
    return picture[..., top : top + down, left : left + across]
