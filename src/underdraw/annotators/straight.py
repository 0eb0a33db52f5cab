"""Straight lines: walls, furniture, windows, streets."""

from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators.boundaries import boundaries
from underdraw.annotators.contours import Field, blurred
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob

__all__ = ["Lines"]

Segments = NDArray[np.float64]
"""N×4: x, y of one end and of the other, in pixels."""

CONTRAST = (0.7, 3.0, 3.0)
"""Of lightness and of the two colour axes before segments are looked for: colour differs less, and says more."""
QUANTISATION = 3.0
"""Error of the gradient that LSD reckons with, in grey levels: its usual 2 lets noise through."""
FRAGMENT = 0.03
"""Fragments shorter than this share of the shorter side are not even merged."""
BENT = 8.0
"""Degrees by which the edge under a fragment may turn from one half to the other: more is a curve's chord."""
OFF, TURNED = 0.004, 5.0
"""How far (in shorter sides) and by how many degrees collinear fragments may be apart across their direction."""
NEAR, FAR, ALIKE = 0.012, 0.08, 10.0
"""Distances (in shorter sides) between which a line has neighbours, and the degrees by which they may be turned."""
CROWDED = 0.1
"""How much less a line counts for each neighbour as long as itself: tiles and stripes are texture."""


@annotator("lines")
class Lines(Annotator):
    """White straight segments one pixel wide on black, drawn as M-LSD's are.

    lsd: line segments of lightness and both colour axes (Grompone von Gioi, Jakubowicz, Morel, Randall 2012, "LSD: a
    line segment detector"). hough: the probabilistic Hough transform of Canny's edges. Of either, chords of curves are
    dropped, collinear fragments are merged, and those stay that are long enough and lie on a boundary strong enough for
    the company they keep, so that floorboards, bricks and stripes do not hide the room.

    Keeps perspective, walls and furniture; people and plants are left free. For rooms, buildings and streets.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="white lines on black", reduction="max", binary=True)

    method: str = knob("lsd", help="what finds the segments", choices=("lsd", "hough"))
    length: float = knob(5.0, 1, 50, "shortest line, in % of the shorter side", usual=(3.0, 9.0))
    gap: float = knob(
        1.0, 0, 20, "collinear fragments so near are one line, in % of the shorter side", usual=(0.5, 3.0)
    )
    strength: float = knob(0.18, 0, 1, "least strength of the boundary that it lies on", usual=(0.12, 0.25))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×1×H×W of 0 and 1."""
        return torch.stack([self._drawn(picture) for picture in pictures]).to(pictures.device)

    def segments(self, picture: Tensor) -> Segments:
        """The lines N×4 of one picture 3×H×W in [0, 1]."""
        side = float(min(picture.shape[-2:]))
        pixels = images.to_uint8(picture)
        found = _lsd(pixels) if self.method == "lsd" else _hough(pixels, self.gap / 100 * side)
        found = found[(_lengths(found) >= FRAGMENT * side) & (_bends(found, pixels) <= BENT)]
        strength = _strengths(found, boundaries(picture))
        found, strength = found[strength >= self.strength / 2], strength[strength >= self.strength / 2]
        joined, strength = _merged(found, strength, OFF * side, self.gap / 100 * side)
        alone = strength / (1 + CROWDED * _neighbours(joined, side))
        return joined[(alone >= self.strength) & (_lengths(joined) >= self.length / 100 * side)]

    def _drawn(self, picture: Tensor) -> Tensor:
        page = np.zeros(picture.shape[-2:], np.uint8)
        for start_x, start_y, end_x, end_y in self.segments(picture).astype(int).tolist():
            cv2.line(page, (start_x, start_y), (end_x, end_y), 1, 1)
        return torch.from_numpy(page)[None].float()


def _lsd(pixels: NDArray[np.uint8]) -> Segments:
    """Segments of lightness and both colour axes of H×W×3 bytes."""
    axes = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB))
    detector = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD, quant=QUANTISATION)
    found = [_listed(detector.detect(_stretched(axis, by))[0]) for axis, by in zip(axes, CONTRAST, strict=True)]
    return np.concatenate(found)


def _stretched(axis: NDArray[np.uint8], by: float) -> NDArray[np.uint8]:
    result: NDArray[np.uint8] = ((axis.astype(np.float32) - 128) * by + 128).clip(0, 255).astype(np.uint8)
    return result


