"""Drawing scenes: pictures and everything that is true about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.data.scenes.parts import Scene
from underdraw.data.scenes.shade import shade
from underdraw.data.scenes.surface import labels, surfaces
from underdraw.data.scenes.trace import trace
from underdraw.data.scenes.truth import camera_normals, condition_map, keypoints, lines
from underdraw.data.scenes.world import pack
from underdraw.errors import ConfigError, InputError

SMALLEST, LARGEST = 8, 2048
"""Shortest and longest side that is drawn, in pixels."""


@dataclass(frozen=True)
class Views:
    """What is seen of B scenes, at H×W pixels.

    image B×3×H×W: sRGB in [0, 1], four samples a pixel. All else is taken at the pixel centres:
    depth B×1×H×W: metres along the optical axis (window glass is as far as its wall).
    condition B×1×H×W: the depth map for conditioning, nearest white, farthest black (see `condition_map`).
    normal B×3×H×W: camera space, encoded (n + 1)/2, x right, y up, z towards the viewer.
    semantic B×H×W, long: positions in `vocabulary.KINDS`. instance B×H×W, long: 0 for the shell, i + 1 for things[i].
    lines B×1×H×W: visible straight edges, white on black.
    keypoints: for each scene P×18×3 in OpenPose's order: x, y in pixels, 0 absent / 1 hidden / 2 seen.
    """

    image: Tensor
    depth: Tensor
    condition: Tensor
    normal: Tensor
    semantic: Tensor
    instance: Tensor
    lines: Tensor
    keypoints: tuple[Tensor, ...]


def render(scenes: Sequence[Scene], size: tuple[int, int] = (64, 64), device: str | torch.device = "cpu") -> Views:
    """Draw scenes at `size` = (width, height). The angle of view spans the shorter side, so any format works.

    Every scene is drawn as if it were alone: what else is in the batch changes no byte. InputError without scenes,
    ConfigError for an impossible size or device.
    """
    if not scenes:
        raise InputError("no scenes to render: give at least one")
    width, height = _checked_size(size)
    place = _checked_device(device)
    with torch.no_grad():
        world = pack(scenes, place)
        hits = trace(world, width, height)
        found = surfaces(world, hits)
        image = shade(world, hits, found)
        semantic, instance = (value.view(hits.depth.shape)[:, 0] for value in labels(world, found))
        depth = hits.depth[:, 0]
        normal = found.normal.view(3, *hits.depth.shape)[:, :, 0]
        return Views(
            image=image,
            depth=depth[:, None],
            condition=condition_map(depth[:, None]),
            normal=camera_normals(world, normal),
            semantic=semantic,
            instance=instance,
            lines=lines(world, depth),
            keypoints=tuple(keypoints(world, scenes, depth, instance)),
        )


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, list | tuple) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and SMALLEST <= side <= LARGEST for side in sides):
        raise ConfigError(f"size {size!r}: give width and height as two whole numbers from {SMALLEST} to {LARGEST}")
    return sides[0], sides[1]


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {str(device)!r} cannot be used here: try cpu") from error
