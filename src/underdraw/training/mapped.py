"""Learning to draw under condition maps: what ControlNets, and the baseline that does without one, have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from underdraw.data.batches import PictureSet
from underdraw.model import Backbone, Control, Text
from underdraw.training.consistency import Consistency
from underdraw.training.hints import Hints
from underdraw.training.latents import LatentSet
from underdraw.training.objective import denoising_loss, draw_batch, mask_of, predicted
from underdraw.training.pictures import WHOLE, Pictures, Share, samples
from underdraw.training.recipe import MapRun, Recipe

__all__ = ["MapTask", "Steering"]

LEVELS = (0.3, 0.5, 0.7, 0.9)
"""Shares of the noise schedule at which errors are compared: where structure is decided."""
C = TypeVar("C", bound=MapRun)


@dataclass(frozen=True, eq=False)
class Steering:
    """How maps reach a base: through controls, or B×C×h×w beside its latents (None: it has no input for that)."""

    controls: tuple[Control, ...] = ()
    beside: Tensor | None = None


class MapTask(ABC, Generic[C]):
    """Predict noise under a condition map. A subclass says what learns, and how the map is seen."""

    consistency: Consistency | None = None

    def __init__(self, recipe: Recipe, config: C, pictures: Pictures, watched: PictureSet) -> None:
        self.recipe, self.config = recipe, config
        self.hints = Hints(config)
        self.pictures, self.watched = self.hints.able(pictures), self.hints.able(watched)
        self.backbone = Backbone.load(config.base, recipe.device)
        torch.manual_seed(recipe.seed)
        self.module = self.learner()
        self.latents = LatentSet.encode(self.backbone, self.pictures, Path(recipe.output).parent / "cache")

    @abstractmethod
    def learner(self) -> nn.Module:
        """What learns, with all that it learns on made ready."""

    @abstractmethod
    def steering(self, maps: Tensor | None) -> Steering:
        """What maps B×C×H×W do to the base; None: how it draws without a map."""

    def predicted(self, noisy: Tensor, timestep: Tensor, text: Text, maps: Tensor | None) -> Tensor:
        """The prediction B×C×h×w under maps, or without."""
        steering = self.steering(maps)
        if steering.beside is not None:
            noisy = torch.cat([noisy, steering.beside.to(noisy).expand(len(noisy), -1, -1, -1)], 1)
        return predicted(self.backbone, noisy, timestep, text, steering.controls)

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """`denoise`: the weighted error of the prediction under the map; `consistency`, where that is asked for."""
        seen = samples(self.pictures, self.recipe.seed, step, self.recipe.batch, share)
        indices, draws, device = seen.indices, seen.draws, self.recipe.device
        mask = mask_of(self.pictures, indices, self.config, self.latents.shape(indices))
        drawn = draw_batch(self.latents, indices, draws, self.backbone.process, self.config, device, mask)
        maps = self.hints(self.pictures, indices, draws).to(device)
        prediction = self.predicted(drawn.noisy, drawn.timestep, drawn.text, maps)
        losses = {"denoise": denoising_loss(prediction, drawn, self.backbone.process, self.config)}
        if self.consistency:
            losses["consistency"] = self.consistency(prediction, drawn, maps, draws)
        return losses

    @torch.no_grad()
    def gaps(self, chosen: Tensor) -> dict[str, list[float]]:
        """Minus the denoising error of watched pictures under the right map, none, and the next one's (`Look`).

        The same noise for all three, at timesteps spread over the whole way.
        """
        process, shape = self.backbone.process, self.watched.pixels.shape
        clean = self.backbone.encode_picture(self.watched.pictures(chosen).to(self.backbone.device)).mean
        text = self.backbone.encode_text([self.watched.texts[int(row)][0] for row in chosen])
        maps = self.hints(self.watched, chosen).to(self.backbone.device)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(shape[0])).to(clean)
        errors: dict[str, Tensor] = {}
        for name, shown in (("right", maps), ("none", None), ("shuffled", maps.roll(1, 0))):
            errors[name] = torch.zeros(len(chosen))
            for share in LEVELS:
                level = torch.full((len(chosen),), int(share * len(process)), device=clean.device)
                prediction = self.predicted(process.add_noise(clean, noise, level), level, text, shown)
                error = (prediction.float() - process.target(clean, noise, level)).square().mean((1, 2, 3))
                errors[name] -= error.cpu() / len(LEVELS)
        return {name: values.tolist() for name, values in errors.items()}

    @abstractmethod
    def sheet(self) -> Tensor:
        """A picture 3×H×W in [0, 1] of what has been learnt so far."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write what was learnt."""
