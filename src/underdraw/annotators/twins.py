"""Differentiable twins: what annotators see, with gradients to the picture. The consistency loss uses these alone.

A twin says what its annotator says, with soft steps where that one has hard ones; `softness` → 0 makes them alike.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.annotators.edges import Canny
from underdraw.annotators.protocol import Annotator
from underdraw.errors import ConfigError

__all__ = ["Twin", "soft_canny", "twin"]

Twin = Callable[[Tensor], Tensor]
"""B×3×H×W in [0, 1] → B×C×H×W as the annotator's map, differentiable."""

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
REACH = 24
"""Pixels along which a strong edge makes the weak ones that touch it visible; the ordinary Canny goes on for ever."""
TANGENT = 2**0.5 - 1
"""Of 22.5°: where one of the four directions of a gradient ends and the next begins."""


def twin(look: Annotator, softness: float = 8.0) -> Twin:
    """The twin of an annotator: itself where it is differentiable already. Raises ConfigError for one that has none."""
    if look.meaning.differentiable:
        return look
    if isinstance(look, Canny):
        return lambda pictures: soft_canny(pictures, look, softness)
    raise ConfigError(
        f"{look.kind} has no differentiable twin; take canny, a kind that is differentiable itself, or a reader that "
        "was trained for it"
    )


def soft_canny(pictures: Tensor, look: Canny, softness: float = 8.0) -> Tensor:
    """Canny's edges B×1×H×W in [0, 1] of B×3×H×W in [0, 1], each decision a sigmoid of width `softness`.

    softness is in OpenCV's units of gradient: |Sobel x| + |Sobel y| of bytes, in which the thresholds are given too.
    """
    across, down = _gradient(pictures * 255, look.colour)
    strength = across.abs() + down.abs()
    ridge = _ridge(strength, across, down, softness)
    strong, weak = ((strength - level) / softness for level in (look.high, look.low))
    edges, visible = ridge * strong.sigmoid(), ridge * weak.sigmoid()
    for _ in range(REACH):
        edges = torch.maximum(edges, visible * functional.max_pool2d(edges, 3, stride=1, padding=1))
    return edges


def _gradient(pixels: Tensor, colour: bool) -> tuple[Tensor, Tensor]:
    """Sobel derivatives B×1×H×W: of the channel that changes most, or of brightness (ITU-R 601, as OpenCV has it)."""
    if not colour:
        pixels = (pixels * pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    batch, channels, height, width = pixels.shape
    framed = functional.pad(pixels.reshape(batch * channels, 1, height, width), (1, 1, 1, 1), mode="replicate")
    kernels = torch.stack([SOBEL, SOBEL.T]).unsqueeze(1).to(pixels)
    found = functional.conv2d(framed, kernels).view(batch, channels, 2, height, width)
    most = found.abs().sum(2, keepdim=True).argmax(1, keepdim=True).expand(-1, -1, 2, -1, -1)
    chosen = found.gather(1, most)[:, 0]
    return chosen[:, :1], chosen[:, 1:]


def _ridge(strength: Tensor, across: Tensor, down: Tensor, softness: float) -> Tensor:
    """How surely a pixel's gradient is the greatest along its own direction (one of four)."""
    framed = functional.pad(strength, (1, 1, 1, 1))
    height, width = strength.shape[-2:]

    def beside(rows: int, columns: int) -> Tensor:
        ends = [framed[..., 1 + s * rows :, 1 + s * columns :][..., :height, :width] for s in (-1, 1)]
        return torch.maximum(ends[0], ends[1])

    level, upright = down.abs() < TANGENT * across.abs(), across.abs() < TANGENT * down.abs()
    falling = across * down > 0
    slanted = torch.where(falling, beside(1, 1), beside(1, -1))
    rival = torch.where(level, beside(0, 1), torch.where(upright, beside(1, 0), slanted))
    # A plateau two pixels wide has two greatest ones; half a width of doubt keeps both.
    return ((strength - rival) / softness + 0.5).sigmoid()
