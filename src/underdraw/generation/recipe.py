"""A drawing's whole recipe, and how a PNG carries it: maps and all, so that it can be drawn again years later.

Two text chunks: `underdraw`, the recipe as JSON, and `parameters`, the lines that A1111's tools read.
"""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from torch import Tensor

import underdraw
from underdraw import images
from underdraw.config import Config
from underdraw.errors import InputError
from underdraw.generation.schedulers import SCHEDULERS
from underdraw.generation.sizes import LARGEST

__all__ = [
    "CHUNK",
    "LAST_SEED",
    "Drawing",
    "Guide",
    "fingerprint",
    "pack_map",
    "read_drawing",
    "unpack_map",
    "write_drawing",
]

CHUNK = "underdraw"
"""The PNG text chunk that holds the recipe."""
LAST_SEED = 2**63
"""Seeds are below it."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=LARGEST)]


class Guide(Config):
    """One control of a drawing: its map itself (a PNG in base64), and the name of the file that it came from."""

    kind: str
    weight: float = 1.0
    start: Fraction = 0.0
    end: Fraction = 1.0
    source: str = ""
    is_map: bool = False
    net_hash: str = ""
    map: str


class Drawing(Config):
    """All that says how one picture was drawn.

    `seed` is this picture's. It was number `index` (from 0) of `batch` pictures drawn together with consecutive seeds:
    the last bits of a float depend on what else is in a batch, so the same bytes need the same company.
    """

    prompt: str
    negative: str = ""
    seed: int = Field(0, ge=0, lt=LAST_SEED)
    index: int = Field(0, ge=0)
    batch: int = Field(1, ge=1, le=64)
    width: Side
    height: Side
    steps: int = Field(20, ge=1)
    guidance: float = Field(4.0, ge=0, le=100)
    scheduler: str = "dpm++ 2m"
    dtype: str = "float32"
    device: str = "cpu"
    base: str
    base_hash: str
    controls: tuple[Guide, ...] = ()
    version: str = underdraw.__version__

    @field_validator("scheduler")
    @classmethod
    def _known(cls, name: str) -> str:
        _ = SCHEDULERS[name.lower()]
        return name.lower()

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.index >= self.batch or self.index > self.seed:
            raise ValueError(f"picture {self.index} with seed {self.seed} cannot be one of {self.batch}")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    @property
    def seeds(self) -> list[int]:
        """The seeds of all pictures of its batch."""
        return [self.seed - self.index + place for place in range(self.batch)]

    def parameters(self) -> str:
        """The recipe as A1111 writes it."""
        nets = (
            f'ControlNet {place}: "Module: {"none" if each.is_map else each.kind}, Model: controlnet-{each.kind}'
            f" [{each.net_hash[:8]}], Weight: {each.weight:g}, Guidance Start: {each.start:g},"
            f' Guidance End: {each.end:g}"'
            for place, each in enumerate(self.controls)
        )
        told = [
            f"Steps: {self.steps}",
            f"Sampler: {SCHEDULERS[self.scheduler].label}",
            f"CFG scale: {self.guidance:g}",
            f"Seed: {self.seed}",
            f"Size: {self.width}x{self.height}",
            f"Model hash: {self.base_hash[:10]}",
            f"Model: {self.base}",
            *nets,
            f"Version: underdraw {self.version}",
        ]
        negative = [f"Negative prompt: {self.negative}"] if self.negative else []
        return "\n".join([self.prompt, *negative, ", ".join(told)])


def write_drawing(picture: Tensor, drawing: Drawing, path: Path) -> None:
    """Write a picture 3×H×W as a PNG that carries its recipe, whole or not at all."""
    images.write(picture, path, {CHUNK: drawing.model_dump_json(), "parameters": drawing.parameters()})


def read_drawing(path: str | Path) -> Drawing:
    """The recipe that a PNG carries. Raises InputError for a picture without one, or with one that cannot be read."""
    text = images.read_text(path).get(CHUNK)
    if text is None:
        raise InputError(f"{path} carries no underdraw recipe; only pictures that `underdraw generate` wrote do")
    try:
        return Drawing.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "JSON"
        raise InputError(f"{path} carries a recipe that cannot be read ({place}: {first['msg'].lower()})") from error


def pack_map(condition: Tensor) -> str:
    """A condition map 1×C×H×W in steps of 1/255 as text, losing nothing."""
    return base64.b64encode(images.encode_png(condition)).decode("ascii")


def unpack_map(guide: Guide, path: str | Path) -> Tensor:
    """The condition map 1×C×H×W that `pack_map` packed (C = 1, or 3 where its colours differ).

    Raises InputError naming the picture `path` that it came with.
    """
    name = f"the {guide.kind} map in {path}"
    try:
        data = base64.b64decode(guide.map, validate=True)
    except ValueError as error:
        raise InputError(f"{name} is damaged; give the map itself: {guide.kind}=FILE,map") from error
    condition = images.decode(data, name)
    grey = bool((condition == condition[:, :1]).all())
    return condition[:, :1] if grey else condition


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits over the weights and configurations in a model folder, without ControlNets beside it."""
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _files(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.rglob("*")):
        beside = path.relative_to(folder).parts[0].startswith("controlnet-")
        if (path.suffix in (".safetensors", ".json") or path.name == "merges.txt") and path.is_file() and not beside:
            yield path
