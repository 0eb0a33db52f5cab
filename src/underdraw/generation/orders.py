"""Drawings as files: a TOML table that says what to draw, with which base, nets and LoRAs, and under which pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from underdraw.config import Config, load
from underdraw.errors import CheckpointError, ConfigError
from underdraw.formats.places import locate_base, locate_control, locate_lora, locate_vae
from underdraw.generation.controls import ControlRequest
from underdraw.generation.loras import LoraRequest
from underdraw.generation.wish import Wish

__all__ = ["Order", "OrderedControl", "read_order"]


class OrderedControl(Config):
    """A `[control.<kind>]` table: the picture that steers, or with `map` the condition map, and how it is heard.

    All but `picture` and `map` is as in `ControlRequest`.
    """

    picture: str
    map: bool = False
    net: str = ""
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mask: str | None = None
    preset: str = "balanced"
    curve: str | tuple[float, ...] | None = None
    side: str | float | None = None
    times: tuple[float, ...] = ()
    scale: float = 1.0


class Order(Config):
    """One file. Pictures are looked for beside the file first, and then where you are.

    size: (width, height) in pixels; without it what fits the first control. count: pictures, of consecutive seeds.
    loras: "NAME:WEIGHT". settings: further fields of a drawing (hires, tiling, variation, rescale, …).
    """

    prompt: str = ""
    negative: str = ""
    base: str = "embedded"
    vae: str | None = None
    dtype: str = "float32"
    control: dict[str, OrderedControl] = Field(default_factory=dict)
    loras: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    count: int = 1
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    preset: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    def locate(self) -> None:
        """Find all that it names. Raises CheckpointError saying of all that is missing which file to put where."""
        nets = [control.net for control in self.control.values() if control.net]
        loras = [LoraRequest.parse(text).name for text in self.loras]
        wanted: list[tuple[Callable[[str], Path], list[str]]] = [
            (locate_base, [self.base]),
            (locate_vae, [self.vae] if self.vae else []),
            (locate_control, nets),
            (locate_lora, loras),
        ]
        missing = []
        for find, names in wanted:
            for name in names:
                try:
                    find(name)
                except (CheckpointError, ConfigError) as error:
                    missing.append(str(error))
        if missing:
            raise CheckpointError("; and ".join(missing))

    def wish(self, folder: Path) -> Wish:
        """What it asks for; `folder` is the file's own. Raises as `Wish` and `ControlRequest`."""
        plain = {"seed": self.seed, "steps": self.steps, "guidance": self.guidance, "scheduler": self.scheduler}
        said = {name: value for name, value in plain.items() if value is not None} | {"negative": self.negative}
        return Wish(
            prompts=(self.prompt,),
            controls=tuple(_request(kind, each, folder) for kind, each in self.control.items()),
            size=self.size,
            count=self.count,
            preset=self.preset,
            settings=said | self.settings,
            loras=tuple(map(LoraRequest.parse, self.loras)),
        )


def read_order(path: str | Path, overrides: Sequence[str] = ()) -> Order:
    """The order in a TOML file with `key.sub=value` overrides laid over it. Raises ConfigError naming file and key."""
    return load(Order, path, overrides)


def _request(kind: str, control: OrderedControl, folder: Path) -> ControlRequest:
    told = control.model_dump(exclude={"picture", "map", "mask"})
    mask = None if control.mask is None else _found(control.mask, folder)
    if not control.picture:
        raise ConfigError(f"control.{kind}.picture is empty; name a file")
    return ControlRequest(kind, _found(control.picture, folder), is_map=control.map, mask=mask, **told)


def _found(name: str, folder: Path) -> str:
    beside = folder / name
    return str(beside) if beside.exists() else name
