"""Controls as a person asks for them (`canny=photo.png,weight=0.8`), and what they become for a base.

ControlNets lie beside their base, each in a folder `controlnet-<kind>` in diffusers layout.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import ANNOTATORS, build, given
from underdraw.errors import ConfigError, InputError
from underdraw.registry import nearest

__all__ = ["ControlRequest", "control_folder", "control_kinds", "extent", "make_map", "read_source"]

FOLDER = "controlnet-"
PARTS = ("weight", "start", "end", "map")


@dataclass(frozen=True)
class ControlRequest:
    """One control asked for: its kind, the picture (or, if `is_map`, the map) and how it is heard.

    Raises ConfigError for an unknown kind, InputError for numbers that make no sense.
    """

    kind: str
    path: str
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    is_map: bool = False

    def __post_init__(self) -> None:
        _ = ANNOTATORS[self.kind]
        if not abs(self.weight) <= 100:
            raise InputError(f"control {self.kind}: weight={self.weight:g} makes no sense; 0 is silent, 1 is usual")
        if not 0 <= self.start <= self.end <= 1:
            told = f"start={self.start:g} and end={self.end:g}"
            raise InputError(f"control {self.kind}: {told} make no sense; give 0 <= start <= end <= 1")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`KIND=PATH[,weight=..][,start=..][,end=..][,map]`; a path with a comma stands in double quotes.

        Raises ConfigError or InputError naming the part that is wrong.
        """
        kind, sign, rest = text.partition("=")
        if not sign or not kind or not rest:
            raise ConfigError(f"control {text!r} is not KIND=PATH, for example canny=photo.png")
        path, *parts = _split(rest, text)
        if not path:
            raise ConfigError(f"control {text!r} names no file; write {kind}=PATH")
        return cls(kind, path, **dict(_part(part, text) for part in parts))


def _split(rest: str, text: str) -> list[str]:
    try:
        return next(csv.reader([rest], strict=True))
    except csv.Error as error:
        raise ConfigError(f"control {text!r}: the quotes do not close around the path ({error})") from error


def _part(part: str, text: str) -> tuple[str, Any]:
    name, sign, value = (each.strip() for each in part.partition("="))
    if name not in PARTS:
        hint = nearest(name, list(PARTS))
        raise ConfigError(f"control {text!r}: unknown part {part!r}; {hint} (a comma in a path is quoted)")
    if name == "map":
        if sign:
            raise ConfigError(f"control {text!r}: 'map' takes no value; write ,map")
        return "is_map", True
    try:
        return name, float(value)
    except ValueError as error:
        raise ConfigError(f"control {text!r}: {name} is {value!r}, which is not a number") from error


def control_kinds(base: Path) -> list[str]:
    """The kinds of the ControlNets that lie beside a base, sorted."""
    return sorted(path.name.removeprefix(FOLDER) for path in base.glob(f"{FOLDER}*") if path.is_dir())


def control_folder(base: Path, kind: str) -> Path:
    """Where the ControlNet for the maps of an annotator lies: that of its condition.

    Raises ConfigError naming the conditions that there are nets for.
    """
    kind, kinds = ANNOTATORS[kind].condition if kind in ANNOTATORS else kind, control_kinds(base)
    if kind not in kinds:
        there = f"there is {', '.join(kinds)}" if kinds else "there is none"
        raise ConfigError(f"no ControlNet for {kind!r} beside base {base.name!r}; {there} (folders {FOLDER}<kind>)")
    return base / f"{FOLDER}{kind}"


def read_source(request: ControlRequest) -> Any:
    """What a control starts from: a picture or map 1×3×H×W, or what its annotator makes of another kind of file."""
    return images.read(request.path) if request.is_map else build(request.kind).read(request.path)


def extent(request: ControlRequest, source: Any) -> tuple[int, int]:
    """The (width, height) of what a control starts from."""
    return build(request.kind).extent(source)


def make_map(request: ControlRequest, source: Any, size: tuple[int, int]) -> Tensor:
    """The condition map 1×C×h×w in [0, 1] for a drawing of `size`, in steps of 1/255 so that a PNG keeps it whole."""
    found = given(request.kind, source, size) if request.is_map else build(request.kind).map(source, size)
    return torch.round(found.clamp(0, 1) * 255) / 255
