"""Regions of a picture: areas of one colour, or superpixels; the colours that dominate it."""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label
from skimage.segmentation import slic

__all__ = ["colour_regions", "connected", "dominant", "lab", "nearest_colour", "spread", "superpixels"]

Pixels = NDArray[np.uint8]
"""H×W×3 RGB bytes."""
Regions = NDArray[np.int64]
"""H×W: to which region a pixel belongs, counted from 0, the largest first."""
SAMPLES = 96
"""Pixels along each side of the grid from which dominant colours are learned."""


def lab(pixels: Pixels) -> NDArray[np.float32]:
    """CIE L*a*b* of RGB bytes …×3: lightness from 0 to 100; distances are about how different colours look."""
    found: NDArray[np.float32] = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return found


def colour_regions(pixels: Pixels, colours: int, smallest: float) -> Regions:
    """Connected areas of each of the dominant colours; areas under `smallest` (a share of the picture) join others."""
    smooth = lab(cv2.bilateralFilter(pixels, 7, 40, 5))
    return connected(nearest_colour(smooth, dominant(smooth, colours)), smallest)


def superpixels(pixels: Pixels, count: int) -> Regions:
    """About `count` compact patches of one colour each (SLIC, Achanta et al. 2012)."""
    patches = slic(lab(pixels), count, compactness=0.15, max_num_iter=5, convert2lab=False, start_label=0)
    return _settled(patches.astype(np.int64), 0)


def connected(labels: NDArray[np.int64], smallest: float) -> Regions:
    """Each connected area of one label as a region; areas under `smallest` (a share) go to their nearest neighbours."""
    return _settled(label(labels, background=-1, connectivity=1).astype(np.int64) - 1, smallest)


def _settled(regions: NDArray[np.int64], smallest: float) -> Regions:
    """Specks given to the nearest region that is large enough, and the rest numbered by size."""
    sizes = np.bincount(regions.ravel())
    large = sizes >= min(smallest * regions.size, sizes.max())
    kept = spread(regions, large[regions])
    order = np.argsort(-np.bincount(kept.ravel(), minlength=len(sizes)), kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return number[kept]


def spread(values: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """H×W with the value of the nearest known pixel where a value is not known; at least one must be."""
    if known.all():
        return values
    unknown = (~known).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros(nearest.max() + 1, np.int64)
    table[nearest[known]] = values[known]
    spread_out: NDArray[np.int64] = table[nearest]
    return spread_out


def nearest_colour(colours: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.int64]:
    """H×W: which of the colours K×3 each of H×W×3 is nearest to."""
    flat = colours.reshape(-1, 3)
    distance = (among**2).sum(1) - 2 * flat @ among.T
    best: NDArray[np.int64] = distance.argmin(1).reshape(colours.shape[:2])
    return best


def dominant(colours: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The K ≤ `count` colours K×3 that stand best for the colours H×W×3, the commonest first.

    k-means (Lloyd) on a grid of pixels, begun by halving the most varied group again and again: no chance in it.
    """
    rows, columns = (np.linspace(0, side - 1, min(side, SAMPLES)).round().astype(int) for side in colours.shape[:2])
    samples = np.ascontiguousarray(colours[rows][:, columns].reshape(-1, 3))
    groups = _halved(samples, count)
    stop = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 20, 0.1)
    flag = cv2.KMEANS_USE_INITIAL_LABELS
    _, groups, centres = cv2.kmeans(samples, int(groups.max()) + 1, groups, stop, 1, flag)
    sizes = np.bincount(groups.ravel(), minlength=len(centres))
    found: NDArray[np.float32] = centres[np.argsort(-sizes, kind="stable")]
    return found


def _halved(samples: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """A group from 0 to count - 1 for each of the colours N×3; fewer groups where there are fewer colours."""
    groups = np.zeros(len(samples), np.int32)
    spans = [_span(samples)]
    while len(spans) < count:
        widest = int(np.argmax([span.max() for span in spans]))
        members = np.flatnonzero(groups == widest)
        values = samples[members, int(spans[widest].argmax())]
        upper = members[values > values.mean()]
        if spans[widest].max() < 1e-3 * len(members) or not len(upper):
            break
        groups[upper] = len(spans)
        spans[widest] = _span(samples[groups == widest])
        spans.append(_span(samples[upper]))
    return groups


def _span(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """How varied N×3 colours are in each channel, all of them together."""
    varied: NDArray[np.float32] = samples.var(0) * len(samples)
    return varied
