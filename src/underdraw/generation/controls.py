"""Controls as a person asks for them (`canny=photo.png,weight=0.8`), and what they become for a base.

What steers is named (`net=`), or lies beside the base in a folder `controlnet-<kind>`; `nets` finds it.
"""

import csv
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS, build, given
from underdraw.errors import ConfigError, InputError
from underdraw.formats.conditions import about_folder
from underdraw.generation.cutout import Cutout
from underdraw.generation.presets import CURVES, PRESETS
from underdraw.generation.sources import Source, as_picture, each
from underdraw.registry import nearest

__all__ = ["FOLDER", "ControlRequest", "control_kinds", "control_nets", "extent", "make_map", "read_source"]

FOLDER = "controlnet-"


@dataclass(frozen=True)
class ControlRequest:
    """One control asked for: its kind, the picture (or, if `is_map`, the map) and how it is heard.

    picture: a file, or a tensor 3×H×W in [0, 1]; where only what is masked is drawn, that part is cut out of it and of
    the mask, unless it `is_cut` already. weight: how loud. start, end: the share of the steps in which it is
    heard. mask: where it is heard (white). preset: "balanced", "my prompt is more important", "controlnet is more
    important", "guess mode" or "resolution weighting", that is, a `curve` over the layers (a name or numbers) and a
    `side` of guidance ("both", "conditional", or how loud it is on the unconditional half), either of which may be said
    by itself. times: one more weight for moments spread evenly over the drawing. scale: how loud it enters its fusion.
    net: what steers, a path, a name on the shelf or a hub id; "" is the one for this kind beside the base.
    For a batch: picture, weight and mask may be lists, with one a picture.

    Raises ConfigError for an unknown kind or name, InputError for numbers that make no sense.
    """

    kind: str
    picture: Source | Sequence[Source]
    weight: float | Sequence[float] = 1.0
    start: float = 0.0
    end: float = 1.0
    is_map: bool = False
    mask: Source | Sequence[Source] | None = None
    preset: str = "balanced"
    curve: str | tuple[float, ...] | None = None
    side: str | float | None = None
    times: tuple[float, ...] = ()
    scale: float = 1.0
    net: str = ""
    is_cut: bool = False

    def __post_init__(self) -> None:
        _ = ANNOTATORS[self.kind], PRESETS[self.preset]
        if isinstance(self.curve, str):
            _ = CURVES[self.curve]
        if isinstance(self.side, str) and self.side not in ("both", "conditional"):
            raise ConfigError(f"control {self.kind}: side={self.side!r} is not both, conditional or a number")
        weights = [self.weight] if isinstance(self.weight, int | float) else list(self.weight)
        for weight in weights:
            if not abs(weight) <= 100:
                raise InputError(f"control {self.kind}: weight={weight:g} makes no sense; 0 is silent, 1 is usual")
        if not 0 <= self.start <= self.end <= 1:
            told = f"start={self.start:g} and end={self.end:g}"
            raise InputError(f"control {self.kind}: {told} make no sense; give 0 <= start <= end <= 1")
        numbers = (*self.times, self.scale, *(() if isinstance(self.curve, str) else self.curve or ()))
        if not all(abs(number) <= 100 for number in numbers):
            raise InputError(f"control {self.kind}: curve, times and scale are numbers up to 100")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`KIND=PATH[,weight=..][,start=..][,end=..][,preset=..][,curve=..][,side=..][,times=..][,mask=FILE][,net=NAME]
        [,map]`.

        Numbers of a curve are parted by colons; a path with a comma stands in double quotes. Raises ConfigError or
        InputError naming the part that is wrong.
        """
        kind, sign, rest = text.partition("=")
        if not sign or not kind or not rest:
            raise ConfigError(f"control {text!r} is not KIND=PATH, for example canny=photo.png")
        path, *parts = _split(rest, text)
        if not path:
            raise ConfigError(f"control {text!r} names no file; write {kind}=PATH")
        return cls(kind, path, **dict(_part(part, text) for part in parts))

    @property
    def heard(self) -> tuple[str | tuple[float, ...], str | float]:
        """The layer curve and the side, its own or its preset's."""
        preset = PRESETS[self.preset]
        return (preset.curve if self.curve is None else self.curve, preset.side if self.side is None else self.side)

    @property
    def plain(self) -> bool:
        """Whether nothing was said of how the layers and the sides of guidance hear it."""
        return self.preset == "balanced" and self.curve is None and self.side is None

    @property
    def told(self) -> dict[str, Any]:
        """What the recipe says of how it is heard."""
        curve, side = self.heard
        spoken = {"weight": self.weight, "start": self.start, "end": self.end, "times": self.times, "scale": self.scale}
        return spoken | {"curve": curve, "side": side}

    def items(self, count: int) -> list["ControlRequest"]:
        """The request of each of `count` pictures. Raises InputError for lists of another length."""
        what = f"control {self.kind}: "
        pictures, weights, masks = (
            each(value, count, what + name)
            for name, value in (("pictures", self.picture), ("weights", self.weight), ("masks", self.mask))
        )
        return [
            replace(self, picture=picture, weight=weight, mask=mask)
            for picture, weight, mask in zip(pictures, weights, masks, strict=True)
        ]


