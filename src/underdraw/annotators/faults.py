"""What can be wrong with a map: each check looks at one map that somebody brought and knows one fault.

What a check cannot know for certain (that a floor lies below, that walls enclose) is said in its words.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators.protocol import Annotator
from underdraw.annotators.skeleton import PALETTE

__all__ = ["Brought", "Check", "Fault", "checks"]

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Brought:
    """A map as it came: pixels 3×H×W in [0, 1] (transparency over black), how its file stores it, and its kind.

    size: the (width, height) that it should have, where that is known.
    """

    pixels: Tensor
    mode: str
    kind: type[Annotator]
    size: tuple[int, int] | None = None

    @property
    def grey(self) -> Values:
        """H×W: the mean of the channels."""
        grey: Values = self.pixels.mean(0).double().numpy()
        return grey

    @property
    def values(self) -> Values:
        """H×W×3."""
        values: Values = self.pixels.permute(1, 2, 0).double().numpy()
        return values


@dataclass(frozen=True, eq=False)
class Fault:
    """name: of the fault. told: what was seen. remedy: what to do. repaired: the map 3×H×W without it, where safe."""

    name: str
    told: str
    remedy: str
    repaired: Tensor | None = None


Check = Callable[[Brought], Fault | None]


# Faults of any kind of map.


def _empty(brought: Brought) -> Fault | None:
    if float(brought.pixels.std()) > 1e-3:
        return None
    return Fault(
        "empty", "the map is one flat colour and says nothing", "make it again; look at the picture it came from"
    )


def _stored(brought: Brought) -> Fault | None:
    if brought.mode == "RGBA":
        told, remedy = "the file has transparency, which ControlNets do not see", "lay it over black and save it as RGB"
        return Fault("transparent", told, remedy, brought.pixels)
    if brought.mode == "P" and brought.kind.condition != "segmentation":
        told = "the file holds palette indices; tools that read it as grey see the indices, not the colours"
        return Fault("palette", told, "save it as RGB", brought.pixels)
    return None


def _sized(brought: Brought) -> Fault | None:
    height, width = brought.pixels.shape[-2:]
    if brought.size is None or brought.size == (width, height):
        return None
    wanted = brought.size
    told = f"the map is {width}×{height}, its picture {wanted[0]}×{wanted[1]}"
    if abs(width * wanted[1] - height * wanted[0]) > max(width, height, *wanted):
        return Fault("size", f"{told}: another shape, so it cannot lie over it", "make the map from this very picture")
    resized = images.resize(brought.pixels[None], wanted, brought.kind.meaning.reduction)[0]
    return Fault("size", told, "bring it to the picture's size", resized)


# Lines: thin and white on black.

MOSTLY = 0.5
"""A map of lines that is brighter than this on average is ink on paper."""


def _inverted_lines(brought: Brought) -> Fault | None:
    if float(brought.grey.mean()) <= MOSTLY:
        return None
    told = (
        f"{brought.grey.mean():.0%} of the map is bright: dark lines on a light ground, where white on black is meant"
    )
    return Fault("inverted", told, "invert it", 1 - brought.pixels)


def _soft_lines(brought: Brought) -> Fault | None:
    if not brought.kind.meaning.binary:
        return None
    grey = brought.grey
    between = float(((grey > 0.1) & (grey < 0.9)).sum() / max(1, (grey >= 0.1).sum()))
    if between < 0.1:
        return None
    told = f"{between:.0%} of the marked pixels are neither black nor white: smoothed, resized or saved as JPEG"
    return Fault("soft", told, "round every pixel to black or white", (brought.pixels > 0.5).to(brought.pixels))


# Depth: near is white.

FEW_LEVELS = 40
"""A depth map with fewer different values has steps where surfaces are smooth."""
UPSIDE_DOWN = -0.25
"""Correlation of nearness with the row, from the top down, below which what is above would be the nearest."""


def _inverted_depth(brought: Brought) -> Fault | None:
    grey = brought.grey
    rows = np.broadcast_to(np.arange(grey.shape[0])[:, None], grey.shape)
    if grey.std() < 1e-3 or np.corrcoef(rows.ravel(), grey.ravel())[0, 1] > UPSIDE_DOWN:
        return None
    told = "what is above is brighter than what is below, as if the far were white; near is meant to be white"
    return Fault(
        "inverted", told, "invert it, unless the picture truly looks at something overhead", 1 - brought.pixels
    )


def _posterised(brought: Brought) -> Fault | None:
    levels = len(np.unique((brought.grey * 65535).round()))
    if levels >= FEW_LEVELS or levels < 2:
        return None
    told = f"only {levels} different depths: surfaces become stairs"
    return Fault("posterised", told, "make it again with 8 or 16 bits, or use it as depth_layers")


# Normals: blue towards the viewer, green up, red to the left.


def _swapped_normals(brought: Brought) -> Fault | None:
    red, _, blue = brought.values.reshape(-1, 3).T
    if blue.mean() >= red.mean() or (red < 0.45).mean() > (blue < 0.45).mean():
        return None
    told = "red is where blue should be: hardly anything faces the viewer (blue), as in maps saved by OpenCV"
    return Fault("bgr", told, "exchange red and blue", brought.pixels.flip(0))


def _downwards(brought: Brought) -> Fault | None:
    green = brought.values[..., 1] - 0.5
    rows = np.linspace(-1, 1, green.shape[0])[:, None]
    faces = np.abs(green) > 0.25
    if faces.mean() < 0.02 or float((green * rows)[faces].mean()) > -0.02:
        return None
    told = "green is down: floors face downwards and ceilings upwards, as in DirectX maps; green up is meant"
    return Fault("green flipped", told, "invert green", _inverted_channel(brought.pixels, 1))


def _mirrored(brought: Brought) -> Fault | None:
    upright = _downwards(brought)
    values = (upright.repaired if upright and upright.repaired is not None else brought.pixels).double().numpy()
    as_is, turned = (_curl(sign * (2 * values[0] - 1), 2 * values[1] - 1, 2 * values[2] - 1) for sign in (-1, 1))
    walls = _enclosing(values[0] - 0.5)
    if not (turned < 0.7 * as_is or (walls < 0 and not as_is < 0.7 * turned)):
        return None
    told = "red is mirrored: round things and walls do not fit together, as in OpenGL maps; red faces left here"
    return Fault("red flipped", told, "invert red", _inverted_channel(brought.pixels, 0))


def _curl(right: Values, up: Values, front: Values) -> float:
    """How far normals are from being those of a surface: the mean |∂p/∂y - ∂q/∂x| of its slopes where it is smooth."""
    seen = front > 0.2
    across, down = (np.where(seen, side / np.maximum(front, 0.2), 0.0) for side in (-right, up))
    slopes = [cv2.GaussianBlur(each, (0, 0), 1.0) for each in (across, down)]
    twist = np.gradient(slopes[0], axis=0) - np.gradient(slopes[1], axis=1)
    change = sum(np.abs(np.gradient(each, axis=axis)) for each in slopes for axis in (0, 1))
    smooth = seen & (change < 0.5) & (change > 0.01)
    return float(np.abs(twist[smooth]).mean()) if smooth.sum() > 50 else 0.0


def _enclosing(red: Values) -> float:
    """Which way the sides of the picture face: above 0 if inwards, as walls do, when red - 1/2 is to the left; or 0."""
    reach = max(1, red.shape[1] // 10)
    left, right = red[:, :reach], red[:, -reach:]
    facing = [float(np.where(np.abs(side) > 0.25, side, 0.0).mean()) for side in (left, right)]
    inwards = facing[1] - facing[0]
    return inwards if abs(inwards) > 0.02 else 0.0


def _inverted_channel(pixels: Tensor, channel: int) -> Tensor:
    changed = pixels.clone()
    changed[channel] = 1 - changed[channel]
    return changed


# Label maps: flat colours.

MANY = 16
"""Colours without any area, from which on a label map is taken for a blended one; true slivers are fewer."""


def _blended(brought: Brought) -> Fault | None:
    pixels = (brought.values * 255).round().astype(np.uint32).reshape(-1, 3)
    packed, where, counts = np.unique(
        pixels @ np.array([65536, 256, 1], np.uint32), return_inverse=True, return_counts=True
    )
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1)
    labels = where.reshape(brought.grey.shape).astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    inside = cv2.erode(labels, square) == cv2.dilate(labels, square)  # blends are lines one or two pixels wide
    flat = np.bincount(where.ravel()[inside.ravel()], minlength=len(colours)) > 0
    share = float(counts[~flat].sum() / counts.sum())
    if not flat.any() or (~flat).sum() < MANY or share < 0.005:
        return None
    told = f"{(~flat).sum():,} colours of a few pixels each ({share:.1%} of the map): labels were blended in resizing"
    every, areas = (torch.from_numpy(each.astype(np.float32)) for each in (colours, colours[flat]))
    near = torch.cdist(every, areas).argmin(1)
    repaired = (areas / 255)[near[torch.from_numpy(where.ravel())]]
    repaired = repaired.T.reshape(brought.pixels.shape).contiguous()
    return Fault("blended", told, "give every pixel the nearest of the flat colours", repaired)


# Skeletons: OpenPose's colours.


def _foreign_colours(brought: Brought) -> Fault | None:
    drawn = brought.values[brought.values.max(-1) > 0.15] * 255
    if not len(drawn):
        return None
    known = torch.tensor(PALETTE, dtype=torch.float64)
    sample = torch.from_numpy(drawn[:: max(1, len(drawn) // 20_000)])
    strange = float((torch.cdist(sample, known).amin(1) > 40).double().mean())
    if strange < 0.25:
        return None
    told = (
        f"{strange:.0%} of the drawn pixels have colours that OpenPose does not use: a ControlNet cannot tell the limbs"
    )
    return Fault("colours", told, "draw it again from its keypoints: underdraw extract pose people.json")


LINES: tuple[Check, ...] = (_inverted_lines, _soft_lines)
ALWAYS: tuple[Check, ...] = (_empty, _stored, _sized)
BY_CONDITION: dict[str, tuple[Check, ...]] = {
    "depth": (_inverted_depth, _posterised),
    "depth_layers": (_inverted_depth,),
    "normal": (_swapped_normals, _downwards, _mirrored),
    "segmentation": (_blended,),
    "pose": (_foreign_colours,),
}


def checks(kind: type[Annotator]) -> tuple[Check, ...]:
    """What is looked for in maps of a kind: by its condition; of others, white lines on black as lines."""
    lines = LINES if kind.meaning.reduction == "max" and kind.meaning.channels == 1 else ()
    return (*ALWAYS, *BY_CONDITION.get(kind.condition, lines))
