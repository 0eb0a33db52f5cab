"""What a person asks for, before a base has been asked what of it can be drawn."""

from dataclasses import dataclass, field, replace
from typing import Any

from underdraw.config import parse
from underdraw.errors import ConfigError
from underdraw.generation.controls import ControlRequest
from underdraw.generation.loras import LoraRequest
from underdraw.generation.presets import DRAWING_PRESETS, PRESETS
from underdraw.generation.recipe import Drawing
from underdraw.generation.sources import PictureRequest
from underdraw.registry import nearest

__all__ = ["MOST", "Wish"]

MOST = 10_000
"""Pictures at most in one run."""


@dataclass(frozen=True, eq=False)
class Wish:
    """What a person asks for. None, or nothing, is what was not said.

    prompts: `count` pictures of each; size: (width, height) in pixels of the first pass; picture: one that is there
    already; preset: a few-step preset, or how controls are heard that do not say it themselves; settings: further
    fields of `Drawing` (negative, seed, steps, guidance, scheduler, variation, hires, tiling, …); loras: beside those
    in the prompts.
    Raises ConfigError for values that no base could draw.
    """

    prompts: tuple[str, ...] | None = None
    controls: tuple[ControlRequest, ...] | None = None
    size: tuple[int, int] | None = None
    count: int = 1
    picture: PictureRequest | None = None
    preset: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    loras: tuple[LoraRequest, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST or self.count * len(self.prompts or "1") > MOST:
            raise ConfigError(f"count = {self.count} makes no sense; from 1 to {MOST:,} pictures are drawn in one run")
        if self.preset is not None and self.preset not in DRAWING_PRESETS and self.preset not in PRESETS:
            known = nearest(self.preset, [*DRAWING_PRESETS.names(), *PRESETS.names()])
            raise ConfigError(f"unknown preset {self.preset!r}; {known}")
        anywhere = {"prompt": "", "width": 64, "height": 64, "base": "", "base_hash": ""}
        parse(Drawing, anywhere | self.settings, "the drawing")

    @property
    def nothing(self) -> bool:
        """Whether nothing at all was said."""
        said = (self.prompts, self.controls, self.size, self.picture, self.preset, self.loras)
        return all(part is None for part in said) and self.count == 1 and not self.settings

    @property
    def laid(self) -> dict[str, Any]:
        """The settings, laid over those of a few-step preset."""
        few = self.preset is not None and self.preset in DRAWING_PRESETS
        return {**(DRAWING_PRESETS[str(self.preset)] if few else {}), **self.settings}

    @property
    def heard(self) -> tuple[ControlRequest, ...]:
        """The controls, heard as the preset says where they do not say it themselves."""
        if self.preset is None or self.preset in DRAWING_PRESETS:
            return self.controls or ()
        return tuple(replace(one, preset=self.preset) if one.plain else one for one in self.controls or ())
