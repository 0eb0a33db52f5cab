"""Pictures for the tests of preparation: each is unlike the others, and its maps are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
LABELS = ((0, 0, 0), (120, 120, 120), (180, 120, 120), (6, 230, 230), (80, 50, 50), (4, 200, 3))


def blocks(seed: int, width: int = 96, height: int = 96) -> Pixels:
    """H×W×3: a coloured gradient with ten rectangles."""
    rng = np.random.default_rng(seed)
    across, down = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    first, second, third = rng.uniform(0, 255, (3, 3))
    pixels = (first + (second - first) * across + (third - first) * down / 2).clip(0, 255)
    for _ in range(10):
        left, top = rng.integers(0, width * 3 // 4), rng.integers(0, height * 3 // 4)
        right, bottom = left + rng.integers(width // 8, width // 2), top + rng.integers(height // 8, height // 2)
        pixels[top:bottom, left:right] = rng.uniform(0, 255, 3)
    whole: Pixels = pixels.astype(np.uint8)
    return whole


def labels(seed: int, width: int = 96, height: int = 96) -> Pixels:
    """H×W×3 of six colours only, in stripes and rectangles of odd widths."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((height, width), np.int64)
    for _ in range(12):
        left, top = rng.integers(0, width - 3), rng.integers(0, height - 3)
        ids[top : top + rng.integers(1, height // 2), left : left + rng.integers(1, width // 2)] = rng.integers(0, 6)
    painted: Pixels = np.array(LABELS, np.uint8)[ids]
    return painted


def save(pixels: Pixels, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """`photos(5)`: a folder of five JPEGs of 96×96 with captions beside them."""

    def make(count: int, name: str = "photos", size: tuple[int, int] = (96, 96)) -> Path:
        for seed in range(count):
            path = save(blocks(seed, *size), tmp_path / name / f"photo-{seed}.jpg", quality=95, subsampling=0)
            path.with_suffix(".txt").write_text(f"blocks number {seed}\n", encoding="utf-8")
        return tmp_path / name

    return make
