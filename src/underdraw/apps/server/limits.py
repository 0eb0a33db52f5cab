"""How much a client may ask for, and pictures as clients send them: base64 alone, bounded before they are decoded."""

import base64
import binascii
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from underdraw import images
from underdraw.errors import InputError, UnderdrawError
from underdraw.formats.detect import detect
from underdraw.formats.places import listed, shipped_loras
from underdraw.registry import nearest

__all__ = ["Limits", "check_text", "decode_text", "on_the_shelf", "picture_of"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
"""Of pictures that are taken from strangers: those that Pillow reads by itself (EPS, for one, would run a program)."""


LORA = re.compile(r"<lora:([^:<>]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """How much a client may ask for.

    body: bytes of a request; pixels: of a picture that is sent; drawing: pixels of a picture that is drawn; prompt:
    characters; steps: of a drawing; count: pictures of a request; grid: of a grid; seconds: from the request to its
    last picture; queue: pictures that wait at most, of which one client may have half; loras: names that prompts may
    call, so that no prompt can name a file or a repository.
    """

    body: int = 32 * 2**20
    pixels: int = 4096 * 4096
    drawing: int = 2048 * 2048
    prompt: int = 4000
    steps: int = 150
    count: int = 16
    grid: int = 64
    seconds: float = 600.0
    queue: int = 256
    loras: tuple[str, ...] = ()


def picture_of(text: str, limits: Limits, name: str = "picture") -> Tensor:
    """The picture 1×3×H×W in a base64 text, or in a data URL. Raises InputError; files and addresses are not opened."""
    return images.decode(decode_text(text, limits, name), name)


def decode_text(text: str, limits: Limits, name: str = "picture") -> bytes:
    """The bytes of a picture file whose head says that it is no larger than the limits. Raises InputError."""
    head, comma, rest = text.partition(",")
    try:
        data = base64.b64decode((rest if comma and head.startswith("data:") else text).strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name} is not base64; send the bytes of a PNG, JPEG or WebP in base64") from error
    width, height = _extent(data, name)
    if width * height > limits.pixels:
        raise InputError(f"{name} is {width}×{height}; at most {limits.pixels:,} pixels are taken: reduce it first")
    return data


def _extent(data: bytes, name: str) -> tuple[int, int]:
    """What the file's head says; no pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that are refused anyway
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                return picture.size
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large; reduce it first") from error
    except Exception as error:  # whatever Pillow's parsers raise for a stranger's bytes
        raise InputError(f"{name} is not a picture that can be read (PNG, JPEG, WebP, GIF, BMP, AVIF)") from error


def check_text(text: str, limits: Limits, name: str = "prompt") -> str:
    """The text, if it is not too long and calls only LoRAs that clients may use. Raises InputError."""
    if len(text) > limits.prompt:
        raise InputError(f"{name} has {len(text):,} characters; at most {limits.prompt:,} are read: say it shorter")
    for called in LORA.findall(text):
        if called.strip() not in limits.loras:
            raise InputError(f"no LoRA is called {called[:40]!r} here; {nearest(called, list(limits.loras))}")
    return text


def on_the_shelf() -> tuple[str, ...]:
    """The names of the LoRAs that ship, and of those in the folder of models."""
    return tuple(sorted({*shipped_loras(), *(path.stem for path in listed("lora") if _is_lora(path))}))


def _is_lora(path: Path) -> bool:
    try:
        return detect(path).kind == "lora"
    except UnderdrawError:
        return False
