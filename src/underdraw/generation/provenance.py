"""Recipes in picture files: a PNG or WebP carries all that is needed to draw it again, maps and pictures included.

Two texts lie in a file: `underdraw`, the recipe as JSON, and `parameters`, the lines that A1111's tools read. In a PNG
they are text chunks, in a WebP (always lossless) EXIF's ImageDescription and UserComment.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from underdraw import images
from underdraw.errors import InputError
from underdraw.files import atomic
from underdraw.generation.recipe import Drawing, Guide

__all__ = [
    "CHUNK",
    "SUFFIXES",
    "fingerprint",
    "pack",
    "pack_map",
    "read_drawing",
    "unpack",
    "unpack_map",
    "write_drawing",
]

CHUNK = "underdraw"
"""The PNG text chunk that holds the recipe."""
SUFFIXES = (".png", ".webp")
"""The files that can carry one."""
DESCRIPTION, COMMENT = 0x010E, 0x9286
UNICODE = b"UNICODE\0"


def write_drawing(picture: Tensor, drawing: Drawing, path: Path) -> None:
    """Write a picture 3×H×W as a PNG or lossless WebP that carries its recipe, whole or not at all."""
    if path.suffix.lower() == ".webp":
        data = _webp(picture, drawing)
        with atomic(path) as draft:
            draft.write_bytes(data)
    else:
        images.write(picture, path, {CHUNK: drawing.model_dump_json(), "parameters": drawing.parameters()})


def _webp(picture: Tensor, drawing: Drawing) -> bytes:
    exif = Image.Exif()
    exif[DESCRIPTION] = json.dumps(json.loads(drawing.model_dump_json()))  # EXIF's texts are ASCII
    exif[COMMENT] = UNICODE + drawing.parameters().encode("utf-16-be")
    file = io.BytesIO()
    with Image.open(io.BytesIO(images.encode_png(picture))) as pixels:
        pixels.save(file, "WEBP", lossless=True, exact=True, exif=exif)
    return file.getvalue()


def read_drawing(path: str | Path) -> Drawing:
    """The recipe that a file carries. Raises InputError for a picture without one, or with one that cannot be read."""
    text = _webp_text(path) if Path(path).suffix.lower() == ".webp" else images.read_text(path).get(CHUNK)
    if text is None:
        raise InputError(f"{path} carries no underdraw recipe; only pictures that `underdraw generate` wrote do")
    try:
        return Drawing.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "JSON"
        raise InputError(f"{path} carries a recipe that cannot be read ({place}: {first['msg'].lower()})") from error


def _webp_text(path: str | Path) -> str | None:
    images.read(path)  # refuses what cannot be read
    with Image.open(path) as file:
        text = file.getexif().get(DESCRIPTION)
    return text if isinstance(text, str) and text.startswith("{") else None


def pack(picture: Tensor) -> str:
    """A picture or mask C×H×W (or 1×C×H×W) in steps of 1/255 as text, losing nothing; -1 is transparent."""
    picture = picture[0] if picture.ndim == 4 else picture
    if bool((picture < 0).any()):
        seen = (picture.amin(0, keepdim=True) >= 0).to(picture)
        picture = torch.cat([picture.clamp(min=0), seen])
    return base64.b64encode(images.encode_png(picture)).decode("ascii")


def unpack(text: str, name: str, remedy: str) -> Tensor:
    """The picture 1×C×H×W that `pack` packed (C = 1, or 3 where its colours differ). Raises InputError naming it."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InputError(f"{name} is damaged; {remedy}") from error
    picture = images.decode(data, name)
    with Image.open(io.BytesIO(data)) as file:
        if file.mode == "RGBA":
            hidden = images.from_uint8(np.asarray(file))[None, 3:] == 0
            return torch.where(hidden, -1.0, images.from_uint8(np.asarray(file))[None, :3])
    grey = bool((picture == picture[:, :1]).all())
    return picture[:, :1] if grey else picture


def pack_map(condition: Tensor) -> str:
    """A condition map 1×C×H×W in steps of 1/255 as text, losing nothing."""
    return pack(condition)


def unpack_map(guide: Guide, path: str | Path) -> Tensor:
    """The condition map 1×C×H×W of a guide (C = 1, or 3 where its colours differ).

    Raises InputError naming the picture `path` that it came with.
    """
    return unpack(guide.map, f"the {guide.kind} map in {path}", f"give the map itself: {guide.kind}=FILE,map")


def fingerprint(place: Path) -> str:
    """16 hexadecimal digits over a model: a file, or the weights and configurations in a folder.

    Of a file they are the first of its SHA-256, which A1111 and others call its hash. Of a folder ControlNets, LoRAs
    and readers beside the base are left out. Every byte is read, once a process for a file whose size and time stay the
    same.
    """
    if place.is_file():
        return _sha256(place).hex()[:16]
    digest = hashlib.sha256()
    for path in _files(place):
        digest.update(path.relative_to(place).as_posix().encode())
        digest.update(_sha256(path))
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> bytes:
    facts = path.stat()
    return _read(path.resolve(), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=4096)
def _read(path: Path, size: int, time: int) -> bytes:
    """The SHA-256 of a file of this size and time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _files(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.rglob("*")):
        beside = path.relative_to(folder).parts[0].startswith(("controlnet-", "loras", "readers"))
        if (path.suffix in (".safetensors", ".json") or path.name == "merges.txt") and path.is_file() and not beside:
            yield path
