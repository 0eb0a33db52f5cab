"""Pictures in a style that the base has never seen, to try a LoRA on: chalk on a blackboard, drawn over any world.

python recipes/chalk.py worlds/64/stickers worlds/64/chalk
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.data.folder import Record, read_folder, write_folder
from underdraw.errors import InputError, UnderdrawError

PICTURES = {"train": 60, "watch": 12}
"""How many of each split."""
BOARD = (0.11, 0.22, 0.20)
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4


def chalk(picture: Tensor, seed: int) -> Tensor:
    """3×H×W in [0, 1]: the edges of a picture as rough white lines on a dark green board."""
    kernels = torch.stack([SOBEL, SOBEL.T])[:, None].repeat(3, 1, 1, 1)
    slopes = functional.conv2d(functional.pad(picture[None], (1,) * 4, mode="replicate"), kernels, groups=3)
    steep = slopes.square().sum(1).sqrt()
    lines = (steep / steep.quantile(0.97).clamp(min=1e-3)).clamp(max=1).square()
    draw = torch.Generator().manual_seed(seed)
    rough, dust = (torch.rand(lines.shape, generator=draw) for _ in range(2))
    board = torch.tensor(BOARD)[:, None, None] + 0.04 * (dust - 0.5)
    return board + lines * (0.6 + 0.4 * rough) * (0.95 - board)


def drawn(world: Path) -> Iterator[Record]:
    """Records of an image folder, spread over each split, with nothing said of their style but the chalk.

    Raises InputError when there are too few of them.
    """
    for split, wanted in PICTURES.items():
        records = list(read_folder(world, split))
        if len(records) < wanted:
            raise InputError(
                f"{world} has {len(records)} pictures of split {split!r}, and {wanted} are needed; make more"
            )
        for index in range(wanted):
            record = records[index * len(records) // wanted]
            text = f"{record.attributes.get('name_en') or record.text.partition(',')[0]}, chalk drawing"
            yield Record(f"{split}-{index:02}", chalk(record.image, index), text, {}, {"split": split})


def main(arguments: list[str]) -> int:
    """Read where from and where to, write, and say what was written."""
    if len(arguments) != 2:
        print("usage: python recipes/chalk.py worlds/64/stickers worlds/64/chalk", file=sys.stderr)
        return 2
    try:
        count = len(list(write_folder(arguments[1], drawn(Path(arguments[0])))))
    except UnderdrawError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments[1]}  {count} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
