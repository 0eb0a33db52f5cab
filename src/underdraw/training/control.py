"""Learning a ControlNet on a base that is locked, or unlocked in part."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from underdraw.data.batches import PictureSet
from underdraw.files import atomic
from underdraw.formats.delta import DELTA, merge, write_delta
from underdraw.model import Backbone, Control, ControlNet, apply_policy, build, load_control, predict, save_control
from underdraw.training.consistency import MapConsistency
from underdraw.training.denoiser import sketch, warm_up
from underdraw.training.hints import Hints
from underdraw.training.latents import LatentSet
from underdraw.training.objective import denoising_loss, draw_batch, mask_of
from underdraw.training.pictures import WHOLE, Pictures, Share, samples, sizes, spread
from underdraw.training.precision import channels_last, recomputed, use_float32_attention
from underdraw.training.recipe import ControlRun, Recipe
from underdraw.training.sheets import mosaic

__all__ = ["ControlTask", "Unlocked"]

LEVELS = (0.3, 0.5, 0.7, 0.9)
"""Shares of the noise schedule at which errors are compared: where structure is decided."""
MERGED = "merged"
"""The folder in an export of a base that was unlocked, with what it became."""


class Unlocked(nn.Module):
    """What learns when not only the control does: the net, and the parts of the U-Net that a policy names.

    Its state dict is the net's under `control.` and the parts' under `unet.`, by their own names.
    """

    def __init__(self, net: ControlNet, unet: nn.Module, parts: tuple[str, ...]) -> None:
        super().__init__()
        self.control = net
        self.unet = unet
        if parts != ("",):
            self.unet = nn.Module()
            for part in parts:
                self.unet.add_module(part, unet.get_submodule(part))


class ControlTask:
    """Predict noise under a condition map; the branch (and fusion) learns, and of the base what is unlocked."""

    def __init__(self, recipe: Recipe, config: ControlRun, pictures: Pictures, watched: PictureSet) -> None:
        self.recipe, self.config = recipe, config
        self.pictures, self.watched = pictures, watched
        self.backbone = Backbone.load(config.base, recipe.device)
        policy = apply_policy(self.backbone.unet, config.unlock or "locked")
        torch.manual_seed(recipe.seed)
        self.hints = Hints(config)
        self.net = build(self.backbone.unet, self.backbone.factor, config.control_of(self.hints.channels))
        if config.warm_start:
            warm_up(self.net, load_control(config.warm_start, self.backbone.unet), config.warm_start)
        self.consistency = MapConsistency(config, recipe.watch, self.backbone) if config.consistency else None
        for part in (self.backbone.unet, self.net):
            fit(part, recipe)
        self.module: nn.Module = self.net
        if config.unlock:
            self.module = Unlocked(self.net, self.backbone.unet, policy.unlocked)
        self.latents = LatentSet.encode(self.backbone, pictures, Path(recipe.output).parent / "cache")

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """`denoise`: the weighted error of the prediction under the map; `consistency`, where that is asked for."""
        seen = samples(self.pictures, self.recipe.seed, step, self.recipe.batch, share)
        indices, draws, device = seen.indices, seen.draws, self.recipe.device
        mask = mask_of(self.pictures, indices, self.config, self.latents.shape(indices))
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
        chosen = spread(len(self.watched))
        maps = self.hints(self.watched, chosen)
        captions = [self.watched.texts[int(i)][0] for i in chosen] * 2
        control = (self.net, maps.repeat(2, 1, 1, 1))
        drawn = sketch(self.backbone, captions, sizes(self.watched)[0], self.recipe.seed, control)
        return mosaic(torch.cat([self.watched.pictures(chosen), maps, drawn]), columns=len(chosen))

    def export(self, folder: Path) -> None:
        """Write the control network (full + add is a diffusers ControlNet), and what an unlocked base became.

        That is `unet-delta.safetensors`, what it differs by, and `merged/`: the whole base with the net beside it.
        """
        if self.config.unlock is None:
            save_control(self.net, folder)
            return
        unet = self.backbone.unet
        with atomic(folder) as draft:
            save_control(self.net, draft)
            write_delta(unet.state_dict(), self._before(), draft / DELTA)
            if self.config.merged:
                merge(self.config.base, unet, draft / MERGED)
                save_control(self.net, draft / MERGED / f"controlnet-{self.config.kinds[0]}")

    def _before(self) -> Mapping[str, Tensor]:
        """The base's U-Net as it was."""
        unet: nn.Module = Backbone.load(self.config.base).unet
        return unet.state_dict()


def fit(module: nn.Module, recipe: Recipe) -> None:
    """Lay a network out, and set its attention and its memory, as the recipe and the device want them."""
    if recipe.precision == "bf16" and recipe.device == "cpu":
        use_float32_attention(module)
    if recipe.checkpointing:
        recomputed(module)
    channels_last(module)
