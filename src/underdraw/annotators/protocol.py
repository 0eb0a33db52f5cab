"""What an annotator is: a frozen value whose knobs are its fields and which says what its map means."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

import torch
from torch import Tensor

from underdraw.errors import ConfigError
from underdraw.registry import Registry, nearest

__all__ = ["ANNOTATORS", "Annotator", "Knob", "Meaning", "annotator", "build", "draw_knobs", "knob", "knobs"]


@dataclass(frozen=True)
class Meaning:
    """What the values of a map say.

    channels: how many it has. low, high: the range of its values. polarity: what bright means, in words.
    reduction: how it is made smaller ("max": thin lines survive, "area": fields average, "nearest": labels stay pure).
    binary: nothing lies between low and high.
    deterministic: the same picture and knobs give the same bytes. differentiable: gradients reach the picture.
    """

    channels: int
    polarity: str
    reduction: Literal["area", "max", "nearest"]
    low: float = 0.0
    high: float = 1.0
    binary: bool = False
    deterministic: bool = True
    differentiable: bool = False


@dataclass(frozen=True)
class Knob:
    """One setting: its default, the range it must lie in, the range that augmentation draws from, a line of help."""

    default: int | float | bool
    low: float
    high: float
    help: str
    usual: tuple[float, float] | None = None

    def check(self, kind: str, name: str, value: object) -> None:
        """Raises ConfigError naming the knob and its range."""
        if isinstance(self.default, bool):
            fits, wanted = isinstance(value, bool), "true or false"
        else:
            whole = isinstance(self.default, int)
            number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            fits = number and self.low <= value <= self.high  # type: ignore[operator]
            wanted = f"{'a whole number' if whole else 'a number'} from {self.low:g} to {self.high:g}"
        if not fits:
            raise ConfigError(f"{kind}: knob {name!r} must be {wanted} (got {value!r})")

    def draw(self, generator: torch.Generator) -> int | float | bool:
        """A random value from the usual range; the default where there is none."""
        if self.usual is None:
            return self.default
        low, high = self.usual
        share = float(torch.rand((), generator=generator, dtype=torch.float64))
        return low + int(share * (high - low + 1)) if isinstance(self.default, int) else low + share * (high - low)


def knob(
    default: Any, low: float = 0, high: float = 1, help: str = "", usual: tuple[float, float] | None = None
) -> Any:
    """A field of an annotator with its range and one line of help; `usual` is what augmentation draws from."""
    return field(default=default, metadata={"knob": Knob(default, low, high, help, usual)})


@dataclass(frozen=True)
class Annotator(ABC):
    """Pictures in, condition maps out. A value: the same knobs are the same annotator."""

    kind: ClassVar[str]
    meaning: ClassVar[Meaning]

    def __post_init__(self) -> None:
        for name, setting in knobs(type(self)).items():
            setting.check(self.kind, name, getattr(self, name))

    @abstractmethod
    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×C×H×W in the range of `meaning`."""

    def native(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) at which a picture for a drawing of `size` is looked at; the drawing's own by default."""
        return size

    @property
    def settings(self) -> dict[str, Any]:
        """The knobs' values by name."""
        return asdict(self)


A = TypeVar("A", bound=Annotator)
ANNOTATORS: Registry[type[Annotator]] = Registry("annotator")
"""All annotators by kind."""


@dataclass_transform(frozen_default=True)
def annotator(kind: str) -> Callable[[type[A]], type[A]]:
    """Make a class an annotator: freeze it, give it its name, file it under `ANNOTATORS`."""

    def file(part: type[A]) -> type[A]:
        frozen = dataclass(frozen=True)(part)
        frozen.kind = kind
        ANNOTATORS.register(kind)(frozen)
        return frozen

    return file


def knobs(part: type[Annotator]) -> dict[str, Knob]:
    """The knobs of an annotator by name, in the order in which they are declared."""
    return {entry.name: entry.metadata["knob"] for entry in fields(part)}


def build(kind: str, settings: Mapping[str, Any] | None = None) -> Annotator:
    """The annotator of that kind. Raises ConfigError for an unknown kind or knob (naming the nearest) or value."""
    part, given = ANNOTATORS[kind], dict(settings or {})
    known = list(knobs(part))
    for name in given:
        if name not in known:
            raise ConfigError(f"{kind} has no knob {name!r}; {nearest(name, known)}")
    return part(**given)


def draw_knobs(kind: str, generator: torch.Generator) -> Annotator:
    """The annotator of that kind with random usual settings: augmentation. The same seed draws the same."""
    return build(kind, {name: setting.draw(generator) for name, setting in knobs(ANNOTATORS[kind]).items()})
