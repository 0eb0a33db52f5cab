"""DWPose: bodies, hands and faces of people, by two networks that OpenCV itself runs."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators.keypoints import FACE, Person, Points
from underdraw.annotators.learned.fetching import provide
from underdraw.annotators.learned.networks import asks_for, open_once
from underdraw.annotators.learned.pose import NOWHERE, Posed, body_from_coco
from underdraw.annotators.learned.weights import Weights
from underdraw.annotators.protocol import Needs, annotator, knob
from underdraw.annotators.skeleton import STICK
from underdraw.errors import CheckpointError

__all__ = ["DwPose"]

Array = NDArray[np.float32]

FINDS, POINTS = "yolox_l.onnx", "dw-ll_ucoco_384.onnx"
PUBLISHED = {
    "large": Weights(
        "yzd-v/DWPose",
        "Apache-2.0",
        351,
        "1a7144101628d69ee7a3768d1ee3a094070dc388",
        (FINDS, POINTS),
        {
            FINDS: "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
            POINTS: "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
        },
    )
}
SQUARE = 640
"""Side in pixels of the picture in which YOLOX looks for people."""
GREY = 114
"""What fills the rest of it."""
STRIDES = (8, 16, 32)
WINDOW = (288, 384)
"""The (width, height) of the picture of one person in which RTMPose looks for points."""
MARGIN = 1.25
"""How much larger than a person's box that picture is."""
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
SPREAD = np.array([58.395, 57.12, 57.375], np.float32)
BINS = 2
"""Places a pixel between which RTMPose decides (SimCC)."""
SLICES = {"body": (0, 17), "face": (23, 91), "left_hand": (91, 112), "right_hand": (112, 133)}
"""Where COCO-WholeBody's 133 points have the parts; the feet are left out."""

_asking = threading.Lock()


@dataclass(frozen=True)
class _Pair:
    """Both networks, opened. OpenCV runs them on the processor, wherever the pictures are."""

    finds: Any
    points: Any

    def to(self, device: torch.device) -> "_Pair":
        """The same."""
        return self


def _open(folder: Path) -> _Pair:
    """Raises CheckpointError for files that OpenCV cannot read."""
    try:
        return _Pair(*(cv2.dnn.readNetFromONNX(str(folder / name)) for name in (FINDS, POINTS)))
    except cv2.error as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{folder} does not hold {FINDS} and {POINTS} ({reason}); get them again") from error


@annotator("dw_openpose_full", condition="pose", known_as={"dwpose": {}})
class DwPose(Posed):
    """Bodies, hands and faces by DWPose (Yang et al. 2023, arXiv 2307.15880) in the boxes of YOLOX (arXiv 2107.08430).

    Who stands or moves how, with gestures and looks. Surer than OpenPose, above all in hands; free for any use.
    """

    needs: ClassVar[Needs] = asks_for(PUBLISHED)
    models: ClassVar[Mapping[str, Weights]] = PUBLISHED

    body: bool = knob(True, help="draw bodies")
    hands: bool = knob(True, help="draw hands")
    face: bool = knob(True, help="draw faces")
    surety: float = knob(0.3, 0.01, 1, "people that are less sure are left out", usual=(0.3, 0.5))
    visibility: float = knob(0.3, 0, 1, "points that are less sure are left out", usual=(0.2, 0.4))
    crowd: int = knob(20, 1, 100, "at most that many people, the surest ones")
    stick: int = knob(STICK, 1, 32, "half the width of a limb, in pixels")

    def people(self, picture: Tensor) -> tuple[Person, ...]:
        """Who is in a picture 1×3×H×W; points in its pixels."""
        weights = self.models["large"]
        pair = open_once(_open, provide(weights, self.kind), torch.device("cpu"), weights)
        pixels = images.to_uint8(picture[0])
        boxes = _boxes(pair.finds, pixels, self.surety)[: self.crowd]
        return tuple(self._person(_whole(pair.points, pixels, box)) for box in boxes)

    def _person(self, points: Array) -> Person:
        """One person of COCO-WholeBody's points 133×3 (x, y, confidence)."""
        parts: dict[str, Points] = {
            name: tuple(
                (float(x), float(y), min(float(seen), 1.0)) if seen > self.visibility else NOWHERE
                for x, y, seen in points[first:last]
            )
            for name, (first, last) in SLICES.items()
        }
        return Person(
            body_from_coco(parts["body"]) if self.body else (),
            parts["left_hand"] if self.hands else (),
            parts["right_hand"] if self.hands else (),
            (*parts["face"], *[NOWHERE] * (FACE - len(parts["face"]))) if self.face else (),
        )


