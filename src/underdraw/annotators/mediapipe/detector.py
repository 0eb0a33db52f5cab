"""MediaPipe's detectors: single-shot networks that say at each anchor whether something is there, and where."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from underdraw.annotators.mediapipe.models import Floats, network
from underdraw.annotators.mediapipe.squares import Photograph, Spots, Square

__all__ = ["FACES", "PEOPLE", "Detection", "Detector", "sigmoid"]

Doubles = NDArray[np.float64]
SAME = 0.3
"""Boxes that share more than this of their union are one thing."""


@dataclass(frozen=True, eq=False)
class Detection:
    """Something that was found: how sure that is, in [0, 1], the first and last corner of its box 2×2, and its points
    N×2, in pixels of the photograph.
    """

    score: float
    corners: Spots
    spots: Spots


@dataclass(frozen=True)
class Detector:
    """A detector's file and how its anchors lie: the strides of its layers in pixels, and anchors a cell and layer."""

    name: str
    strides: tuple[int, ...]
    anchors: int

    def __call__(self, photograph: Photograph, square: Square, least: float) -> Iterator[Detection]:
        """What is in a square with a score of at least that, the surest first; one thing is found once."""
        net = network(self.name)
        outputs = net(np.float32(2) * photograph.cut(square, net.size, cv2.BORDER_CONSTANT) - np.float32(1))
        raw, logits = sorted(outputs, key=lambda each: -each.shape[1])
        scores = sigmoid(logits[:, 0])
        sure = scores >= least
        grid = _anchors(net.size, self.strides, self.anchors)[sure]
        values = raw[sure].astype(np.float64) / net.size
        spots = values.reshape(len(values), values.shape[1] // 2, 2) + grid[:, None]
        half = values[:, None, 2:4] / 2
        found = np.concatenate([spots[:, :1] - half, spots[:, :1] + half, spots[:, 2:]], 1)
        for score, merged in _merged(found, scores[sure]):
            placed = square.place(merged)
            yield Detection(score, placed[:2], placed[2:])


PEOPLE = Detector("pose_detection.tflite", (8, 16, 32, 32, 32), 2)
"""People by the middle of their hips (point 0) and a point on the circle that holds them (1)."""
FACES = Detector("face_detection_full_range_sparse.tflite", (4,), 1)
"""Faces by right eye, left eye, nose, mouth, right ear, left ear."""


def sigmoid(values: Floats) -> Doubles:
    """1 / (1 + e^-x)."""
    result: Doubles = 1 / (1 + np.exp(-np.clip(values.astype(np.float64), -80, 80)))
    return result


@cache
def _anchors(size: int, strides: tuple[int, ...], each: int) -> Doubles:
    """The middles N×2 of all anchors in shares of the square: row by row, layers of one stride together."""
    grids = []
    for stride, layers in groupby(strides):
        cells = size // stride
        axis = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        grids.append(np.repeat(grid, each * len(list(layers)), 0))
    return np.concatenate(grids)


def _merged(found: Doubles, scores: Doubles) -> Iterator[tuple[float, Spots]]:
    """Things with the score of their best box and the means of all their boxes' points, weighted by score.

    found: B×N×2, of which the first two points are corners.
    """
    left = np.argsort(-scores, kind="stable")
    while len(left):
        same = _overlap(found[left[0], :2], found[left, :2]) > SAME
        same[0] = True
        group = left[same]
        yield float(scores[group[0]]), np.average(found[group], 0, scores[group])
        left = left[~same]


def _overlap(box: Doubles, boxes: Doubles) -> Doubles:
    """Intersection over union of a box 2×2 with others N×2×2."""
    low, high = np.maximum(box[0], boxes[:, 0]), np.minimum(box[1], boxes[:, 1])
    shared = np.clip(high - low, 0, None).prod(1)
    union = (box[1] - box[0]).prod() + (boxes[:, 1] - boxes[:, 0]).prod(1) - shared
    result: Doubles = shared / np.maximum(union, 1e-12)
    return result
