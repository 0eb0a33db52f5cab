"""Learning a ControlNet on a base that is locked, or unlocked in part."""

from pathlib import Path

import torch
from torch import Tensor, nn

from underdraw.files import atomic
from underdraw.formats.conditions import About, write_about
from underdraw.model import Control, ControlNet, apply_policy, build, load_control, save_control
from underdraw.training.consistency import consistency
from underdraw.training.denoiser import sketch, warm_up
from underdraw.training.mapped import MapTask, Steering
from underdraw.training.pictures import sizes, spread
from underdraw.training.precision import fit
from underdraw.training.recipe import ControlRun
from underdraw.training.sheets import mosaic
from underdraw.training.unlocked import MERGED, unlocked, write_unlocked

__all__ = ["ControlTask", "Unlocked"]


class Unlocked(nn.Module):
    """What learns when not only the control does: the net, and the parts of the U-Net that a policy names.

    Its state dict is the net's under `control.` and the parts' under `unet.`, by their own names; what only a reward
    learns stands under `beside.`.
    """

    def __init__(
        self, net: ControlNet, unet: nn.Module, parts: tuple[str, ...], beside: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.control = net
        self.unet = unlocked(unet, parts)
        self.beside = beside


class ControlTask(MapTask[ControlRun]):
    """The branch (and fusion) learns, and of the base what is unlocked."""

    def learner(self) -> nn.Module:
        """The net, with what the policy unlocks and what only a reward learns."""
        config, unet = self.config, self.backbone.unet
        policy = apply_policy(unet, config.unlock or "locked")
        self.net = build(unet, self.backbone.factor, config.control_of(self.hints.channels))
        if config.warm_start:
            warm_up(self.net, load_control(config.warm_start, unet), config.warm_start)
        self.consistency = consistency(config, self.recipe.watch, self.backbone, self.net)
        for part in (unet, self.net):
            fit(part, self.recipe)
        beside = self.consistency.learns if self.consistency else None
        return Unlocked(self.net, unet, policy.unlocked, beside) if config.unlock or beside else self.net

    def steering(self, maps: Tensor | None) -> Steering:
        """The maps, through the net."""
        return Steering() if maps is None else Steering((Control(self.net, maps.to(self.backbone.device)),))

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
        with atomic(folder) as draft:
            self._write_net(draft)
            if self.config.unlock is None:
                return
            write_unlocked(self.backbone, self.config.base, draft, self.config.merged)
            if self.config.merged:
                self._write_net(draft / MERGED / f"controlnet-{self.config.kinds[0]}")

    def _write_net(self, folder: Path) -> None:
        """The net, and beside it which maps it takes."""
        save_control(self.net, folder)
        write_about(About(conditions=tuple(self.config.kinds)), folder)
