"""Does a map lie over its picture? Their outlines (or, for blurred maps, their brightness) are laid over each other.

The score of a pair is the correlation of what stands out in both; how much that is worth is told by the scores of the
same maps over other pictures of the set. So nothing here knows what a kind of map shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from torch import Tensor

from underdraw import images

__all__ = ["SIDE", "Fit", "Outline", "Verdict", "fit", "judge", "outline"]

Plane = NDArray[np.float32]
SIDE = 128
"""Pictures and maps are compared at this size; half of it where pictures are smaller."""
REACH = 6
"""A shift is looked for up to this share of the side (one sixth)."""
WAYS = ("edges", "brightness")
FEWEST = 6
"""Maps of a kind below which nothing is told."""
CLOSE = 1
"""Pixels by which a map may be off without being told."""
USUAL = 0.6
"""Share of the maps of a kind that must fit their own picture best, else nothing can be told of the others."""
CHANCE = (1.8, 2.6)
"""Between so many standard deviations lies the score below which a map fits its picture no better than another's."""
SURE = 3.5
"""Above so many, a map fits a place or a picture surely: the best of many shifts reaches three by chance."""
GAIN = {"edges": 1.2, "brightness": 0.15}
"""By so many must a shifted or flipped map fit better. Brightness changes slowly over a shift, but surely."""
TRUSTED = 0.97
"""Share of the scores over other pictures, from the lowest, that is taken for chance: some maps were exchanged."""
TURNS = {"mirrored": (1,), "upside down": (0,), "turned by 180°": (0, 1)}
"""What people do to maps by mistake: the axes that are flipped."""


@dataclass(frozen=True, eq=False)
class Outline:
    """What stands out in a picture or map: the planes that are compared, by way of comparing."""

    planes: Mapping[str, NDArray[np.float32]]

    @cached_property
    def waves(self) -> Mapping[str, NDArray[np.complex64]]:
        """The Fourier transforms of the planes: a product of two is a correlation at every shift at once."""
        return {way: rfft2(each) for way, each in self.planes.items()}

    def turned(self, axes: tuple[int, ...]) -> "Outline":
        """Of the picture flipped along these axes (0 is down, 1 across)."""
        places = tuple(axis + 1 for axis in axes)
        return Outline({way: np.ascontiguousarray(np.flip(each, places)) for way, each in self.planes.items()})


@dataclass(frozen=True)
class Fit:
    """How a map fits, by way of comparing ("edges" or "brightness"). own: over its picture. others: over other ones, by
    their names. turns: when it is flipped. shift: where it fits best, in shares of the (width, height), and how well.
    """

    own: Mapping[str, float]
    others: Mapping[str, Mapping[str, float]]
    turns: Mapping[str, Mapping[str, float]]
    shift: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a pair. name: shifted, mirrored, upside down, turned by 180°, or another's. told: in words."""

    name: str
    told: str


def outline(picture: Tensor, is_map: bool, side: int = SIDE) -> Outline:
    """The outline of a picture or map 1×C×H×W in [0, 1], stretched to side × side."""
    pixels = images.resize(picture, (side, side))[0].permute(1, 2, 0).numpy() * 255
    pixels = np.ascontiguousarray(pixels, np.float32)
    strength = _strength(pixels, side)
    marked = (strength > np.quantile(strength, 0.93)) if is_map else _ranks(strength)
    grey = pixels.mean(-1)
    band = cv2.GaussianBlur(grey, (0, 0), side / 16) - cv2.GaussianBlur(grey, (0, 0), side / 4)
    edges = np.stack([_unit(np.minimum(strength, 4)), _unit(marked.astype(np.float32))]) / np.sqrt(2)
    return Outline({"edges": edges.astype(np.float32), "brightness": _unit(band)[None]})


def _strength(pixels: Plane, side: int) -> Plane:
    """Edges relative to those around them, so that strong ones in one place do not hide the others."""
    soft = cv2.GaussianBlur(pixels, (0, 0), 0.7)
    slopes = [cv2.Sobel(soft, cv2.CV_32F, across, 1 - across).reshape(*soft.shape[:2], -1) for across in (0, 1)]
    steep: Plane = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2).max(-1)
    around = cv2.GaussianBlur(steep, (0, 0), side / 10)
    return np.asarray(steep / (around + 0.02 * steep.max() + 1e-3), np.float32)


def _ranks(values: Plane) -> Plane:
    ranks: Plane = (values.ravel().argsort().argsort().reshape(values.shape) / values.size).astype(np.float32)
    return ranks


def _unit(values: Plane) -> Plane:
    """With mean 0 and length 1; all 0 where nothing stands out."""
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length if length > 1e-6 else np.zeros_like(centred), np.float32)