def _boxes(network: Any, pixels: NDArray[np.uint8], surety: float) -> list[Array]:
    """Boxes (left, top, width, height) in pixels of the people in H×W×3 RGB bytes, the surest first."""
    height, width = pixels.shape[:2]
    scale = min(SQUARE / height, SQUARE / width)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    seen = np.full((SQUARE, SQUARE, 3), GREY, np.uint8)
    seen[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    (said,) = _asked(network, seen[..., ::-1].transpose(2, 0, 1)[None], [(1, 8400, 85)])
    rows, places, steps = said[0], *_grid()
    across = np.exp(np.clip(rows[:, 2:4], None, 10)) * steps
    corners = (rows[:, :2] + places) * steps - across / 2
    boxes = np.concatenate([corners, across], 1) / scale
    scores = rows[:, 4] * rows[:, 5]  # that there is something, and that it is a person
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), surety, 0.45)
    return [boxes[place] for place in np.array(kept, int).flatten() if boxes[place][2:].min() >= 2]


def _grid() -> tuple[Array, Array]:
    """Of each of YOLOX's rows: its cell (x, y) and the cell's side in pixels, N×2 and N×1."""
    places, steps = [], []
    for stride in STRIDES:
        down, across = np.mgrid[: SQUARE // stride, : SQUARE // stride]
        places.append(np.stack([across, down], -1).reshape(-1, 2))
        steps.append(np.full((len(places[-1]), 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(steps).astype(np.float32)


def _whole(network: Any, pixels: NDArray[np.uint8], box: Array) -> Array:
    """COCO-WholeBody's points 133×3 (x, y in pixels, confidence) of the person in a box of H×W×3 RGB bytes."""
    left, top, across, down = box
    side = max(across / WINDOW[0], down / WINDOW[1]) * MARGIN
    corner = np.array([left + across / 2 - side * WINDOW[0] / 2, top + down / 2 - side * WINDOW[1] / 2], np.float32)
    moved = np.array([[1 / side, 0, -corner[0] / side], [0, 1 / side, -corner[1] / side]], np.float32)
    seen = cv2.warpAffine(pixels, moved, WINDOW, flags=cv2.INTER_LINEAR)
    given = ((seen - MEAN) / SPREAD).transpose(2, 0, 1)[None]
    shapes = [(1, 133, WINDOW[0] * BINS), (1, 133, WINDOW[1] * BINS)]
    columns, rows = (found[0] for found in _asked(network, given, shapes))
    spots = np.stack([columns.argmax(1), rows.argmax(1)], 1) / BINS
    sure = np.minimum(columns.max(1), rows.max(1))
    return np.concatenate([spots * side + corner, sure[:, None]], 1).astype(np.float32)


def _asked(network: Any, given: NDArray[Any], shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The network's outputs, ordered by their shapes. Raises CheckpointError where they have others."""
    try:
        with _asking:  # a network holds its input
            network.setInput(np.ascontiguousarray(given, np.float32))
            said = network.forward(network.getUnconnectedOutLayersNames())
    except cv2.error as error:
        raise CheckpointError(f"DWPose's networks cannot be run ({str(error).strip().splitlines()[0]})") from error
    by_shape = {np.shape(found): found for found in said}
    if sorted(by_shape) != sorted(shapes):
        raise CheckpointError(f"DWPose's networks say {sorted(by_shape)}, not {sorted(shapes)}; get their own files")
    return [by_shape[shape] for shape in shapes]
