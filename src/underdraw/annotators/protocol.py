"""What an annotator is: a frozen value whose knobs are its fields and which says what its map means."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

import torch
from torch import Tensor

from underdraw import images
from underdraw.errors import ConfigError
from underdraw.registry import Registry, nearest

__all__ = ["ANNOTATORS", "Annotator", "Knob", "Meaning", "Needs", "annotator", "build", "draw_knobs", "knob", "knobs"]

Colour = tuple[int, int, int]
Value = int | float | bool | str


@dataclass(frozen=True)
class Meaning:
    """What the values of a map say.

    channels: how many it has. low, high: the range of its values. polarity: what bright means, in words.
    reduction: how it is made smaller ("max": thin lines survive, "area": fields average, "nearest": labels stay pure).
    binary: nothing lies between low and high. palette: the only colours there are, as RGB bytes, black (nothing) aside.
    deterministic: the same picture and knobs give the same bytes. differentiable: gradients reach the picture.
    """

    channels: int
    polarity: str
    reduction: Literal["area", "max", "nearest"]
    low: float = 0.0
    high: float = 1.0
    binary: bool = False
    palette: tuple[Colour, ...] | None = None
    deterministic: bool = True
    differentiable: bool = False


@dataclass(frozen=True)
class Needs:
    """What an annotator needs beside Underdraw: packages (import names) of an extra, and weights, in words."""

    packages: tuple[str, ...] = ()
    extra: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Knob:
    """One setting: its default, a line of help, and what it may be.

    A number lies in [low, high]; a word is one of `choices`. `usual` is the range that augmentation draws from.
    """

    default: Value
    low: float
    high: float
    help: str
    usual: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()

    def check(self, kind: str, name: str, value: object) -> None:
        """Raises ConfigError naming the knob and what it may be."""
        if not self._fits(value):
            raise ConfigError(f"{kind}: knob {name!r} must be {self.range} (got {value!r})")

    @property
    def range(self) -> str:
        """What it may be, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if isinstance(self.default, bool):
            return "true or false"
        what = "a whole number" if isinstance(self.default, int) else "a number"
        return f"{what} from {self.low:g} to {self.high:g}"

    def _fits(self, value: object) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        whole = isinstance(self.default, int)
        return isinstance(value, int if whole else int | float) and self.low <= value <= self.high

    def draw(self, generator: torch.Generator) -> Value:
        """A random value from the usual range; the default where there is none."""
        if self.usual is None:
            return self.default
        low, high = self.usual
        share = float(torch.rand((), generator=generator, dtype=torch.float64))
        return low + int(share * (high - low + 1)) if isinstance(self.default, int) else low + share * (high - low)


def knob(
    default: Any,
    low: float = 0,
    high: float = 1,
    help: str = "",
    usual: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of an annotator with its range (or choices) and one line of help; `usual` is what augmentation draws."""
    return field(default=default, metadata={"knob": Knob(default, low, high, help, usual, choices)})


@dataclass(frozen=True, kw_only=True)
class Annotator(ABC):
    """Pictures in, condition maps out. A value: the same knobs are the same annotator.

    kind: its name. condition: what its maps are maps of; annotators of one condition feed the same ControlNet, and
    the condition is its own kind where nothing else is said. suffixes: the files that it reads. side: the shorter side
    in pixels for which it is made; 0 is that of the drawing ("pixel perfect"), so that a map means the same in training
    and in generation.
    """

    kind: ClassVar[str]
    condition: ClassVar[str]
    meaning: ClassVar[Meaning]
    needs: ClassVar[Needs] = Needs()
    suffixes: ClassVar[tuple[str, ...]] = images.SUFFIXES
    side: ClassVar[int] = 0

    resolution: int = knob(0, 0, 4096, "shorter side in pixels at which the picture is looked at; 0: the usual one")

    def __post_init__(self) -> None:
        for name, setting in knobs(type(self)).items():
            setting.check(self.kind, name, getattr(self, name))
        if 0 < self.resolution < images.MIN_SIDE:
            raise ConfigError(
                f"{self.kind}: knob 'resolution' must be 0 or at least {images.MIN_SIDE} (got {self.resolution})"
            )

    @abstractmethod
    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×C×H×W in the range of `meaning`."""

    def map(self, source: Any, size: tuple[int, int] | None = None) -> Tensor:
        """The condition map 1×C×h×w of a picture 1×3×H×W for a drawing of `size` = (w, h), by default the picture's.

        The picture's centre is cut to the drawing's proportions and reduced by area to the native size; the map is then
        brought to `size` as its meaning says (lines by maximum, fields by area).
        """
        size = size or self.extent(source)
        seen = images.resize(images.crop(source, size), self.native(size), "area")
        return images.resize(self(seen), size, self.meaning.reduction)

    def read(self, path: str | Path) -> Any:
        """What `map` takes, from a file: a picture 1×3×H×W, or whatever else this annotator understands.

        Raises InputError for a file that it cannot use.
        """
        return images.read(path)

    def extent(self, source: Any) -> tuple[int, int]:
        """The (width, height) of what `read` gave."""
        return source.shape[-1], source.shape[-2]

    def show(self, maps: Tensor) -> Tensor:
        """Maps B×C×H×W as pictures B×(1, 3 or 4)×H×W in [0, 1]: what a PNG of them holds."""
        return maps

    def native(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) at which a picture for a drawing of `size` is looked at."""
        side = self.resolution or self.side
        if not side:
            return size
        scale = side / min(size)
        return round(size[0] * scale), round(size[1] * scale)

    @property
    def settings(self) -> dict[str, Any]:
        """The knobs' values by name."""
        return asdict(self)


A = TypeVar("A", bound=Annotator)
ANNOTATORS: Registry[type[Annotator]] = Registry("annotator", group="underdraw.annotators")
"""All annotators by kind."""
PRESETS: dict[str, Mapping[str, Any]] = {}
"""The knobs that another name of an annotator stands for."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def annotator(
    kind: str, condition: str = "", known_as: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[type[A]], type[A]]:
    """Make a class an annotator: freeze it, give it its name, file it under `ANNOTATORS`.

    known_as: other names (those of the A1111 extension, of controlnet_aux), each with the knobs that it stands for.
    """

    def file(part: type[A]) -> type[A]:
        frozen = dataclass(frozen=True, kw_only=True)(part)
        frozen.kind, frozen.condition = kind, condition or kind
        ANNOTATORS.register(kind, tuple(known_as or ()))(frozen)
        PRESETS.update(known_as or {})
        return frozen

    return file


def knobs(part: type[Annotator]) -> dict[str, Knob]:
    """The knobs of an annotator by name: its own in the order in which they are declared, after those of all."""
    return {entry.name: entry.metadata["knob"] for entry in fields(part)}


def build(kind: str, settings: Mapping[str, Any] | None = None) -> Annotator:
    """The annotator of that name. Raises ConfigError for an unknown kind or knob (naming the nearest) or value."""
    part, given = ANNOTATORS[kind], {**PRESETS.get(kind, {}), **(settings or {})}
    known = list(knobs(part))
    for name in given:
        if name not in known:
            raise ConfigError(f"{kind} has no knob {name!r}; {nearest(name, known)}")
    return part(**given)


def draw_knobs(kind: str, generator: torch.Generator) -> Annotator:
    """The annotator of that kind with random usual settings: augmentation. The same seed draws the same."""
    drawn = {name: setting.draw(generator) for name, setting in knobs(ANNOTATORS[kind]).items()}
    return build(kind, drawn | dict(PRESETS.get(kind, {})))
