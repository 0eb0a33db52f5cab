"""How well edges find the boundaries that people draw: F at the best threshold (ODS) on BSDS' pictures.

    python -m bench.boundaries FOLDER               FOLDER has images/NAME.jpg and truth/NAME.mat, as BSDS500 has them

The usual measure (Martin, Fowlkes, Malik 2004, "Learning to detect natural image boundaries"): soft edges are thinned
to their ridges, cut at a threshold, and matched one to one with the boundaries of each person, at most 0.0075 of the
picture's diagonal away. A found point is right if it matches anybody's; what is recalled is counted over all people.
Counts are added up over all pictures. ODS: the best F of one threshold for all; OIS: of the best for each picture.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.io import loadmat
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow
from skimage.morphology import thin
from torch import Tensor

from underdraw import images
from underdraw.annotators import build
from underdraw.annotators.contours import Field, Mask, ridges

TOLERANCE = 0.0075
"""Of the diagonal: how far a match may be."""
BLURS = (0.0, 2.0, 3.0, 4.0)
"""Sigmas under which Canny is tried: without any it finds texture."""

Levels = Callable[[Tensor], Iterable[Mask]]
"""A picture 3×H×W → its edges at each of several thresholds."""


@dataclass(frozen=True)
class Sample:
    """A picture 3×H×W in [0, 1] and the boundaries H×W that several people drew."""

    name: str
    picture: Tensor
    people: tuple[Mask, ...]


@dataclass(frozen=True)
class Score:
    """ODS with its precision, recall and which threshold it was, and OIS."""

    ods: float
    precision: float
    recall: float
    best: int
    ois: float


def read_samples(folder: Path) -> list[Sample]:
    """All pictures of a folder with their truth, by name."""
    return [_sample(path, folder / "truth" / f"{path.stem}.mat") for path in sorted((folder / "images").glob("*.jpg"))]


def _sample(picture: Path, truth: Path) -> Sample:
    people = loadmat(truth)["groundTruth"][0]
    return Sample(picture.stem, images.read(picture)[0], tuple(one["Boundaries"][0, 0].astype(bool) for one in people))


def matched(found: Mask, truth: Mask, reach: float) -> tuple[Mask, int]:
    """Which found points H×W have a partner among the true ones within `reach` pixels, one each, and how many have.

    As many pairs as possible are made.
    """
    down, across = np.nonzero(found)
    true_down, true_across = np.nonzero(truth)
    hit = np.zeros_like(found)
    if not len(down) or not len(true_down):
        return hit, 0
    edge = int(reach)
    numbers = np.full((found.shape[0] + 2 * edge, found.shape[1] + 2 * edge), -1)
    numbers[down + edge, across + edge] = np.arange(len(down))
    pairs = []
    for y, x in np.ndindex(2 * edge + 1, 2 * edge + 1):
        if (y - edge) ** 2 + (x - edge) ** 2 <= reach**2:
            near = numbers[true_down + y, true_across + x]
            pairs.append(np.stack([near, np.arange(len(near))])[:, near >= 0])
    rows, columns = np.concatenate(pairs, axis=1)
    partner = _partnered(rows, columns, len(down), len(true_down))
    hit[down[partner], across[partner]] = True
    return hit, int(partner.sum())


def _partnered(rows: np.ndarray, columns: np.ndarray, found: int, truth: int) -> Mask:
    """Which of the found points get a partner if as many pairs as possible are made of pairs rows–columns.

    As a flow from a source through found and true points to a sink; scipy's own matching can take minutes here.
    """
    sink = found + truth + 1
    start = np.concatenate([np.zeros(found, int), rows + 1, np.arange(found + 1, sink)])
    end = np.concatenate([np.arange(1, found + 1), columns + found + 1, np.full(truth, sink)])
    graph = csr_matrix((np.ones(len(start), np.int32), (start, end)), (sink + 1, sink + 1))
    flow = maximum_flow(graph, 0, sink, method="dinic").flow
    result: Mask = flow[0, 1 : found + 1].toarray()[0] > 0
    return result


def counts(found: Mask, people: Sequence[Mask]) -> tuple[int, int, int, int]:
    """Found points that match anybody's, found points, people's points that are matched, people's points."""
    reach = TOLERANCE * float(np.hypot(*found.shape))
    hits, recalled = zip(*(matched(found, truth, reach) for truth in people), strict=True)
    right = int(np.logical_or.reduce(hits).sum())
    return right, int(found.sum()), sum(recalled), sum(int(truth.sum()) for truth in people)


def evaluate(samples: Sequence[Sample], levels: Levels) -> Score:
    """ODS and OIS of edges that are given at the same thresholds for every picture."""
    table = np.array([[counts(found, each.people) for found in levels(each.picture)] for each in samples], float)
    together, (single, *_) = table.sum(0), measures(table)
    values, precision, recall = measures(together)
    best = int(values.argmax())
    chosen = table[np.arange(len(table)), single.argmax(1)].sum(0)
    return Score(values[best], precision[best], recall[best], best, float(measures(chosen)[0]))


def measures(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F, precision and recall of counts …×4."""
    precision = table[..., 0] / np.maximum(table[..., 1], 1)
    recall = table[..., 2] / np.maximum(table[..., 3], 1)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-9), precision, recall


def soft_levels(kind: str, thresholds: Sequence[float]) -> Levels:
    """The ridges of a soft map, above each threshold."""

    def levels(picture: Tensor) -> Iterable[Mask]:
        strength: Field = ridges(build(kind).map(picture[None])[0, 0].numpy())
        return (thin(strength >= threshold) for threshold in thresholds)

    return levels


def canny_levels(sigma: float, thresholds: Sequence[int]) -> Levels:
    """OpenCV's Canny of the strongest channel, under a Gaussian blur; the lower threshold is 0.4 of the upper one."""

    def levels(picture: Tensor) -> Iterable[Mask]:
        pixels = images.to_uint8(picture)
        blurred = cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma else pixels
        for high in thresholds:
            yield cv2.Canny(blurred, 0.4 * high, high, L2gradient=True) > 0

    return levels


def compare(samples: Sequence[Sample]) -> Table:
    """A table of soft edges beside Canny at each blur."""
    table = Table("edges", "ODS", "precision", "recall", "threshold", "OIS", title=f"{len(samples)} pictures of BSDS")

    def add(name: str, thresholds: Sequence[float], levels: Levels) -> None:
        score = evaluate(samples, levels)
        figures = (score.ods, score.precision, score.recall, float(thresholds[score.best]), score.ois)
        table.add_row(name, *(f"{figure:.3f}" for figure in figures))

    soft = [float(value) for value in np.linspace(0.1, 0.9, 17)]
    add("softedge", soft, soft_levels("softedge", soft))
    hard = [int(value) for value in np.geomspace(25, 600, 15).round()]
    for sigma in BLURS:
        add(f"canny after a blur of {sigma:g} px" if sigma else "canny", hard, canny_levels(sigma, hard))
    return table


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images/NAME.jpg and truth/NAME.mat")
    torch.set_num_threads(1)
    Console().print(compare(read_samples(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
