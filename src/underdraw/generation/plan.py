"""From what a person asks for to batches of drawings."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from underdraw.config import parse
from underdraw.errors import ConfigError, InputError
from underdraw.generation.controls import ControlRequest, extent, read_source
from underdraw.generation.recipe import LAST_SEED, Drawing, Guide, unpack_map
from underdraw.generation.sizes import check_size, fitting_size, native_size, nearest_size, unit
from underdraw.generation.studio import Studio, together

__all__ = ["MOST", "Batch", "Wish", "plan", "redrawn", "stranger"]

MOST = 10_000
"""Pictures at most in one run."""


@dataclass(frozen=True)
class Wish:
    """What a person asks for. None, or nothing, is what was not said.

    prompts: `count` pictures of each; size: (width, height) in pixels; settings: further fields of `Drawing` (negative,
    seed, steps, guidance, scheduler). Raises ConfigError for values that no base could draw.
    """

    prompts: tuple[str, ...] | None = None
    controls: tuple[ControlRequest, ...] | None = None
    size: tuple[int, int] | None = None
    count: int = 1
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST or self.count * len(self.prompts or "1") > MOST:
            raise ConfigError(f"count = {self.count} makes no sense; from 1 to {MOST:,} pictures are drawn in one run")
        anywhere = {"prompt": "", "width": 64, "height": 64, "base": "", "base_hash": ""}
        parse(Drawing, anywhere | self.settings, "the drawing")

    @property
    def nothing(self) -> bool:
        """Whether nothing at all was said."""
        return self == Wish()


@dataclass(frozen=True)
class Batch:
    """Pictures drawn together: `first` is the first of them, `kept` says which of them were asked for."""

    first: Drawing
    kept: tuple[int, ...]

    def drawings(self) -> Iterator[tuple[int, Drawing]]:
        """The place in the batch and the recipe of each picture that was asked for."""
        for place in self.kept:
            yield place, self.first.model_copy(update={"seed": self.first.seed + place, "index": place})


def plan(studio: Studio, wish: Wish, tell: Callable[[str], None] = lambda line: None) -> Iterator[Batch]:
    """The batches that a wish comes to; `tell` hears of a size that had to be rounded.

    Raises InputError or ConfigError for what makes no sense.
    """
    if not wish.controls and not any(prompt.strip() for prompt in wish.prompts or ()) and studio.backbone.text_encoders:
        raise InputError("there is neither a prompt nor a control; say what to draw, or give --control KIND=PATH")
    sources = [(request, read_source(request)) for request in wish.controls or ()]
    if wish.size:
        size = _rounded(studio, wish.size, tell)
    elif sources:
        size = fitting_size(studio.backbone, extent(*sources[0]))
    else:
        size = native_size(studio.backbone)
    guides = tuple(studio.guide(request, size, source) for request, source in sources)
    for prompt in wish.prompts or ("",):
        yield from _batches(_drawing(studio, prompt, size, guides, wish.settings), wish.count)


def redrawn(
    studio: Studio, old: Drawing, wish: Wish, name: str, tell: Callable[[str], None] = lambda line: None
) -> Iterator[Batch]:
    """What the recipe `old` of the file `name` comes to with a wish laid over it; the very same without one.

    `tell` and errors as in `plan`.
    """
    if wish.nothing:
        guides = tuple(guide.model_copy(update={"net_hash": studio.net_hash(guide.kind)}) for guide in old.controls)
        yield Batch(_moved(old, 0).model_copy(update=_here(studio) | {"controls": guides}), (old.index,))
        return
    size = _rounded(studio, wish.size or old.size, tell)
    if wish.controls is None:
        guides = tuple(_resized(studio, guide, size, name) for guide in old.controls)
    else:
        guides = tuple(studio.guide(request, size) for request in wish.controls)
    kept = old.model_dump(include={"negative", "seed", "steps", "guidance", "scheduler"})
    for prompt in wish.prompts or (old.prompt,):
        yield from _batches(_drawing(studio, prompt, size, guides, kept | wish.settings), wish.count)


def stranger(studio: Studio, old: Drawing) -> str | None:
    """Which weights of a recipe are not the ones here, in words; None where all are the same."""
    if studio.hash != old.base_hash:
        return f"base {old.base!r} with other weights (hash {old.base_hash}, here {studio.hash})"
    for guide in old.controls:
        if guide.net_hash != studio.net_hash(guide.kind):
            return f"a ControlNet for {guide.kind} with other weights (hash {guide.net_hash})"
    return None


def _rounded(studio: Studio, wanted: tuple[int, int], tell: Callable[[str], None]) -> tuple[int, int]:
    """The size asked for in multiples of the base's unit. Raises InputError for one that is too large."""
    size = nearest_size(studio.backbone, wanted)
    check_size(studio.backbone, size)
    if size != wanted:
        tell(f"size {wanted[0]}x{wanted[1]} becomes {size[0]}x{size[1]}: multiples of {unit(studio.backbone)}")
    return size


def _drawing(
    studio: Studio, prompt: str, size: tuple[int, int], guides: tuple[Guide, ...], settings: dict[str, Any]
) -> Drawing:
    told = {"prompt": prompt, "width": size[0], "height": size[1], "controls": guides}
    return parse(Drawing, {"seed": secrets.randbelow(2**31)} | _here(studio) | told | settings, "the drawing")


def _here(studio: Studio) -> dict[str, str]:
    """What of a recipe the opened base decides."""
    dtype = str(studio.backbone.dtype).removeprefix("torch.")
    return {"base": studio.name, "base_hash": studio.hash, "device": studio.backbone.device.type, "dtype": dtype}


def _batches(drawing: Drawing, count: int) -> Iterator[Batch]:
    """`count` pictures with consecutive seeds, as many at once as is good."""
    if drawing.seed + count > LAST_SEED:
        raise ConfigError(
            f"seed = {drawing.seed} leaves no room for {count} pictures; give one below {LAST_SEED - count}"
        )
    at_once = together(drawing.size, count)
    for done in range(0, count, at_once):
        many = min(at_once, count - done)
        yield Batch(drawing.model_copy(update={"seed": drawing.seed + done, "batch": many}), tuple(range(many)))


def _moved(drawing: Drawing, index: int) -> Drawing:
    """The recipe of another picture of the same batch."""
    return drawing.model_copy(update={"seed": drawing.seed - drawing.index + index, "index": index})


def _resized(studio: Studio, guide: Guide, size: tuple[int, int], name: str) -> Guide:
    request = ControlRequest(guide.kind, guide.source, guide.weight, guide.start, guide.end, is_map=True)
    return studio.guide(request, size, unpack_map(guide, name)).model_copy(update={"is_map": guide.is_map})
