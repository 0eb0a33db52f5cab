"""Small networks in ONNX files, written by hand: what DWPose's two networks take and give, and nothing in between.

The finder says the boxes that it was made with, whatever it sees. The pointer says where red, green and blue are
brightest: point k of 133 is looked for in colour k % 3.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COUNT, SIDE, WIDTH, HEIGHT = 8400, 640, 288, 384


def _number(value: int) -> bytes:
    """A whole number as protocol buffers write it: seven bits a byte."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _field(place: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _number(place << 3) + _number(value)
    data = value.encode() if isinstance(value, str) else value
    return _number(place << 3 | 2) + _number(len(data)) + data


def _tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    kind = 1 if values.dtype == np.float32 else 7
    shape = b"".join(_field(1, side) for side in values.shape)
    return _field(5, shape + _field(2, kind) + _field(8, name) + _field(9, values.tobytes()))


def _node(kind: str, given: Sequence[str], said: str, **attributes: Sequence[int]) -> bytes:
    ends = b"".join(_field(1, name) for name in given) + _field(2, said) + _field(3, said) + _field(4, kind)
    told = (
        _field(1, name) + b"".join(_field(8, value) for value in values) + _field(20, 7)
        for name, values in attributes.items()
    )
    return _field(1, ends + b"".join(_field(5, each) for each in told))


def _value(place: int, name: str, shape: Sequence[int]) -> bytes:
    sides = b"".join(_field(1, _field(1, side)) for side in shape)
    return _field(place, _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, sides))))


def _write(path: Path, *parts: bytes) -> None:
    graph = b"".join(parts) + _field(2, "small")
    path.write_bytes(_field(1, 8) + _field(8, _field(1, "") + _field(2, 13)) + _field(7, graph))


def write_finder(path: Path, boxes: Sequence[tuple[float, float, float, float, float]]) -> None:
    """boxes: (left, top, width, height, surety) of people, in pixels of the square that it sees."""
    rows = np.zeros((1, COUNT, 85), np.float32)
    for place, (left, top, width, height, surety) in enumerate(boxes):
        middle = np.array([left + width / 2, top + height / 2]) / 8
        rows[0, place, :2] = middle - [place % 80, place // 80]
        rows[0, place, 2:4] = np.log(np.array([width, height]) / 8)
        rows[0, place, 4:6] = surety, 1
    _write(
        path,
        _node("GlobalAveragePool", ["images"], "mean"),
        _node("Conv", ["mean", "nothing"], "none"),
        _node("Reshape", ["none", "row"], "flat"),
        _node("Add", ["flat", "rows"], "output"),
        _tensor("nothing", np.zeros((85, 3, 1, 1), np.float32)),
        _tensor("row", np.array([1, 1, 85], np.int64)),
        _tensor("rows", rows),
        _value(11, "images", (1, 3, SIDE, SIDE)),
        _value(12, "output", rows.shape),
    )


def write_pointer(path: Path) -> None:
    """Sums of its colour over a column, and over a row, less that of black; two places a pixel."""
    which = np.eye(3, dtype=np.float32)[np.arange(133) % 3]
    down = np.broadcast_to(which[:, :, None, None] / HEIGHT, (133, 3, HEIGHT, 1)).astype(np.float32)
    across = np.broadcast_to(which[:, :, None, None] / WIDTH, (133, 3, 1, WIDTH)).astype(np.float32)
    doubled = [np.repeat(np.eye(side, dtype=np.float32), 2, 1) * [[1, 0.5] * side] for side in (WIDTH, HEIGHT)]
    shift = np.full(133, 2.2, np.float32)  # black is -2.1 to -1.8
    _write(
        path,
        _node("Conv", ["input", "down", "shift"], "columns", kernel_shape=(HEIGHT, 1)),
        _node("Conv", ["input", "across", "shift"], "rows", kernel_shape=(1, WIDTH)),
        _node("Reshape", ["columns", "wide"], "flat_columns"),
        _node("Reshape", ["rows", "high"], "flat_rows"),
        _node("MatMul", ["flat_columns", "twice_wide"], "simcc_x"),
        _node("MatMul", ["flat_rows", "twice_high"], "simcc_y"),
        _tensor("down", down),
        _tensor("across", across),
        _tensor("shift", shift),
        _tensor("wide", np.array([1, 133, WIDTH], np.int64)),
        _tensor("high", np.array([1, 133, HEIGHT], np.int64)),
        _tensor("twice_wide", doubled[0].astype(np.float32)),
        _tensor("twice_high", doubled[1].astype(np.float32)),
        _value(11, "input", (1, 3, HEIGHT, WIDTH)),
        _value(12, "simcc_x", (1, 133, 2 * WIDTH)),
        _value(12, "simcc_y", (1, 133, 2 * HEIGHT)),
    )
