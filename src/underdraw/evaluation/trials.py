"""Drawing what is to be judged: every item with its map, without it, and with somebody else's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from underdraw.config import Config
from underdraw.data.folder import Record, read_folder
from underdraw.errors import InputError
from underdraw.evaluation.judges import Judge
from underdraw.generation import Studio, draw, finish
from underdraw.model import Backbone

__all__ = ["Easel", "Found", "Item", "Protocol", "Tell", "Trial", "choose", "derange", "gather", "rebuild"]

Tell = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and of how much."""
Found = Sequence[tuple[str, Record]]
"""Pictures with the name of the folder that each came from, folder by folder."""


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
    """What was drawn for one kind, an item a row: N×3×H×W in [0, 1] each, maps N×C×H×W.

    wanted: what the judge reads in a picture that shows its map perfectly. free: same prompt and seed without control
    (the floor); bound: under the map; rebuilt: the true picture through the VAE (the ceiling); crossed: under the map
    of item `order[row]`, the prompt its own.
    """

    kind: str
    items: Sequence[Item]
    maps: Tensor
    wanted: Tensor
    order: Tensor
    truth: Tensor
    free: Tensor
    bound: Tensor
    crossed: Tensor
    rebuilt: Tensor


def gather(folders: Sequence[Path], split: str) -> Found:
    """All pictures of a split in image folders. Raises InputError where there are none, or of several sizes."""
    found = [(folder.name, record) for folder in folders for record in read_folder(folder, split)]
    if not found:
        raise InputError(f"no picture of split {split!r} in {', '.join(map(str, folders))}")
    if len({record.image.shape for _, record in found}) > 1:
        raise InputError("the pictures are of several sizes; make them one size")
    return found


def choose(found: Found, protocol: Protocol, judge: Judge | None = None) -> list[Item]:
    """Items from what was gathered, as many from each folder, evenly spaced; for a judge, those with such a map.

    Raises InputError where there are none.
    """
    usable = [(world, record) for world, record in found if judge is None or judge.usable(record)]
    if not usable:
        what = judge.kind if judge else ""
        raise InputError(f"no picture of split {protocol.split!r} has a {what} map")
    worlds = list(dict.fromkeys(world for world, _ in usable))
    shares = [protocol.items // len(worlds) + (place < protocol.items % len(worlds)) for place in range(len(worlds))]
    chosen = [
        (world, record)
        for world, share in zip(worlds, shares, strict=True)
        for record in _spaced([record for name, record in usable if name == world], share)
    ]
    return [Item(record, world, protocol.seed + place) for place, (world, record) in enumerate(chosen)]


def _spaced(records: Sequence[Record], count: int) -> list[Record]:
    count = min(count, len(records))
    return [records[place * len(records) // count] for place in range(count)]


class Easel:
    """Where pictures are drawn: a base and its nets, under one protocol. What is drawn without a map is drawn once."""

    def __init__(self, studio: Studio, protocol: Protocol, tell: Tell = lambda what, done, count: None) -> None:
        self.studio, self.protocol, self.tell = studio, protocol, tell
        self._free: dict[tuple[tuple[str, str, int], ...], Tensor] = {}

    def trial(self, judge: Judge, items: Sequence[Item]) -> Trial:
        """Draw all that is to be judged for one kind of control."""
        shown = [judge.shown(item.record) for item in items]
        wanted = [judge.wanted(item.record, each) for item, each in zip(items, shown, strict=True)]
        maps, order = torch.cat(shown), derange(items, self.protocol.seed)
        truth = torch.stack([item.record.image for item in items])
        return Trial(
            judge.kind,
            items,
            maps,
            torch.cat(wanted),
            order,
            truth,
            free=self.free(items),
            bound=self.under(items, judge.kind, maps, "under the map"),
            crossed=self.under(items, judge.kind, maps[order], "under another's map"),
            rebuilt=rebuild(self.studio.backbone, truth),
        )

    def free(self, items: Sequence[Item]) -> Tensor:
        """N×3×H×W: every item by its own prompt and seed alone."""
        key = tuple(item.key for item in items)
        if key not in self._free:
            self._free[key] = self._draw(items, "", None, "without control")
        return self._free[key]

    def under(self, items: Sequence[Item], kind: str, maps: Tensor, what: str = "drawn") -> Tensor:
        """N×3×H×W: every item by its own prompt and seed, under maps N×C×H×W of a kind."""
        return self._draw(items, kind, maps, f"{kind}: {what}")

    def _draw(self, items: Sequence[Item], kind: str, maps: Tensor | None, what: str) -> Tensor:
        size = (items[0].record.image.shape[-1], items[0].record.image.shape[-2])
        backbone, protocol, pictures = self.studio.backbone, self.protocol, []
        for rows in torch.arange(len(items)).split(protocol.batch):
            controls = []
            if maps is not None:
                net = self.studio.nets.open(kind)
                controls = [net.control(maps[rows].to(backbone.device, backbone.dtype), side=net.about.side)]
            frames = draw(
                backbone,
                [items[row].record.text for row in rows],
                [items[row].seed for row in rows],
                size,
                controls=controls,
                guidance=protocol.guidance,
                steps=protocol.steps,
                scheduler=protocol.scheduler,
            )
            pictures.append(finish(backbone, frames))
            self.tell(what, int(rows[-1]) + 1, len(items))
        return torch.cat(pictures)


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
