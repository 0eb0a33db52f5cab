"""Pictures in styles that the base has never seen, to teach LoRAs: chalk, blueprint or ink, drawn over any worlds.

python recipes/styles.py ink worlds/64/stickers worlds/64/rooms worlds/64/ink
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.data.folder import Record, read_folder, write_folder
from underdraw.errors import InputError, UnderdrawError

PICTURES = {"train": 60, "watch": 12}
"""How many of each split, from all worlds together."""
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
SQUARES = 8
"""Of a blueprint's grid along a side."""


def chalk(picture: Tensor, draw: torch.Generator) -> Tensor:
    """3×H×W in [0, 1]: the edges of a picture as rough white lines on a dark green board."""
    lines = edges(picture).square()
    rough, dust = (torch.rand(lines.shape, generator=draw) for _ in range(2))
    board = colour(0.11, 0.22, 0.20) + 0.04 * (dust - 0.5)
    return board + lines * (0.6 + 0.4 * rough) * (0.95 - board)


def blueprint(picture: Tensor, draw: torch.Generator) -> Tensor:
    """3×H×W in [0, 1]: the edges of a picture as sharp pale lines on blue paper, over a fine grid."""
    lines = (1.6 * edges(picture).square()).clamp(max=1)
    height, width = lines.shape[-2:]
    grid = torch.zeros_like(lines)
    grid[:, :: max(2, height // SQUARES)] = 1
    grid[..., :: max(2, width // SQUARES)] = 1
    faded = colour(0.07, 0.22, 0.48) + 0.03 * (torch.rand(lines.shape, generator=draw) - 0.5)
    paper = faded + 0.14 * grid * (colour(0.75, 0.85, 1.0) - faded)
    return paper + lines * (colour(0.90, 0.95, 1.0) - paper)


def ink(picture: Tensor, draw: torch.Generator) -> Tensor:
    """3×H×W in [0, 1]: broad black strokes along the edges of a picture, and its shades as three grey washes, on paper.

    A wash spreads a little, and a brush leaves more ink in one place than in another.
    """
    strokes = functional.max_pool2d(edges(picture)[None], 3, 1, 1)[0].square()
    dark = 1 - blurred(picture.mean(0, keepdim=True), 2)
    wash = blurred((3 * dark).floor() / 3, 1)
    full, grain = (torch.rand(strokes.shape, generator=draw) for _ in range(2))
    paper = colour(0.95, 0.92, 0.85) + 0.03 * (grain - 0.5)
    washed = paper * (1 - 0.55 * wash)
    return washed + strokes * (0.7 + 0.3 * blurred(full, 1)) * (colour(0.08, 0.08, 0.10) - washed)


STYLES: dict[str, tuple[str, Callable[[Tensor, torch.Generator], Tensor]]] = {
    "chalk": ("chalk drawing", chalk),
    "blueprint": ("blueprint", blueprint),
    "ink": ("ink drawing", ink),
}
"""What captions call a style, and how it is drawn."""


def edges(picture: Tensor) -> Tensor:
    """1×H×W in [0, 1]: how steep a picture 3×H×W is, 1 where it is steepest."""
    kernels = torch.stack([SOBEL, SOBEL.T])[:, None].repeat(3, 1, 1, 1)
    slopes = functional.conv2d(functional.pad(picture[None], (1,) * 4, mode="replicate"), kernels, groups=3)
    steep = slopes.square().sum(1).sqrt()
    return (steep / steep.quantile(0.97).clamp(min=1e-3)).clamp(max=1)


def blurred(field: Tensor, reach: int) -> Tensor:
    """1×H×W, averaged over so many pixels on each side."""
    padded = functional.pad(field[None], (reach,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, 2 * reach + 1, 1)[0]


def colour(red: float, green: float, blue: float) -> Tensor:
    """3×1×1."""
    return torch.tensor([red, green, blue])[:, None, None]


def drawn(style: str, worlds: Sequence[Path]) -> Iterator[Record]:
    """Records of image folders, spread over each and over each split, with nothing said of their style but its name.

    Raises InputError when there are too few of them.
    """
    words, paint = STYLES[style]
    for split, wanted in PICTURES.items():
        parts = [_spread(world, split, -(-wanted // len(worlds))) for world in worlds]
        for index, record in enumerate(list(chain(*parts))[:wanted]):
            text = f"{record.attributes.get('name_en') or record.text.partition(',')[0]}, {words}"
            picture = paint(record.image, torch.Generator().manual_seed(index))
            told = {"split": split, "source": record.name}
            yield Record(f"{split}-{index:02}", picture.clamp(0, 1), text, {}, told)


def _spread(world: Path, split: str, wanted: int) -> Iterator[Record]:
    records = list(read_folder(world, split))
    if len(records) < wanted:
        raise InputError(f"{world} has {len(records)} pictures of split {split!r}, and {wanted} are needed; make more")
    return (records[index * len(records) // wanted] for index in range(wanted))


def main(arguments: list[str]) -> int:
    """Read which style, where from and where to, write, and say what was written."""
    if len(arguments) < 3 or arguments[0] not in STYLES:
        print(f"usage: python recipes/styles.py {'|'.join(STYLES)} WORLD... TARGET", file=sys.stderr)
        return 2
    style, *worlds, target = arguments
    try:
        count = len(list(write_folder(target, drawn(style, list(map(Path, worlds))))))
    except UnderdrawError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{target}  {count} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
