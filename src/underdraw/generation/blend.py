"""A masked region and its picture: what stands there before it is drawn, and how it is laid in afterwards.

Outside the mask nothing changes, and at its border nothing jumps.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["blend", "filled"]

KERNEL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def blend(drawn: Tensor, picture: Tensor, mask: Tensor, softness: int = 4) -> Tensor:
    """`picture` where the mask is 0, to the bit, and `drawn` inside it; pictures B×3×H×W, mask B×1×H×W in [0, 1].

    At the border the drawing begins as what is just outside, carried inwards ring by ring, and is itself after
    `softness` pixels: so the two meet without a jump, and nothing of what was inside the mask before is seen again. 0
    is a hard border; values of the mask between 0 and 1 mix the two.
    """
    known = (mask == 0).to(picture)
    begun, own = picture * known, 1 - known
    for ring in range(softness):
        near = _spread(known)
        new = ((near > 0) & (known == 0)).to(picture)
        begun = torch.where(new > 0, _spread(begun) / near.clamp(min=1e-6), begun)
        own = torch.where(new > 0, ring / softness, own)
        known = known + new
    return torch.where(mask == 0, picture, torch.lerp(picture, torch.lerp(begun, drawn, own), mask.to(picture)))


def filled(pictures: Tensor, mask: Tensor) -> Tensor:
    """What a mask B×1×H×W holds of pictures B×3×H×W, in the colours around it: the farther inside, the softer.

    Where the mask is 0 nothing changes.
    """
    known = (mask == 0).to(pictures)
    return torch.where(mask == 0, pictures, _flowed(pictures * known, known))


def _flowed(colours: Tensor, known: Tensor) -> Tensor:
    """Colours times how well each is known, as colours; gaps are filled from half the resolution, or else grey."""
    own, sides = colours / known.clamp(min=1e-6), known.shape[-2:]
    if max(sides) == 1:
        return torch.where(known > 0, own, 0.5)
    if bool((known > 0).all()):
        return own
    half = -(-sides[0] // 2), -(-sides[1] // 2)
    small = _flowed(functional.adaptive_avg_pool2d(colours, half), functional.adaptive_avg_pool2d(known, half))
    return torch.where(known > 0, own, functional.interpolate(small, sides, mode="bilinear"))


def _spread(pictures: Tensor) -> Tensor:
    """Each pixel's neighbourhood, the nearer the heavier."""
    kernel = KERNEL.to(pictures).expand(pictures.shape[1], 1, 3, 3)
    return functional.conv2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), kernel, groups=pictures.shape[1])
