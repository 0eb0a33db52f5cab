"""Drawing as quickly as the same numbers allow: what `denoise` lays on the networks for the length of each step.

    packed    weights in the layout of the CPU's kernels           (last bits)
    halved    guidance's halves share what precedes the text       (same arithmetic)
    timed     time embeddings once a schedule                      (same arithmetic)
    chunked   self-attention in bfloat16 as plain products         (rounding of bfloat16; float32 is left alone)

Nothing of it stays on the networks between two steps: others may draw with them, LoRAs come and go, weights change.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from underdraw.model.chunked import chunked
from underdraw.model.once import halved, timed
from underdraw.model.overlay import overlaid
from underdraw.model.packed import packed

__all__ = ["Quick"]


class Quick:
    """The accelerations of one drawing with a U-Net and control networks, along a schedule of timesteps.

    dtype: of the samples. Make it without gradients; it is for drawing, not for training.
    """

    def __init__(self, timesteps: Tensor, dtype: torch.dtype, *modules: nn.Module) -> None:
        self.clock = [0]
        own = list(dict.fromkeys(modules))
        self.lays = [*packed(*own), *chunked(*own), *halved(*own), *timed(timesteps, self.clock, dtype, *own)]

    def at(self, step: int) -> AbstractContextManager[None]:
        """A block in which the networks are asked at this step of the schedule, and quickly."""
        self.clock[0] = step
        return overlaid(self.lays)
