"""MediaPipe's networks: the files of its wheel, checked, and run by LiteRT."""

import threading
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from underdraw.annotators.learned.weights import digest
from underdraw.errors import CheckpointError, MissingExtra
from underdraw.files import models_folder

__all__ = ["EXTRA", "FILES", "PACKAGE", "WHEEL", "Floats", "Network", "folder", "network"]

Floats = NDArray[np.float32]

EXTRA = "mediapipe"
PACKAGE = "ai_edge_litert"
WHEEL = "mediapipe==0.10.21"
"""The wheel (Apache-2.0) that carries the files, under mediapipe/modules/."""
FILES = {
    "pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "face_detection_full_range_sparse.tflite": "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    "face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    "iris_landmark.tflite": "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
    "hand_recrop.tflite": "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    "hand_landmark_full.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
}
"""The files that are used, by their SHA-256."""


class Network:
    """One file, opened: a picture in, tensors out. Threads take turns."""

    def __init__(self, path: Path) -> None:
        runtime: Any = import_module(f"{PACKAGE}.interpreter")
        self._interpreter = runtime.Interpreter(str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        entry = self._interpreter.get_input_details()[0]
        self._input = entry["index"]
        self._outputs = [entry["index"] for entry in self._interpreter.get_output_details()]
        self._turn = threading.Lock()
        self.size = int(entry["shape"][1])
        """The side of the square that it looks at, in pixels."""

    def __call__(self, square: Floats) -> list[Floats]:
        """size×size×3 in the range that the network wants → its outputs without their batch axis."""
        with self._turn:
            self._interpreter.set_tensor(self._input, square[None])
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index)[0].copy() for index in self._outputs]


def folder() -> Path:
    """Where the files are looked for: `mediapipe` in the store of weights."""
    return models_folder() / "mediapipe"


def network(name: str) -> Network:
    """One of `FILES`, opened once a process. Raises MissingExtra, or CheckpointError for a missing or other file."""
    if find_spec(PACKAGE) is None:
        raise MissingExtra("ai-edge-litert", EXTRA)
    path = folder() / name
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing; run: pip download {WHEEL} --no-deps, unzip it, and put "
            f"mediapipe/modules/*/{name} there (Apache-2.0)"
        )
    return _open(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2 * len(FILES))
def _open(path: Path, _changed: int) -> Network:
    if digest(path) != FILES[path.name]:
        raise CheckpointError(f"{path} is not the file of {WHEEL}; take it from that wheel again")
    return Network(path)
