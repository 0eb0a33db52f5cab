"""Learning a ControlNet as a small change of its base: a LoRA in the copied encoder, and all that is new whole.

That is what a Control-LoRA is. A ControlNet of Stable Diffusion's size then learns a few percent of its numbers, and
the file that ComfyUI and A1111 read is as small.
"""

from pathlib import Path

from torch import nn

from underdraw.errors import ConfigError, UnderdrawError
from underdraw.formats.control_writing import write_control_lora
from underdraw.formats.controls import control_parts
from underdraw.model import ControlNet, Lora, attach, build_lora
from underdraw.model.branches import Full
from underdraw.training.control import ControlTask
from underdraw.training.lora import plainly
from underdraw.training.recipe import ControlRun

__all__ = ["CONTROL_LORA", "ControlLoraTask", "Grown", "grown"]

CONTROL_LORA = "control-lora.safetensors"
"""The name of the file beside the whole ControlNet."""


class Grown(nn.Module):
    """What learns: hint encoder, taps and fusions under their own names, and the copy's adapters under `lora.`.

    What only a reward learns stands under `beside.`.
    """

    def __init__(self, net: ControlNet, lora: Lora, beside: nn.Module | None = None) -> None:
        super().__init__()
        self.lora, self.fusions, self.beside = lora, net.fusions, beside
        self.branch = nn.Module()
        for name, part in net.branch.named_children():
            if name.startswith("controlnet_"):
                self.branch.add_module(name, part)


def grown(net: ControlNet, config: ControlRun) -> Lora:
    """A LoRA for the copy in a full branch, which is locked; what is not a copy learns. Draws from torch's generator.

    Raises ConfigError for a branch that has no copy, and where the base is unlocked as well.
    """
    if config.lora is None or not isinstance(net.branch, Full):
        raise ConfigError(f"learn.lora changes a copied encoder, and a {config.control.branch.kind} branch has none")
    if config.unlock:
        raise ConfigError("learn.lora keeps the encoder and learn.unlock changes the base; choose one")
    for name, part in net.branch.named_children():
        part.requires_grad_(name.startswith("controlnet_"))
    told = (
        config.lora
        if "parts" in config.lora.model_fields_set
        else config.lora.model_copy(update={"parts": ["control"]})
    )
    return build_lora(net, told)


class ControlLoraTask(ControlTask):
    """A ControlNet's training in which the copied encoder changes by a LoRA alone."""

    def learner(self) -> nn.Module:
        """All that is new of the net, and the LoRA in its copy."""
        super().learner()
        self.lora = grown(self.net, self.config)
        self.attached = attach(self.net, self.lora)
        return Grown(self.net, self.lora, self.consistency.learns if self.consistency else None)

    def export(self, folder: Path) -> None:
        """Write the whole ControlNet, as any other, and beside it the small file that it is on its base."""
        with plainly(self.attached):
            super().export(folder)
            if self.config.warm_start is None:
                self._write_small(folder / CONTROL_LORA)

    def _write_small(self, path: Path) -> None:
        """The Control-LoRA; where that form has no place for this net, the folder is all there is."""
        rank = max(adapter.rank or 0 for adapter in self.lora.adapters.values())
        try:
            write_control_lora(control_parts(self.net), self.backbone.unet.state_dict(), path, rank)
        except UnderdrawError:
            path.unlink(missing_ok=True)
