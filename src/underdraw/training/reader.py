"""Learning a reader: what says which maps a drawn picture obeys."""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional

from underdraw.annotators import ANNOTATORS, as_hint
from underdraw.annotators.heads import heatmaps
from underdraw.annotators.keypoints import BODY
from underdraw.annotators.measures import measures
from underdraw.annotators.readers import Reader, Shape, save_reader
from underdraw.data.batches import PictureSet
from underdraw.data.known import bodies
from underdraw.data.mirrors import MIRRORED
from underdraw.errors import ConfigError, InputError
from underdraw.training.pictures import WHOLE, Share, samples, spread, subset
from underdraw.training.precision import channels_last
from underdraw.training.recipe import ReaderRun, Recipe
from underdraw.training.sheets import mosaic

__all__ = ["ReaderTask"]

REPORT = "report"
"""The split that is for the report alone."""
POSE, LABELS, NORMAL = "pose", "segmentation", "normal"
WEIGHTS = {"depth": 4.0, NORMAL: 4.0}
"""Of losses of fields, which are small beside the cross-entropies of labels and points."""
TESTED = 512
"""Watched pictures on which a reader's own error is measured."""


class ReaderTask:
    """Read maps from a picture; a loss a kind (`annotators.heads`).

    Pictures are mirrored, dimmed, softened and grained at random, for drawn ones are never quite as clean as rendered
    ones. Raises ConfigError for a recipe that would let the judge see what it is to judge, or that lacks maps.
    """

    def __init__(self, recipe: Recipe, config: ReaderRun, pictures: PictureSet, watched: PictureSet) -> None:
        _refuse_report(recipe)
        self.recipe, self.config = recipe, config
        self.maps: list[str] = [kind for kind in config.reads if kind != POSE]
        if lacking := [kind for kind in self.maps if kind not in recipe.data.maps]:
            raise ConfigError(f"data.maps lacks {lacking[0]!r}, which the reader is to learn; add it")
        self.pictures, self.watched = (_Known.of(each, self.maps) for each in (pictures, watched))
        torch.manual_seed(recipe.seed)
        shape = Shape(
            tuple(config.reads),
            config.kind,
            tuple(config.channels),
            _colours(self.pictures.set) if LABELS in self.maps else (),
            recipe.data.split,
        )
        self.reader = Reader(shape).to(recipe.device)
        self.module: nn.Module = channels_last(self.reader)

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """By kind of map."""
        known = self.pictures
        seen = samples(known.set, self.recipe.seed, step, self.recipe.batch, share)
        flip = torch.stack([torch.rand((), generator=draw) < 0.5 for draw in seen.draws])
        shown = _flipped(known.set.pictures(seen.indices), flip)
        shown = _worn(shown, seen.draws).contiguous(memory_format=torch.channels_last).to(self.recipe.device)
        read = self.reader(shown)
        losses = {}
        for kind, head in self.reader.meanings.items():
            wanted = known.wanted(kind, seen.indices, flip).to(self.recipe.device)
            target = wanted if kind == POSE else head.target(wanted)
            losses[kind] = WEIGHTS.get(kind, 1.0) * head.loss(read[kind].float(), target).mean()
        return losses

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Twelve watched pictures; of each kind their maps, and what is read."""
        chosen = spread(len(self.watched.set))
        shown = self.watched.set.pictures(chosen)
        rows = [shown]
        for kind in self.config.reads:
            wanted = self.watched.wanted(kind, chosen)
            rows += [_seen(wanted), _seen(self._read(shown, kind))]
        return mosaic(torch.cat(rows), columns=len(chosen))

    @torch.no_grad()
    def errors(self) -> dict[str, dict[str, float]]:
        """What it gets wrong on watched pictures: the mean of each measure, by kind."""
        chosen = torch.arange(min(TESTED, len(self.watched.set)))
        return {kind: self._errors(kind, chosen) for kind in self.config.reads}

    def _errors(self, kind: str, chosen: Tensor) -> dict[str, float]:
        if kind == POSE:
            chosen = chosen[(self.watched.people[chosen][..., 2] > 1).flatten(1).any(1)]
            wanted = self.watched.people[chosen]
        else:
            wanted = self.watched.wanted(kind, chosen)
        if not len(chosen):
            return {}
        read = self._read(self.watched.set.pictures(chosen), kind)
        return {name: round(fmean(score(read, wanted).tolist()), 4) for name, score in measures(kind).items()}

    def _read(self, shown: Tensor, kind: str) -> Tensor:
        parts = [self.reader.read(part.to(self.recipe.device), kind).cpu() for part in shown.split(64)]
        return torch.cat(parts)

    def export(self, folder: Path) -> None:
        """Write `reader.safetensors`, in which its own errors stand."""
        self.reader.shape = replace(self.reader.shape, errors=self.errors())
        save_reader(self.reader, folder / "reader.safetensors")


@dataclass(frozen=True)
class _Known:
    """Pictures whose maps are all known, and the people N×P×18×3 in them."""

    set: PictureSet
    people: Tensor

    @classmethod
    def of(cls, pictures: PictureSet, maps: list[str]) -> "_Known":
        rows = torch.ones(len(pictures), dtype=torch.bool)
        for kind in maps:
            rows &= pictures.has[kind]
        if not bool(rows.any()):
            raise InputError(f"no picture has all of {', '.join(maps)}; a reader learns from pictures with every map")
        known = pictures if bool(rows.all()) else subset(pictures, rows.nonzero().flatten())
        return cls(known, _people(known))

    def wanted(self, kind: str, indices: Tensor, flip: Tensor | None = None) -> Tensor:
        """B×C×H×W: the maps of a kind (of people: heatmaps), of the pictures of `flip` (B booleans) mirrored."""
        flip = torch.zeros(len(indices), dtype=torch.bool) if flip is None else flip
        if kind == POSE:
            height, width = self.set.pixels.shape[-2:]
            turned = self.people[indices][:, :, MIRRORED[len(BODY)]] * torch.tensor([-1.0, 1.0, 1.0])
            turned = turned + torch.tensor([width, 0.0, 0.0])
            return heatmaps(torch.where(flip[:, None, None, None], turned, self.people[indices]), (width, height))
        maps = _flipped(self.set.map(kind, indices), flip)[:, : ANNOTATORS[kind].meaning.channels]
        if kind == NORMAL:  # red is one side: it becomes the other
            maps[flip, 0] = 1 - maps[flip, 0]
        return maps


def _people(pictures: PictureSet) -> Tensor:
    found = [bodies(attributes) for attributes in pictures.attributes]
    most = max(map(len, found), default=0)
    return torch.stack([torch.cat([each, each.new_zeros(most - len(each), len(BODY), 3)]) for each in found])


def _colours(pictures: PictureSet) -> tuple[tuple[int, int, int], ...]:
    """Of the labels in their maps. Raises InputError for maps that are no labels."""
    known = torch.zeros(2**24, dtype=torch.bool)
    for part in pictures.maps[LABELS].split(1024):
        red, green, blue = part.int().unbind(1)
        known[(red << 16) + (green << 8) + blue] = True
    found = known.nonzero().flatten().tolist()
    if len(found) > 256:
        raise InputError(f"the segmentation maps show {len(found)} colours; of labels there are 256 at most")
    return tuple((colour >> 16, colour >> 8 & 255, colour & 255) for colour in found)


def _refuse_report(recipe: Recipe) -> None:
    if REPORT in (recipe.data.split, recipe.data.watch_split):
        raise ConfigError(f"a judge must not see the {REPORT} split before the report; train it on another")


def _seen(maps: Tensor) -> Tensor:
    """Maps as pictures B×3×H×W; all heatmaps in one."""
    return as_hint(maps if maps.shape[1] <= 3 else maps.amax(1, keepdim=True))


def _flipped(pictures: Tensor, flip: Tensor) -> Tensor:
    return torch.where(flip[:, None, None, None], pictures.flip(-1), pictures)


def _worn(pictures: Tensor, draws: list[torch.Generator]) -> Tensor:
    """Each picture up to 15 % dimmer or brighter, up to 70 % blurred, with noise of up to 0.03."""
    light, blur, noise = torch.stack([torch.rand(3, generator=draw) for draw in draws])[..., None, None, None].unbind(1)
    soft = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    grain = torch.stack([torch.randn(pictures.shape[1:], generator=draw) for draw in draws])
    mixed = torch.lerp(pictures, soft, 0.7 * blur) * (0.85 + 0.3 * light) + 0.03 * noise * grain
    return mixed.clamp(0, 1)
