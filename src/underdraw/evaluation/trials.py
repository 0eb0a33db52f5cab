"""Drawing what is to be judged: every item with its map, without it, and with somebody else's."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from underdraw.annotators import as_hint
from underdraw.config import Config
from underdraw.data.folder import Record, read_folder
from underdraw.errors import InputError
from underdraw.evaluation.judges import true_map
from underdraw.generation import Studio, draw, finish
from underdraw.model import Backbone, Control

__all__ = ["Item", "Protocol", "Tell", "Trial", "choose", "derange", "draw_items", "draw_trial", "rebuild"]

Tell = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and of how much."""


class Protocol(Config):
    """All that pins an evaluation beside the base and the pictures."""

    items: int = Field(200, ge=2)
    split: str = "report"
    seed: int = Field(0, ge=0)
    steps: int = Field(20, ge=1)
    scheduler: str = "dpm++ 2m"
    guidance: float = Field(4.0, ge=0)
    batch: int = Field(16, ge=1)


@dataclass(frozen=True, eq=False)
class Item:
    """One picture of the split with the name of the folder that it came from and the seed it is drawn with."""

    record: Record
    world: str
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from other items."""
        return self.world, self.record.name, self.seed

    @property
    def concept(self) -> str:
        """What must differ for two items to be about different things."""
        return str(self.record.attributes.get("concept", self.record.name))


@dataclass(frozen=True, eq=False)
class Trial:
    """What was drawn for one kind, an item a row: N×3×H×W in [0, 1] each, maps N×1×H×W.

    free: same prompt and seed without control (the floor); bound: under the map; rebuilt: the true picture through the
    VAE (the ceiling); crossed: under the map of item `order[row]`, the prompt its own.
    """

    kind: str
    items: Sequence[Item]
    maps: Tensor
    order: Tensor
    truth: Tensor
    free: Tensor
    bound: Tensor
    crossed: Tensor
    rebuilt: Tensor


def choose(folders: Sequence[Path], protocol: Protocol, kind: str | None = None) -> list[Item]:
    """Items from image folders, as many from each, evenly spaced over the split; for a kind, those that have its map.

    Depth is not seen in a picture; edges are. Raises InputError where there are none, or pictures of several sizes.
    """
    found = [(folder.name, _usable(folder, protocol.split, kind)) for folder in folders]
    found = [(world, records) for world, records in found if records]
    if not found:
        raise InputError(f"no picture of split {protocol.split!r}" + (f" has a {kind} map" if kind else ""))
    shares = [protocol.items // len(found) + (place < protocol.items % len(found)) for place in range(len(found))]
    chosen = [
        (world, record)
        for (world, records), share in zip(found, shares, strict=True)
        for record in _spaced(records, share)
    ]
    if len({record.image.shape for _, record in chosen}) > 1:
        raise InputError("the pictures are of several sizes; make them one size")
    return [Item(record, world, protocol.seed + place) for place, (world, record) in enumerate(chosen)]


def _usable(folder: Path, split: str, kind: str | None) -> list[Record]:
    return [record for record in read_folder(folder, split) if kind in (None, "canny") or kind in record.maps]


def _spaced(records: Sequence[Record], count: int) -> list[Record]:
    count = min(count, len(records))
    return [records[place * len(records) // count] for place in range(count)]


def draw_trial(studio: Studio, kind: str, items: Sequence[Item], protocol: Protocol, tell: Tell) -> Trial:
    """Draw all that is to be judged for one kind of control."""
    maps = torch.cat([true_map(kind, item.record) for item in items])
    order = derange(items, protocol.seed)
    truth = torch.stack([item.record.image for item in items])

    def drawn(what: str, shown: Tensor | None) -> Tensor:
        return draw_items(studio, items, protocol, kind, shown, lambda done: tell(f"{kind}: {what}", done, len(items)))

    return Trial(
        kind,
        items,
        maps,
        order,
        truth,
        free=drawn("without control", None),
        bound=drawn("under the map", maps),
        crossed=drawn("under another's map", maps[order]),
        rebuilt=rebuild(studio.backbone, truth),
    )


def draw_items(
    studio: Studio,
    items: Sequence[Item],
    protocol: Protocol,
    kind: str = "",
    maps: Tensor | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """N×3×H×W on the CPU: every item by its own prompt and seed, under maps N×1×H×W of a kind, or under none."""
    size = (items[0].record.image.shape[-1], items[0].record.image.shape[-2])
    backbone, pictures = studio.backbone, []
    for part in _parts(range(len(items)), protocol.batch):
        controls = []
        if maps is not None:
            hint = as_hint(maps[part]).to(backbone.device, backbone.dtype)
            controls = [Control(studio.net(kind), hint)]
        frames = draw(
            backbone,
            [items[place].record.text for place in part],
            [items[place].seed for place in part],
            size,
            controls=controls,
            guidance=protocol.guidance,
            steps=protocol.steps,
            scheduler=protocol.scheduler,
        )
        pictures.append(finish(backbone, frames))
        tell(part[-1] + 1)
    return torch.cat(pictures)


def _parts(places: Iterable[int], size: int) -> Iterable[list[int]]:
    waiting = iter(places)
    while part := list(islice(waiting, size)):
        yield part


@torch.no_grad()
def rebuild(backbone: Backbone, pictures: Tensor) -> Tensor:
    """N×3×H×W through the VAE and back."""
    parts = (part.to(backbone.device) for part in torch.split(pictures, 64))
    rebuilt = [backbone.decode_latents(backbone.encode_picture(part).mean).float().cpu() for part in parts]
    return torch.cat(rebuilt)


def derange(items: Sequence[Item], seed: int) -> Tensor:
    """Whose map each item gets instead of its own (N): of the same folder and about another thing; each is used once.

    Raises InputError where more than half of a folder's items are about one thing.
    """
    shuffled = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    order = torch.empty(len(items), dtype=torch.long)
    for world in sorted({item.world for item in items}):
        rows = [row for row in shuffled if items[row].world == world]
        rows.sort(key=lambda row: items[row].concept)
        half = len(rows) // 2
        given = rows[half:] + rows[:half]
        if any(items[row].concept == items[other].concept for row, other in zip(rows, given, strict=True)):
            raise InputError(f"too many of the {len(rows)} items of {world} are about one thing to shuffle their maps")
        order[rows] = torch.tensor(given)
    return order
