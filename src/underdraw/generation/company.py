"""Drawings that are made together: what they have in common, and what each has for itself.

A batch is a list of recipes that are drawn in one way. Each has its own prompts, seed, maps, weights, masks and
picture; a control that only some of them have is silent in the others.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS
from underdraw.generation.blend import blend
from underdraw.generation.cutout import Cutout
from underdraw.generation.provenance import unpack, unpack_map
from underdraw.generation.recipe import Drawing, Given, Guide
from underdraw.generation.sources import fitted, stacked

__all__ = [
    "AT_ONCE",
    "Batch",
    "Voice",
    "assemble",
    "given_tensors",
    "ground",
    "laid_back",
    "stamped",
    "together",
    "voices",
]

PIXELS_AT_ONCE = 512 * 512
AT_ONCE = 16
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Drawings made together; `kept` says which of them were asked for."""

    drawings: tuple[Drawing, ...]
    kept: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Frames that are drawn, as far as can be known beforehand."""
        first = self.drawings[0]
        one = first.steps if first.given is None else max(1, int(first.steps * first.given.strength))
        return one if first.hires is None else one + int((first.hires.steps or first.steps) * first.hires.strength)

    def halves(self) -> list["Batch"]:
        """What was asked for, in two batches: for when the memory does not hold one."""
        wanted = [self.drawings[place] for place in self.kept]
        middle = max(1, len(wanted) // 2)
        parts = (stamped(part) for part in (wanted[:middle], wanted[middle:]) if part)
        return [Batch(part, tuple(range(len(part)))) for part in parts]


def together(size: tuple[int, int], count: int) -> int:
    """How many of `count` pictures are drawn at once: as many small ones as make up one of 512×512, at most 16."""
    return max(1, min(count, AT_ONCE, PIXELS_AT_ONCE // (size[0] * size[1])))


def assemble(drawings: Iterable[Drawing]) -> Iterator[Batch]:
    """Batches of neighbours that are drawn in one way, as many at once as is good."""
    for _, alike in groupby(drawings, key=lambda drawing: drawing.way):
        waiting = list(alike)
        at_once = together(_window(waiting[0]), len(waiting))
        for done in range(0, len(waiting), at_once):
            part = stamped(waiting[done : done + at_once])
            yield Batch(part, tuple(range(len(part))))


def _window(drawing: Drawing) -> tuple[int, int]:
    return drawing.size if drawing.tiling is None else (drawing.tiling.width, drawing.tiling.height)


def stamped(drawings: Sequence[Drawing]) -> tuple[Drawing, ...]:
    """The drawings with their place in the batch, where they differ by nothing but consecutive seeds.

    Others are recorded as alone: what their company changes are the last bits, and it would not fit into a recipe.
    """
    first = drawings[0].seed
    plain = [drawing.model_copy(update={"index": 0, "batch": 1}) for drawing in drawings]
    twins = [plain[0].model_copy(update={"seed": first + place}) for place in range(len(plain))]
    if plain != twins:
        return tuple(plain)
    places = ({"index": place, "batch": len(plain)} for place in range(len(plain)))
    return tuple(drawing.model_copy(update=place) for drawing, place in zip(plain, places, strict=True))


@dataclass(frozen=True, eq=False)
class Voice:
    """One control of a batch: what the guides of its drawings have in common, and what each has for itself.

    like: any of them; condition: 1|B×C×H×W; weight: one, or B (0 where a drawing does not have it); mask: 1|B×1×H×W.
    """

    like: Guide
    condition: Tensor
    weight: float | Tensor
    mask: Tensor | None


def voices(companions: Sequence[Sequence[Guide]], size: tuple[int, int], name: str = "the recipe") -> list[Voice]:
    """The controls of a batch from the guides of each of its drawings, their maps at `size` = (width, height).

    Guides of one kind that are heard in the same way are one voice. `name` says in errors where the maps came from.
    """
    rows: dict[tuple[object, ...], list[Guide | None]] = {}
    for place, guides in enumerate(companions):
        seen: dict[tuple[object, ...], int] = {}
        for guide in guides:
            way = (
                guide.kind,
                guide.net_hash,
                guide.start,
                guide.end,
                guide.curve,
                guide.side,
                guide.times,
                guide.scale,
            )
            seen[way] = seen.get(way, 0) + 1
            rows.setdefault((*way, seen[way]), [None] * len(companions))[place] = guide
    return [_voice(row, size, name) for row in rows.values()]


def _voice(row: Sequence[Guide | None], size: tuple[int, int], name: str) -> Voice:
    like = next(guide for guide in row if guide is not None)
    how = ANNOTATORS[like.kind].meaning.reduction
    weights = [0.0 if guide is None else guide.weight for guide in row]
    packed = [like if guide is None else guide for guide in row]
    maps = _shared([guide.map for guide in packed], lambda place: fitted(unpack_map(packed[place], name), size, how))
    masks = _shared([guide.mask for guide in packed], lambda place: _mask(packed[place].mask, size, name))
    return Voice(
        like,
        _same_channels(maps),
        weights[0] if len(set(weights)) == 1 else torch.tensor(weights),
        None if not any(guide.mask for guide in packed) else stacked(masks),
    )


def _shared(keys: Sequence[str], make: Callable[[int], T]) -> list[T]:
    """What `make` makes of each place; once for all that have the same key, and only one where all have."""
    known = {key: make(keys.index(key)) for key in dict.fromkeys(keys)}
    return [known[keys[0]]] if len(known) == 1 else [known[key] for key in keys]


def _same_channels(maps: Sequence[Tensor]) -> Tensor:
    """One batch; grey maps are shown in as many channels as coloured ones beside them."""
    most = max(each.shape[1] for each in maps)
    return torch.cat([each.expand(-1, most, -1, -1) for each in maps])


def _mask(packed: str, size: tuple[int, int], name: str) -> Tensor:
    if not packed:
        return torch.ones(1, 1, size[1], size[0])
    return fitted(unpack(packed, f"the mask of a control in {name}", "give it again: mask=FILE")[:, :1], size)


def ground(given: Given, name: str) -> tuple[Tensor, Tensor | None, Cutout | None]:
    """The picture 1×3×H×W that was there, its mask 1×1×H×W, and the part that is drawn where that is not all of it."""
    remedy = "give it again: --image FILE"
    picture = unpack(given.picture, f"the picture in {name}", remedy).expand(-1, 3, -1, -1)
    mask = unpack(given.mask, f"the mask in {name}", remedy)[:, :1] if given.mask else None
    return picture, mask, given.cutout((picture.shape[-1], picture.shape[-2]))


def given_tensors(
    givens: Sequence[Given | None], size: tuple[int, int], name: str = "the recipe"
) -> tuple[Tensor | None, Tensor | None]:
    """Pictures 1|B×3×H×W and masks 1|B×1×H×W (or None) that a batch starts from, at `size` = (width, height).

    Where only a part of a picture is drawn, they are of that part.
    """
    seen = [ground(each, name) for each in givens if each is not None]
    if not seen:
        return None, None
    pictures = [fitted(picture, size, part=part) for picture, _, part in seen]
    masks = [fitted(mask, size, part=part) for _, mask, part in seen if mask is not None]
    return stacked(pictures), stacked(masks) if masks else None


def laid_back(drawn: Tensor, givens: Sequence[Given | None], name: str = "the recipe") -> list[Tensor]:
    """Drawn pictures B×3×h×w as 3×H×W each: what the mask of the picture that was there does not hold is as it was."""
    return [
        one if given is None or not given.mask else _laid_back(one[None], given, name)[0]
        for one, given in zip(drawn, givens, strict=True)
    ]


def _laid_back(drawn: Tensor, given: Given, name: str) -> Tensor:
    picture, mask, part = ground(given, name)
    assert mask is not None, "what is laid back has a mask"
    if part is None:
        size = (drawn.shape[-1], drawn.shape[-2])
        return blend(drawn, fitted(picture, size), fitted(mask, size), given.softness)
    return blend(part.laid(drawn, picture), picture, mask, given.softness)
