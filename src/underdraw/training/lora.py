"""Learning a LoRA on the locked base: a style, a thing (DreamBooth), or a correction inside a control branch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from underdraw.errors import ConfigError
from underdraw.formats.lora import write_lora
from underdraw.model import Attached, Control, attach, build_lora, load_control, save_control
from underdraw.model.lora import parts
from underdraw.training.hints import Hints
from underdraw.training.pictures import Pictures
from underdraw.training.precision import channels_last
from underdraw.training.recipe import ControlRun, LoraRun, Recipe
from underdraw.training.spoken import Sized
from underdraw.training.tuning import TuningTask

__all__ = ["LoraTask", "plainly"]


class LoraTask(TuningTask[LoraRun]):
    """Only the adapters learn, whatever they are attached to."""

    @property
    def hears(self) -> bool:
        """Where text encoders learn."""
        return any(part.startswith("text_encoder") for part in self.config.lora.parts)

    def base(self, backbone: Sized) -> Sized:
        """As ever, and the control branch inside which a LoRA learns."""
        backbone = super().base(backbone)
        self.guide = _Guide(self.config, backbone) if self.config.control else None
        return backbone

    def host(self) -> Iterable[nn.Module]:
        """The U-Net, and the ControlNet beside it; text encoders stay as they are."""
        return (self.backbone.unet, self.guide.net) if self.guide else (self.backbone.unet,)

    def learner(self) -> nn.Module:
        """The adapters, attached."""
        self.lora = build_lora(self._parts(), self.config.lora)
        self.attached = attach(self._parts(), self.lora)
        return channels_last(self.lora)

    def _parts(self) -> dict[str, nn.Module]:
        return parts(self.backbone) | (parts(self.guide.net) if self.guide else {})

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """At weight 0."""
        self.attached.weight = 0.0
        try:
            yield
        finally:
            self.attached.weight = 1.0

    def controls(
        self, pictures: Pictures, indices: Tensor, draws: Sequence[torch.Generator] | None
    ) -> tuple[Control, ...]:
        """The branch that has the adapters inside, under its maps."""
        return (Control(self.guide.net, self.guide.maps(pictures, indices, draws)),) if self.guide else ()

    def export(self, folder: Path) -> None:
        """Write the LoRA for diffusers, and for A1111 and ComfyUI; inside a branch, the ControlNet that it makes.

        Other tools know of no LoRA inside a branch: there it is `controlnet/`, with the LoRA in its weights.
        """
        write_lora(self.lora, folder / "pytorch_lora_weights.safetensors", "diffusers")
        if "control" not in self.config.lora.parts:
            layout = "kohya-xl" if len(self.backbone.text_encoders) > 1 else "kohya"
            write_lora(self.lora, folder / "lora.safetensors", layout, _facts(self.recipe, len(self.pictures)))
        elif self.guide:
            with plainly(self.attached):
                save_control(self.guide.net, folder / "controlnet")


class _Guide:
    """The ControlNet inside which a LoRA learns, and the maps that it is shown."""

    def __init__(self, config: LoraRun, backbone: Sized) -> None:
        if config.condition is None:
            raise ConfigError("learn.control is a ControlNet and needs learn.condition, the map that it is shown")
        self.net = load_control(str(config.control), backbone.unet).requires_grad_(False)
        self.hints = Hints(ControlRun(base=config.base, condition=config.condition))

    def maps(self, pictures: Pictures, indices: Tensor, draws: Sequence[torch.Generator] | None) -> Tensor:
        """Of the chosen pictures."""
        return self.hints(pictures, indices, draws).to(next(self.net.parameters()).device)


@contextmanager
def plainly(attached: Attached) -> Iterator[None]:
    """Inside the block a LoRA is in its host's own weights, to be written; afterwards it lies beside them again."""
    attached.merge()
    try:
        yield
    finally:
        attached.unmerge()


def _facts(recipe: Recipe, pictures: int) -> dict[str, str]:
    """What kohya's scripts tell of a training, by their names."""
    return {
        "ss_output_name": Path(recipe.output).name,
        "ss_steps": str(recipe.steps),
        "ss_num_train_images": str(pictures),
        "ss_total_batch_size": str(recipe.batch),
        "ss_learning_rate": str(recipe.optimizer.lr),
        "ss_optimizer": recipe.optimizer.kind,
        "ss_seed": str(recipe.seed),
    }
