"""Learning a reader: the judge that says which map a drawn picture obeys."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from underdraw.annotators import as_hint
from underdraw.annotators.readers import Reader, Shape, save_reader
from underdraw.data.batches import PictureSet
from underdraw.errors import ConfigError
from underdraw.training.pictures import WHOLE, Share, samples, spread, subset
from underdraw.training.precision import channels_last
from underdraw.training.recipe import ReaderRun, Recipe
from underdraw.training.sheets import mosaic
from underdraw.training.vae import gradients

__all__ = ["ReaderTask"]

REPORT = "report"
"""The split that is for the report alone."""


class ReaderTask:
    """Read a map from a picture: L1 of its values and of their differences.

    Pictures are dimmed, softened and grained at random, for drawn ones are never quite as clean as rendered ones.
    Raises ConfigError for a recipe that would let the judge see what it is to judge, or read no such map.
    """

    def __init__(self, recipe: Recipe, config: ReaderRun, pictures: PictureSet, watched: PictureSet) -> None:
        _refuse_report(recipe)
        if config.kind not in recipe.data.maps:
            raise ConfigError(f"data.maps lacks {config.kind!r}, which the reader is to learn; add it")
        self.recipe, self.config = recipe, config
        self.pictures, self.watched = _having(pictures, config.kind), _having(watched, config.kind)
        torch.manual_seed(recipe.seed)
        shape = Shape(config.kind, channels=tuple(config.channels), learned_from=recipe.data.split)
        self.reader = Reader(shape).to(recipe.device)
        self.module: nn.Module = channels_last(self.reader)

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """`map`: L1 of the values; `edges`: L1 of the horizontal and vertical differences."""
        seen = samples(self.pictures, self.recipe.seed, step, self.recipe.batch, share)
        indices, draws = seen.indices, seen.draws
        shown, wanted = _mirrored(self.pictures.pictures(indices), self._maps(self.pictures, indices), draws)
        shown = _worn(shown, draws).contiguous(memory_format=torch.channels_last).to(self.recipe.device)
        read, wanted = self.reader(shown).float(), wanted.to(self.recipe.device)
        return {
            "map": (read - wanted).abs().mean(),
            "edges": self.config.edge_weight * (gradients(read) - gradients(wanted)).abs().mean(),
        }

    def _maps(self, pictures: PictureSet, indices: Tensor) -> Tensor:
        """B×1×H×W."""
        return pictures.map(self.config.kind, indices)[:, :1]

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Twelve watched pictures, their maps, and what is read."""
        chosen = spread(len(self.watched))
        shown = self.watched.pictures(chosen)
        rows = [shown, as_hint(self._maps(self.watched, chosen)), as_hint(self._read(shown))]
        return mosaic(torch.cat(rows), columns=len(chosen))

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Root mean square error of what is read, over the watched pictures."""
        chosen = torch.arange(min(256, len(self.watched)))
        read = self._read(self.watched.pictures(chosen))
        return {"rmse": float((read - self._maps(self.watched, chosen)).square().mean((1, 2, 3)).sqrt().mean())}

    def _read(self, shown: Tensor) -> Tensor:
        read: Tensor = self.reader(shown.to(self.recipe.device)).cpu()
        return read

    def export(self, folder: Path) -> None:
        """Write `<kind>.safetensors`."""
        save_reader(self.reader, folder / f"{self.config.kind}.safetensors")


def _refuse_report(recipe: Recipe) -> None:
    if REPORT in (recipe.data.split, recipe.data.watch_split):
        raise ConfigError(f"a judge must not see the {REPORT} split before the report; train it on another")


def _having(pictures: PictureSet, kind: str) -> PictureSet:
    """The pictures that have a map of that kind."""
    rows = pictures.has[kind].nonzero().flatten()
    return pictures if len(rows) == len(pictures) else subset(pictures, rows)


def _mirrored(pictures: Tensor, maps: Tensor, draws: list[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Half of the pictures mirrored, their maps with them."""
    flip = torch.stack([torch.rand((), generator=draw) < 0.5 for draw in draws])[:, None, None, None]
    return torch.where(flip, pictures.flip(-1), pictures), torch.where(flip, maps.flip(-1), maps)


def _worn(pictures: Tensor, draws: list[torch.Generator]) -> Tensor:
    """Each picture up to 15 % dimmer or brighter, up to 70 % blurred, with noise of up to 0.03."""
    light, blur, noise = torch.stack([torch.rand(3, generator=draw) for draw in draws])[..., None, None, None].unbind(1)
    soft = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    grain = torch.stack([torch.randn(pictures.shape[1:], generator=draw) for draw in draws])
    mixed = torch.lerp(pictures, soft, 0.7 * blur) * (0.85 + 0.3 * light) + 0.03 * noise * grain
    return mixed.clamp(0, 1)
