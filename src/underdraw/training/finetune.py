"""Learning the base's own U-Net, without a control: plain fine-tuning, and DreamBooth as it was published."""

from pathlib import Path

from torch import nn

from underdraw.files import atomic
from underdraw.model import apply_policy
from underdraw.training.recipe import FinetuneRun
from underdraw.training.tuning import TuningTask
from underdraw.training.unlocked import unlocked, write_unlocked

__all__ = ["FinetuneTask"]


class FinetuneTask(TuningTask[FinetuneRun]):
    """The U-Net learns, or its decoder; text encoders and VAE do not, and the base's files stay as they are."""

    def learner(self) -> nn.Module:
        """What the policy unlocks."""
        return unlocked(self.backbone.unet, apply_policy(self.backbone.unet, self.config.unlock).unlocked)

    def export(self, folder: Path) -> None:
        """Write what the U-Net differs by, and (`learn.merged`) the whole base that it makes."""
        with atomic(folder) as draft:
            draft.mkdir()
            write_unlocked(self.backbone, self.config.base, draft, self.config.merged)
