"""Taps, the 1×1 convolutions through which a branch is heard, and the encoders of its hint.

    y_c = F(x; Θ) + Z(F(x + Z(c; Θz1); Θc); Θz2)

Both Z are taps: Θz1 closes the hint encoder, Θz2 stands at every site. For the zero convolution y = w·x + b at
w = b = 0: ∂y/∂w = x ≠ 0 and ∂y/∂b = 1, so the first step moves it; ∂y/∂x = w = 0, so at first nothing behind it
moves; after one step w ≠ 0 and ∂y/∂x ≠ 0 (Zhang et al. 2023, section 3.1). Gaussian taps are the paper's ablation:
audible from the start, by design.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import cast

from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from torch import nn

from underdraw.errors import ConfigError
from underdraw.registry import Registry

TAPS: Registry[Callable[[nn.Conv2d], nn.Conv2d]] = Registry("tap")
"""How a tap starts: each entry initialises a convolution in place and returns it."""


@TAPS.register("zero")
def zero(convolution: nn.Conv2d) -> nn.Conv2d:
    """Weight and bias 0: nothing is heard before the first step."""
    nn.init.zeros_(convolution.weight)
    return _without_bias(convolution)


@TAPS.register("gaussian")
def gaussian(convolution: nn.Conv2d) -> nn.Conv2d:
    """Gaussian weights that keep the signal's variance (deviation 1/√fan-in), bias 0."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
    return _without_bias(convolution)


def _without_bias(convolution: nn.Conv2d) -> nn.Conv2d:
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def tap(kind: str, channels: int, out: int | None = None) -> nn.Conv2d:
    """A 1×1 convolution from `channels` to `out` (default: as many), started as `kind` says."""
    return TAPS[kind](nn.Conv2d(channels, out or channels, kernel_size=1))


HINTS: Registry[Callable[[int, int, int, str, tuple[int, ...]], nn.Module]] = Registry("hint encoder")
"""Hint encoders: (map channels, features, factor, tap kind, widths) → a module from B×C×H×W to B×features×H/f×W/f.

`factor` f is the VAE's (8 for Stable Diffusion, 1 in pixel space), a power of two; empty `widths` are the usual ones.
"""


@HINTS.register("code")
def code_hint(channels: int, features: int, factor: int, tap_kind: str, widths: tuple[int, ...] = ()) -> nn.Module:
    """The encoder of the published code and of every published checkpoint: 3×3 convolutions with SiLU.

    For factor 8 eight of them, 16-16-32-32-96-96-256-features, the last started as the tap says; for every halving of
    the factor one stride-2 stage (two convolutions) less.
    """
    stages = _halvings(factor)
    widths = widths or (16, 32, 96, 256)[: stages + 1] + (256,) * (stages - 3)
    if len(widths) != stages + 1:
        raise ConfigError(f"hint_widths {widths} do not fit a factor of {factor}; give {stages + 1} widths")
    encoder = ControlNetConditioningEmbedding(features, channels, widths)
    TAPS[tap_kind](encoder.conv_out)
    return cast(nn.Module, encoder)


@HINTS.register("paper")
def paper_hint(channels: int, features: int, factor: int, tap_kind: str, widths: tuple[int, ...] = ()) -> nn.Module:
    """The encoder of the paper's text: four 4×4 convolutions with ReLU, 16-32-64-128, Gaussian weights, then a tap.

    Four strides of 2 would end at 1/16, so as many of the first have stride 1 as the factor asks (one for factor 8).
    """
    stages, widths = _halvings(factor), widths or (16, 32, 64, 128)
    if stages > len(widths):
        raise ConfigError(f"hint_widths {widths} can't reach a factor of {factor}; give at least {stages} widths")
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise((channels, *widths))):
        halves = index >= len(widths) - stages
        # An even kernel needs one more pixel on one side to keep the size.
        padding = nn.ZeroPad2d(1 if halves else (1, 2, 1, 2))
        layers += [padding, _gaussian_4x4(before, after, stride=2 if halves else 1), nn.ReLU()]
    return nn.Sequential(*layers, tap(tap_kind, widths[-1], features))


def _gaussian_4x4(before: int, after: int, stride: int) -> nn.Conv2d:
    convolution = nn.Conv2d(before, after, kernel_size=4, stride=stride)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return _without_bias(convolution)


def _halvings(factor: int) -> int:
    if factor < 1 or factor & (factor - 1):
        raise ConfigError(f"hint factor {factor} is not a power of two; give the VAE's factor (8 for Stable Diffusion)")
    return factor.bit_length() - 1