def fit(picture: Outline, map_: Outline, others: Mapping[str, Outline]) -> Fit:
    """How a map fits its picture, others of the set, and its picture when it is flipped or shifted."""
    own, away, turns, shift = {}, {}, {}, {}
    flipped = {name: map_.turned(axes) for name, axes in TURNS.items()}
    for way in WAYS:
        surface = _surface(picture, map_, way)
        own[way], shift[way] = _near(surface), _best(surface)
        away[way] = {name: _near(_surface(other, map_, way)) for name, other in others.items()}
        turns[way] = {name: _near(_surface(picture, each, way)) for name, each in flipped.items()}
    return Fit(own, away, turns, shift)


def _surface(picture: Outline, map_: Outline, way: str) -> Plane:
    """The correlation at every shift of the map up to the reach; no shift is in the middle."""
    product = (picture.waves[way] * np.conj(map_.waves[way])).sum(0)
    side = picture.planes[way].shape[-1]
    reach = side // REACH
    whole: Plane = irfft2(product, s=(side, side))
    return np.roll(whole, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]


def _near(surface: Plane) -> float:
    middle = len(surface) // 2
    return float(surface[middle - CLOSE : middle + CLOSE + 1, middle - CLOSE : middle + CLOSE + 1].max())


def _best(surface: Plane) -> tuple[float, float, float]:
    """The shift in shares of the picture that fits best, and its score."""
    middle = len(surface) // 2
    down, across = np.unravel_index(int(surface.argmax()), surface.shape)
    side = middle * REACH
    return (int(across) - middle) / side, (int(down) - middle) / side, float(surface.max())


def judge(fits: Sequence[Fit | None]) -> tuple[str, list[Verdict | None]]:
    """Of all maps of one kind: by what they were judged ("" where that tells nothing), and the verdicts."""
    known = [each for each in fits if each is not None and any(each.others.values())]
    clear = {way: _clear(known, way) for way in WAYS} if len(known) >= FEWEST else {}
    way = max(clear, key=lambda each: clear[each], default="")
    if not way or clear[way][0] < USUAL:
        return "", [None] * len(fits)
    scale = _scale(known, way)
    return way, [_verdict(each, scale) if each else None for each in fits]


@dataclass(frozen=True)
class _Scale:
    """What scores are worth: counted from `mean` in units of `spread`, those of pictures that have nothing to do with a
    map. low: below it, a score is chance. sure: above it, a map surely fits.
    """

    way: str
    mean: float
    spread: float
    low: float = 0.0
    sure: float = 0.0

    def of(self, score: float) -> float:
        return (score - self.mean) / self.spread


def _scale(fits: Sequence[Fit], way: str) -> _Scale:
    """low lies as many spreads above chance as it lies below the usual score, in the spreads of each."""
    chance = np.sort([score for each in fits for score in each.others[way].values()])
    chance = chance[: max(1, int(TRUSTED * len(chance)))]
    scale = _Scale(way, float(chance.mean()), float(chance.std()) + 1e-6)
    first, usual, third = np.quantile([scale.of(each.own[way]) for each in fits], (0.25, 0.5, 0.75))
    low = usual / (1 + (third - first) / 1.35)  # 1.35 standard deviations lie between the quartiles
    return replace(scale, low=float(np.clip(low, *CHANCE)), sure=float(min(SURE, 0.9 * usual)))


def _clear(fits: Sequence[Fit], way: str) -> tuple[float, float]:
    """The share of maps that fit their own picture better than any other, and by how much they usually do."""
    leads = [each.own[way] - max(each.others[way].values()) for each in fits]
    return round(float(np.mean([lead > 0 for lead in leads])), 2), float(np.median(leads))


def _verdict(each: Fit, scale: _Scale) -> Verdict | None:
    own, gain = scale.of(each.own[scale.way]), GAIN[scale.way]
    turn, turned = max(each.turns[scale.way].items(), key=lambda item: item[1])
    if scale.of(turned) > max(scale.low, own) + gain:
        return Verdict(turn, f"fits its picture when it is {turn}")
    across, down, best = each.shift[scale.way]
    if scale.of(best) > max(scale.sure, own + gain):
        return Verdict("shifted", f"lies {_where(across, down)} of where it belongs")
    if own >= scale.low:
        return None
    name, score = max(each.others[scale.way].items(), key=lambda item: item[1], default=("", scale.mean))
    better = f"; it fits {name}" if scale.of(score) > scale.sure else ""
    return Verdict("another's", "fits its picture no better than those of others" + better)


def _where(across: float, down: float) -> str:
    """The shift that would mend it is the opposite of where the map lies."""
    sides = [(across, "left", "right"), (down, "above", "below")]
    return ", ".join(f"{abs(each):.0%} {less if each > 0 else more}" for each, less, more in sides if each)
