"""A base that learns from a few captioned pictures: one objective for LoRAs, unlocked U-Nets and new words."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from underdraw.data.batches import PictureSet
from underdraw.data.shards import ShardSet
from underdraw.errors import ConfigError
from underdraw.model import Backbone, Control, apply_policy
from underdraw.training.classes import class_pictures
from underdraw.training.denoiser import sketch
from underdraw.training.latents import LatentSet
from underdraw.training.objective import denoising_loss, draw_batch, mask_of, predicted
from underdraw.training.pictures import WHOLE, Either, Pictures, Share, samples, sizes, spread
from underdraw.training.precision import fit
from underdraw.training.recipe import Recipe, Tuning
from underdraw.training.sheets import mosaic
from underdraw.training.spoken import Sized, encode_spoken, sized

__all__ = ["TuningTask"]

C = TypeVar("C", bound=Tuning)


class TuningTask(ABC, Generic[C]):
    """Predict noise of captioned pictures, and of what the base itself draws of a class, where there is a `prior`.

    A subclass says what learns: `learner` makes it, when the base is ready and all that is kept has been encoded.
    """

    def __init__(self, recipe: Recipe, config: C, pictures: Pictures, watched: PictureSet) -> None:
        self.recipe, self.config = recipe, config
        self.pictures, self.watched = (_called(pictures, config.caption), _called(watched, config.caption))
        self.backbone = self.base(sized(Backbone.load(config.base, recipe.device), sizes(watched)[0]))
        for part in self.host():
            fit(part, recipe)
        cache = Path(recipe.output).parent / "cache"
        self.latents = self._encode(self.pictures, cache)
        self.prior: tuple[Pictures, LatentSet, float] | None = None
        if config.prior:
            drawn = class_pictures(self.backbone, config.prior, sizes(watched)[0], recipe.seed, cache)
            self.prior = (drawn, self._encode(drawn, cache), config.prior.weight)
        torch.manual_seed(recipe.seed)
        self.module: nn.Module = self.learner()

    def base(self, backbone: Sized) -> Sized:
        """The base, locked. Raises ConfigError for one that hears no text."""
        if backbone.vae is None or not backbone.text_encoders:
            raise ConfigError(
                f"base {self.config.base} has no VAE or no text encoder; use a Stable Diffusion 1.x, 2.x or XL"
            )
        apply_policy(backbone.unet, "locked")
        return backbone

    def host(self) -> Iterable[nn.Module]:
        """The networks that a step runs through."""
        return (self.backbone.unet,)

    @property
    def hears(self) -> bool:
        """Whether what learns changes how the base hears captions, which are then encoded at every step."""
        return False

    @abstractmethod
    def learner(self) -> nn.Module:
        """What learns."""

    def silenced(self) -> AbstractContextManager[object] | None:
        """Inside the block the base draws as it did before; None where that is not to be had."""
        return None

    def controls(
        self, pictures: Pictures, indices: Tensor, draws: Sequence[torch.Generator] | None
    ) -> tuple[Control, ...]:
        """Under which controls it learns."""
        return ()

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """`denoise`: the weighted error of the prediction; `prior`: that of the base's own pictures of the class."""
        losses = {"denoise": self._denoise(self.pictures, self.latents, step, share)}
        if self.prior:
            pictures, latents, weight = self.prior
            losses["prior"] = weight * self._denoise(pictures, latents, step, share, first=self.recipe.batch)
        return losses

    def _denoise(self, pictures: Pictures, latents: LatentSet, step: int, share: Share, first: int = 0) -> Tensor:
        """The loss of one batch, whose first sample is at the place `first` among all samples of the step."""
        seen = samples(pictures, self.recipe.seed, step, self.recipe.batch, share, first)
        indices, draws, shape = seen.indices, seen.draws, latents.shape(seen.indices)
        device, process = self.recipe.device, self.backbone.process
        mask = mask_of(pictures, indices, self.config, shape) if pictures is self.pictures else None
        drawn = draw_batch(latents, indices, draws, process, self.config, device, mask)
        factor, text = self.backbone.factor, drawn.text
        if text.pooled is not None:
            text = text.sized(factor * shape[-1], factor * shape[-2])
        controls = self.controls(pictures, indices, draws)
        prediction = predicted(self.backbone, drawn.noisy, drawn.timestep, text, controls)
        return denoising_loss(prediction, drawn, process, self.config)

    def _encode(self, pictures: Pictures, cache: Path) -> LatentSet:
        """The moments, and the text: kept, or encoded at every step where that learns (or SDXL's encoders are two)."""
        if self.hears or len(self.backbone.text_encoders) > 1:
            return encode_spoken(self.backbone, pictures, cache, self.hears)
        return LatentSet.encode(self.backbone, pictures, cache)

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Twelve watched pictures, what the base drew of their captions (where it still can), and what it draws now."""
        chosen = spread(len(self.watched))
        rows = [self.watched.pictures(chosen)]
        for block in (self.silenced(), nullcontext()):
            if block is not None:
                with block:
                    rows.append(self._sketched(chosen))
        return mosaic(torch.cat(rows), columns=len(chosen))

    def _sketched(self, chosen: Tensor) -> Tensor:
        captions = [self.watched.texts[int(i)][0] for i in chosen]
        control = next(((each.net, each.condition) for each in self.controls(self.watched, chosen, None)), None)
        return sketch(self.backbone, captions, sizes(self.watched)[0], self.recipe.seed, control)

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write what was learnt."""


def _called(pictures: Either, caption: str) -> Either:
    """The same pictures under other names."""
    if isinstance(pictures, ShardSet):
        named = [
            replace(each, texts=tuple(caption.replace("{}", text) for text in each.texts or ("",)))
            for each in pictures.samples
        ]
        return replace(pictures, samples=named)
    return replace(pictures, texts=[[caption.replace("{}", text) for text in texts] for texts in pictures.texts])