def _split(rest: str, text: str) -> list[str]:
    try:
        return next(csv.reader([rest], strict=True))
    except csv.Error as error:
        raise ConfigError(f"control {text!r}: the quotes do not close around the path ({error})") from error


def _numbers(value: str) -> tuple[float, ...]:
    return tuple(float(number) for number in value.split(":"))


def _name_or(convert: Callable[[str], Any], known: Container[str]) -> Callable[[str], Any]:
    """A word that is known, or else numbers."""
    return lambda value: value if value in known or value[:1].isalpha() else convert(value)


PARTS: dict[str, Callable[[str], Any]] = {
    "weight": float,
    "start": float,
    "end": float,
    "preset": str.lower,
    "curve": _name_or(_numbers, CURVES),
    "side": _name_or(float, ()),
    "times": _numbers,
    "scale": float,
    "mask": str,
    "net": str,
}
"""How each part of `KIND=PATH,…` is read."""


def _part(part: str, text: str) -> tuple[str, Any]:
    name, sign, value = (piece.strip() for piece in part.partition("="))
    if name == "map":
        if sign:
            raise ConfigError(f"control {text!r}: 'map' takes no value; write ,map")
        return "is_map", True
    if name not in PARTS:
        hint = nearest(name, [*PARTS, "map"])
        raise ConfigError(f"control {text!r}: unknown part {part!r}; {hint} (a comma in a path is quoted)")
    try:
        return name, PARTS[name](value)
    except ValueError as error:
        raise ConfigError(f"control {text!r}: {name} is {value!r}, which is not a number") from error


def control_nets(base: Path) -> dict[str, Path]:
    """The folders of the ControlNets that lie beside a base, by the kinds of maps that they take.

    A folder's `about.json` lists them; without one its name says it. A net for one kind comes before a family's.
    """
    folders = sorted(path for path in base.glob(f"{FOLDER}*") if path.is_dir())
    told = [(about_folder(path).get("conditions") or [path.name.removeprefix(FOLDER)], path) for path in folders]
    return {kind: path for kinds, path in sorted(told, key=lambda each: -len(each[0])) for kind in kinds}


def control_kinds(base: Path) -> list[str]:
    """The kinds of maps that the ControlNets beside a base take, sorted."""
    return sorted(control_nets(base))


def read_source(request: ControlRequest) -> Any:
    """What a control starts from: a picture or map 1×3×H×W, or what its annotator makes of another kind of file."""
    source = request.picture
    assert isinstance(source, Source), "a request for several pictures is read item by item"
    if request.is_map:
        return as_picture(source)
    if not isinstance(source, Tensor):
        return build(request.kind).read(source)
    picture = source[None] if source.ndim == 3 else source
    return picture if picture.shape[1] == 4 else as_picture(picture)  # some take a mask as a fourth channel


def extent(request: ControlRequest, source: Any) -> tuple[int, int]:
    """The (width, height) of what a control starts from."""
    return build(request.kind).extent(source)


def make_map(request: ControlRequest, source: Any, size: tuple[int, int], part: Cutout | None = None) -> Tensor:
    """The condition map 1×C×h×w for a drawing of `size`, in steps of 1/255 so that a PNG keeps it whole.

    In [0, 1]; what an inpaint map hides is -1. part: which part of a picture is drawn, None is all of it.
    """
    if part is not None and isinstance(source, Tensor):
        source = part.of(source)
    elif part is not None:  # what is no picture can't be cut before it is one
        return make_map(replace(request, is_map=True), build(request.kind).map(source, part.whole), size, part)
    found = given(request.kind, source, size) if request.is_map else build(request.kind).map(source, size)
    return torch.round(found.clamp(max(-1.0, min(0.0, ANNOTATORS[request.kind].meaning.low)), 1) * 255) / 255
