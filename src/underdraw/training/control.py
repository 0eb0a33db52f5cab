"""Learning a ControlNet on the locked base."""

from pathlib import Path

import torch
from torch import Tensor, nn

from underdraw.data.batches import PictureSet, batch_indices, generators
from underdraw.model import Backbone, Control, apply_policy, build, load_control, predict, save_control
from underdraw.training.consistency import MapConsistency
from underdraw.training.denoiser import sketch, warm_up
from underdraw.training.hints import Hints
from underdraw.training.latents import LatentSet
from underdraw.training.objective import denoising_loss, draw_batch, mask_of
from underdraw.training.precision import Float32Attention, channels_last
from underdraw.training.recipe import ControlRun, Recipe
from underdraw.training.sheets import mosaic

__all__ = ["ControlTask"]

LEVELS = (0.3, 0.5, 0.7, 0.9)
"""Shares of the noise schedule at which errors are compared: where structure is decided."""


class ControlTask:
    """Predict noise under a condition map; the base is locked and only the branch (and fusion) learns."""

    def __init__(self, recipe: Recipe, config: ControlRun, pictures: PictureSet, watched: PictureSet) -> None:
        self.recipe, self.config = recipe, config
        self.pictures, self.watched = pictures, watched
        self.backbone = Backbone.load(config.base, recipe.device)
        apply_policy(self.backbone.unet, "locked")
        torch.manual_seed(recipe.seed)
        self.hints = Hints(config)
        self.net = build(self.backbone.unet, self.backbone.factor, config.control_of(self.hints.channels))
        if config.warm_start:
            warm_up(self.net, load_control(config.warm_start, self.backbone.unet), config.warm_start)
        self.consistency = MapConsistency(config, recipe.watch, self.backbone) if config.consistency else None
        if recipe.precision == "bf16" and recipe.device == "cpu":
            for part in (self.backbone.unet, self.net):
                use_float32_attention(part)
        channels_last(self.backbone.unet)
        self.module: nn.Module = channels_last(self.net)
        self.latents = LatentSet.encode(self.backbone, pictures, Path(recipe.output).parent / "cache")

    def losses(self, step: int) -> dict[str, Tensor]:
        """`denoise`: the weighted error of the prediction under the map; `consistency`, where that is asked for."""
        indices = batch_indices(self.recipe.seed, step, self.recipe.batch, len(self.latents))
        draws = generators(self.recipe.seed, step, range(len(indices)))
        device = self.recipe.device
        mask = mask_of(self.pictures, indices, self.config, self.latents.mean.shape)
        drawn = draw_batch(self.latents, indices, draws, self.backbone.process, self.config, device, mask)
        maps = self.hints(self.pictures, indices, draws).to(device)
        prediction = predict(self.backbone.unet, drawn.noisy, drawn.timestep, drawn.text, (Control(self.net, maps),))
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
            controls = () if shown is None else (Control(self.net, shown),)
            errors[name] = torch.zeros(len(chosen))
            for share in LEVELS:
                level = torch.full((len(chosen),), int(share * len(process)), device=clean.device)
                prediction = predict(self.backbone.unet, process.add_noise(clean, noise, level), level, text, controls)
                error = (prediction.float() - process.target(clean, noise, level)).square().mean((1, 2, 3))
                errors[name] -= error.cpu() / len(LEVELS)
        return {name: values.tolist() for name, values in errors.items()}

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Twelve watched pictures, their maps, and two samples each under the map and the caption."""
        chosen = torch.arange(0, len(self.watched), max(1, len(self.watched) // 12))[:12]
        maps = self.hints(self.watched, chosen)
        captions = [self.watched.texts[int(i)][0] for i in chosen] * 2
        control = Control(self.net, maps.repeat(2, 1, 1, 1).to(self.recipe.device)).prepared()
        drawn = sketch(self.backbone, captions, self.watched.pixels.shape[-1], self.recipe.seed, (control,))
        return mosaic(torch.cat([self.watched.pictures(chosen), maps, drawn]), columns=12)

    def export(self, folder: Path) -> None:
        """Write the control network; full + add is a diffusers ControlNet."""
        save_control(self.net, folder)


def use_float32_attention(module: nn.Module) -> None:
    """Set `Float32Attention` wherever diffusers' attention is."""
    for part in module.modules():
        if hasattr(part, "set_processor"):
            part.set_processor(Float32Attention())  # type: ignore[operator]
