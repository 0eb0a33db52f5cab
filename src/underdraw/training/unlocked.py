"""A base that learns itself: what of its U-Net does, and how it is written afterwards."""

from pathlib import Path

import torch
from torch import Tensor, nn

from underdraw.formats.delta import DELTA, merge, write_delta
from underdraw.model import Backbone

__all__ = ["MERGED", "unlocked", "write_unlocked"]

MERGED = "merged"
"""The folder in an export with what the whole base became."""


def unlocked(unet: nn.Module, parts: tuple[str, ...]) -> nn.Module:
    """The parts of a U-Net that a policy names, as one module that has them under their own names."""
    if parts == ("",):
        return unet
    holder = nn.Module()
    for part in parts:
        holder.add_module(part, unet.get_submodule(part))
    for norm in holder.modules():
        if isinstance(norm, nn.GroupNorm):
            norm.register_forward_pre_hook(_felt)
    return holder


def _felt(norm: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Features that have a gradient, though nobody asks for it.

    On a CPU torch crashes in the gradient of a group norm over features that lie channels last and need none: those
    that a locked encoder hands to a decoder that learns.
    """
    (features,) = given
    return (features.detach().requires_grad_(),) if torch.is_grad_enabled() and not features.requires_grad else given


def write_unlocked(backbone: Backbone, base: str, folder: Path, merged: bool) -> None:
    """Write into a folder what a U-Net differs by from that of the base which it was, and (`merged`) the whole base.

    They are compared in the precision in which it learnt.
    """
    before = Backbone.load(base, dtype=backbone.dtype).unet
    write_delta(backbone.unet.state_dict(), before.state_dict(), folder / DELTA)
    if merged:
        merge(base, backbone.unet, folder / MERGED)
