"""The consistency reward: what the model would draw from here is annotated again and compared with the map.

ControlNet++ (Li et al. 2024, section 3.3): for small timesteps the one-step estimate of x0 is a picture that a
differentiable annotator can look at; the error of its map goes back through annotator, VAE decoder and U-Net to the
branch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from underdraw.annotators import build
from underdraw.annotators.readers import load_reader
from underdraw.annotators.twins import twin
from underdraw.errors import ConfigError
from underdraw.model import Backbone
from underdraw.training.objective import Draw
from underdraw.training.recipe import ControlRun, Watch

__all__ = ["MapConsistency"]


class MapConsistency:
    """The mean squared difference between the map and that of the estimated picture, in a window of few samples.

    Raises ConfigError for a condition that has neither a twin nor a reader, and for a reader that also judges.
    """

    def __init__(self, config: ControlRun, watch: Watch, backbone: Backbone) -> None:
        assert config.consistency is not None
        self.config, self.backbone = config.consistency, backbone
        self._see = _eye(config, watch, backbone)

    def __call__(self, prediction: Tensor, drawn: Draw, maps: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """A scalar, times its weight; 0 (with a graph) where no sample of the batch is near enough to its picture.

        prediction: B×C×h×w of the noisy latents of `drawn`; maps: B×C×H×W.
        """
        near = (drawn.timestep < self.config.below).nonzero()[: self.config.most, 0]
        if not len(near):
            return 0.0 * prediction.sum()
        clean = self.backbone.process.clean_from(prediction[near].float(), drawn.noisy[near], drawn.timestep[near])
        top, left, high, wide = self._window(clean.shape, draws[int(near[0])])
        factor = self.backbone.factor
        window = clean[..., top : top + high, left : left + wide]
        shown = self._see(self.backbone.decode_latents(window).float())
        rows, columns = (slice(factor * start, factor * (start + size)) for start, size in ((top, high), (left, wide)))
        wanted = maps[near][..., rows, columns]
        error = (shown.float() - wanted[:, : shown.shape[1]]).square().mean((1, 2, 3))
        return self.config.weight * error.sum() / len(prediction)

    def _window(self, shape: torch.Size, draw: torch.Generator) -> tuple[int, int, int, int]:
        """Top, left, height, width of what is decoded, in latent pixels."""
        high, wide = (min(self.config.crop or side, side) for side in shape[-2:])
        starts = [
            int(torch.randint(side - size + 1, (), generator=draw))
            for side, size in ((shape[-2], high), (shape[-1], wide))
        ]
        return starts[0], starts[1], high, wide


def _eye(config: ControlRun, watch: Watch, backbone: Backbone) -> Callable[[Tensor], Tensor]:
    assert config.consistency is not None
    path = config.consistency.reader
    if path is None:
        return twin(build(config.kinds[0]))
    if watch.reader and Path(path).read_bytes() == Path(watch.reader).read_bytes():
        raise ConfigError(f"reader {path} is to teach and to judge; train another one for watch.reader")
    reader = load_reader(path).to(backbone.device)
    if reader.shape.kind != config.kinds[0]:
        raise ConfigError(f"{path} reads {reader.shape.kind}, not {config.kinds[0]}; give the reader of that condition")
    return reader
