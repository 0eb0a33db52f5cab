"""Differentiable twins: what annotators see, with gradients to the picture. The consistency loss uses these alone.

A twin says what its annotator says, with soft steps where that one has hard ones; `softness` → 0 makes them alike.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.annotators.colour import ColourGrid
from underdraw.annotators.edges import Canny
from underdraw.annotators.protocol import Annotator
from underdraw.annotators.tone import LEAST_RATE, Blur, Intensity, Luminance, Tile
from underdraw.errors import ConfigError

__all__ = ["HAVE_TWINS", "Twin", "gaussian", "lightness", "soft_canny", "twin"]

Twin = Callable[[Tensor], Tensor]
"""B×3×H×W in [0, 1] → B×C×H×W as the annotator's map, differentiable."""

HAVE_TWINS = ("canny", "luminance", "intensity", "blur", "tile", "colour_grid")
"""Kinds whose annotator works on bytes, and whose twin does not."""
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
REACH = 24
"""Pixels along which a strong edge makes the weak ones that touch it visible; the ordinary Canny goes on for ever."""
TANGENT = 2**0.5 - 1
"""Of 22.5°: where one of the four directions of a gradient ends and the next begins."""


def twin(look: Annotator, softness: float = 8.0) -> Twin:
    """The twin of an annotator: itself where it is differentiable already. Raises ConfigError for one that has none.

    softness: of `soft_canny`; the others are smooth by themselves.
    """
    if look.meaning.differentiable:
        return look
    match look:
        case Canny():
            return lambda pictures: soft_canny(pictures, look, softness)
        case Luminance():
            return lambda pictures: _power(lightness(pictures.flip(1) if look.swapped else pictures), look.gamma)
        case Intensity():
            return lambda pictures: _power(pictures.amax(1, keepdim=True), look.gamma)
        case Blur():
            return lambda pictures: gaussian(pictures, look.sigma)
        case Tile():
            return lambda pictures: _coarse(pictures, look.rate)
        case ColourGrid():
            return lambda pictures: _cells(pictures, look.cell)
    raise ConfigError(
        f"{look.kind} has no differentiable twin; take {', '.join(HAVE_TWINS)}, a kind that is differentiable itself, "
        "or a reader that was trained for it"
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


def lightness(pictures: Tensor) -> Tensor:
    """CIE L* / 100, B×1×H×W in [0, 1], of sRGB B×3×H×W in [0, 1]; white is D65's."""
    linear = torch.where(pictures > 0.04045, ((pictures.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, pictures / 12.92)
    luminance = (linear * pictures.new_tensor([0.212671, 0.715160, 0.072169]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    root = luminance.clamp(min=0.008856) ** (1 / 3)
    return torch.where(luminance > 0.008856, 116 * root - 16, 903.3 * luminance) / 100


def _power(values: Tensor, gamma: float) -> Tensor:
    """Values in [0, 1] to a power; black has no gradient, for that of a root would be infinite."""
    return values.clamp(min=1e-4) ** gamma


def gaussian(pictures: Tensor, sigma: float) -> Tensor:
    """B×C×H×W under a Gaussian blur of `sigma` pixels, cut off where OpenCV cuts it off for bytes (3 σ)."""
    reach = (round(6 * sigma + 1) | 1) // 2
    places = torch.arange(-reach, reach + 1, dtype=pictures.dtype, device=pictures.device)
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).view(1, 1, -1)
    return _along(_along(pictures, weights).mT, weights).mT


def _along(pictures: Tensor, weights: Tensor) -> Tensor:
    """Each row convolved, mirrored at its ends without repeating them as often as the weights reach beyond."""
    width, reach = pictures.shape[-1], weights.shape[-1] // 2
    places = torch.arange(-reach, width + reach, device=pictures.device) % max(1, 2 * width - 2)
    mirrored = torch.minimum(places, 2 * width - 2 - places)
    rows = pictures[..., mirrored].reshape(-1, 1, width + 2 * reach)
    return functional.conv1d(rows, weights).view(*pictures.shape[:-1], width)


def _coarse(pictures: Tensor, rate: float) -> Tensor:
    if rate < LEAST_RATE:
        return pictures
    height, width = pictures.shape[-2:]
    few = (max(1, int(height / rate)), max(1, int(width / rate)))
    small = functional.interpolate(pictures, few, mode="area")
    return functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)


def _cells(pictures: Tensor, cell: int) -> Tensor:
    height, width = pictures.shape[-2:]
    few = functional.interpolate(pictures, (max(1, height // cell), max(1, width // cell)), mode="bicubic").clamp(0, 1)
    return functional.interpolate(few, (height, width), mode="nearest")
