"""What the locked base says of a picture set, computed once: VAE moments and text states."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.data.batches import PictureSet
from underdraw.model import Backbone, Moments, Text

__all__ = ["LatentSet"]

CHUNK = 256


@dataclass(frozen=True)
class LatentSet:
    """Moments, not samples, of N pictures, and the states of all their different captions.

    mean, deviation: N×C×h×w in the U-Net's units. states: M×L×W bf16; row 0 is the empty prompt, and `captions[i]` are
    the rows that picture i may use.
    """

    mean: Tensor
    deviation: Tensor
    states: Tensor
    captions: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.mean)

    def moments(self, indices: Tensor) -> Moments:
        """The moments of the chosen pictures."""
        return Moments(self.mean[indices], self.deviation[indices])

    def text(self, rows: Sequence[int]) -> Text:
        """The states of the chosen captions, as floats."""
        return Text(self.states[list(rows)].float())

    @classmethod
    @torch.no_grad()
    def encode(cls, backbone: Backbone, pictures: PictureSet) -> "LatentSet":
        """Run a picture set through VAE and text encoder."""
        rows = {"": 0}
        captions = [[rows.setdefault(text, len(rows)) for text in texts] for texts in pictures.texts]
        prompts = list(rows)
        states = [
            backbone.encode_text(prompts[start : start + CHUNK]).states.to(torch.bfloat16)
            for start in range(0, len(prompts), CHUNK)
        ]
        moments = [
            backbone.encode_picture(pictures.pictures(torch.arange(start, min(start + CHUNK, len(pictures)))))
            for start in range(0, len(pictures), CHUNK)
        ]
        mean = torch.cat([part.mean for part in moments])
        return cls(mean, torch.cat([part.deviation for part in moments]), torch.cat(states), captions)