def _hough(pixels: NDArray[np.uint8], gap: float) -> Segments:
    """Segments of the probabilistic Hough transform over Canny's edges of H×W×3 bytes; it has a seed of its own."""
    side = min(pixels.shape[:2])
    edges = cv2.Canny(cv2.GaussianBlur(pixels, (0, 0), 1.0), 60, 150)
    return _listed(cv2.HoughLinesP(edges, 1, np.pi / 360, max(8, side // 16), None, FRAGMENT * side, gap))


def _listed(found: NDArray[np.float32] | None) -> Segments:
    """OpenCV gives N×1×4, N×4, or None where there is nothing."""
    return np.zeros((0, 4)) if found is None else np.asarray(found, np.float64).reshape(-1, 4)


def _lengths(segments: Segments) -> NDArray[np.float64]:
    return np.hypot(segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1])


def _strengths(segments: Segments, field: Field) -> NDArray[np.float64]:
    """The field's mean along each segment; a pixel beside it will do."""
    return np.asarray(_under(segments, cv2.dilate(field, np.ones((3, 3), np.uint8))).mean(1))


def _bends(segments: Segments, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """By how many degrees the edges of H×W×3 bytes under each segment turn from its first half to its second.

    Directions are averaged doubled, as those of a structure tensor, so that opposite gradients agree.
    """
    across, down = (cv2.Scharr(pixels, cv2.CV_32F, *order, scale=1 / 32) for order in ((1, 0), (0, 1)))
    doubled = (across**2 - down**2).sum(2), (2 * across * down).sum(2)
    cosine, sine = (_under(segments, blurred(each, 1.5)) for each in doubled)
    early, late = (np.arctan2(sine[:, half].sum(1), cosine[:, half].sum(1)) for half in (slice(0, 8), slice(8, 16)))
    return np.asarray(np.degrees(np.abs(np.angle(np.exp(1j * (early - late)))) / 2))


def _under(segments: Segments, field: Field) -> NDArray[np.float64]:
    """A field at 16 points along each segment: N×16."""
    if not len(segments):
        return np.zeros((0, 16))
    share = np.linspace(0.05, 0.95, 16)[None]
    x, y = (segments[:, i, None] * (1 - share) + segments[:, i + 2, None] * share for i in (0, 1))
    there = cv2.remap(field, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    return np.asarray(there, np.float64)


def _merged(
    segments: Segments, strengths: NDArray[np.float64], off: float, gap: float
) -> tuple[Segments, NDArray[np.float64]]:
    """Collinear fragments as one, longest first, with the mean strength of their parts by length.

    The longest fragment is the ruler: those lie along it that are turned less than TURNED, at most `off` (and a pixel)
    pixels aside of it and at most `gap` from what has been taken so far.
    """
    order = np.argsort(-_lengths(segments), kind="stable")
    segments, strengths, lengths = segments[order], strengths[order], _lengths(segments)[order]
    ways = (segments[:, 2:] - segments[:, :2]) / lengths[:, None]
    free = np.ones(len(segments), bool)
    lines, weights = [], []
    for index in range(len(segments)):
        if not free[index]:
            continue
        origin, way = segments[index, :2], ways[index]
        ends = np.stack([segments[:, :2] - origin, segments[:, 2:] - origin])
        along, aside = ends @ way, np.abs(ends @ np.array([-way[1], way[0]])).max(0)
        near = free & (aside <= max(1.0, off)) & (np.abs(ways @ way) > np.cos(np.radians(TURNED)))
        taken, low, high = _reach(near, along.min(0), along.max(0), index, gap)
        free &= ~taken
        lines.append(np.concatenate([origin + low * way, origin + high * way]))
        weights.append(np.average(strengths[taken], weights=lengths[taken]))
    return np.array(lines).reshape(-1, 4), np.array(weights)


def _reach(
    near: NDArray[np.bool_], low: NDArray[np.float64], high: NDArray[np.float64], first: int, gap: float
) -> tuple[NDArray[np.bool_], float, float]:
    """Which intervals hang together with the first one, with gaps up to `gap`, and from where to where they go."""
    taken = np.zeros(len(near), bool)
    taken[first] = True
    while True:
        start, end = float(low[taken].min()), float(high[taken].max())
        more = near & (low <= end + gap) & (high >= start - gap) | taken
        if (more == taken).all():
            return taken, start, end
        taken = more


def _neighbours(segments: Segments, side: float) -> NDArray[np.float64]:
    """How many others run beside each, as long as itself or counted in proportion."""
    if not len(segments):
        return np.zeros(0)
    lengths = _lengths(segments)
    ways = (segments[:, 2:] - segments[:, :2]) / lengths[:, None]
    middles = (segments[:, :2] + segments[:, 2:]) / 2
    apart = middles[None] - middles[:, None]
    along = np.abs((apart * ways[:, None]).sum(2))
    aside = np.abs(apart[..., 1] * ways[:, None, 0] - apart[..., 0] * ways[:, None, 1])
    beside = (aside > NEAR * side) & (aside < FAR * side) & (along < (lengths[:, None] + lengths) / 2)
    parallel = np.abs(ways @ ways.T) > np.cos(np.radians(ALIKE))
    share = np.minimum(lengths / lengths[:, None], 1)
    return np.asarray((share * (beside & parallel)).sum(1))
