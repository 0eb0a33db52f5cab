"""Readers: small torch networks that read a condition map from a picture, so that a drawn picture can be judged.

Differentiable, and trained by `training.reader` on pictures whose maps are known.
"""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from underdraw.errors import CheckpointError
from underdraw.files import atomic

__all__ = ["Reader", "Shape", "load_reader", "save_reader"]


@dataclass(frozen=True)
class Shape:
    """What a reader is: the kind of map it reads, the map's channels, its own widths from the finest level down.

    `learned_from` names the split it was trained on: a judge must not have seen what it judges.
    """

    kind: str
    maps: int = 1
    channels: tuple[int, ...] = (24, 48, 64)
    learned_from: str = "train"


class Reader(nn.Module):
    """A U-Net that works at half the picture's size and adds the picture's own detail at the end.

    Pictures B×3×H×W in [0, 1] of any size → maps B×C×H×W in [0, 1].
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        widths = shape.channels
        self.stem = nn.Conv2d(3, widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList(Block(wide, wide) for wide in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(wide, deep, 3, stride=2, padding=1) for wide, deep in pairwise(widths))
        self.middle = nn.Sequential(Block(widths[-1], widths[-1]), Whole(widths[-1]), Block(widths[-1], widths[-1]))
        self.up = nn.ModuleList(
            Block(deep + wide, wide) for wide, deep in zip(widths, (*widths[1:], widths[-1]), strict=True)
        )
        self.detail = nn.Conv2d(widths[0] // 2 + 3, widths[0] // 2, 3, padding=1)
        self.narrow = nn.Conv2d(widths[0], widths[0] // 2, 1)
        self.head = nn.Conv2d(widths[0] // 2, shape.maps, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """B×3×H×W in [0, 1] → B×C×H×W in [0, 1]."""
        height, width = pictures.shape[-2:]
        step = 2 ** len(self.down)
        seen = functional.pad(2 * pictures - 1, (0, -width % step, 0, -height % step), mode="replicate")
        coarse = _enlarge(self.narrow(self._coarse(seen)))
        fine = functional.silu(self.detail(torch.cat([coarse, seen], 1))) + coarse
        read: Tensor = self.head(fine).sigmoid()
        return read[..., :height, :width]

    def _coarse(self, seen: Tensor) -> Tensor:
        """Features B×C×(H/2)×(W/2)."""
        state: Tensor = self.stem(seen)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            state = block(state)
            skips.append(state)
            if level < len(self.shrink):
                state = self.shrink[level](state)
        state = self.middle(state)
        for level in reversed(range(len(self.up))):
            state = state if level == len(self.up) - 1 else _enlarge(state)
            state = self.up[level](torch.cat([state, skips[level]], 1))
        return state


class Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1×1 convolution on x where the width changes."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(8, before), nn.GroupNorm(8, after)])
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)]
        )
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, state: Tensor) -> Tensor:
        """B×before×H×W → B×after×H×W."""
        out = state
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            out = convolution(functional.silu(norm(out)))
        mixed: Tensor = self.skip(state) + out
        return mixed


class Whole(nn.Module):
    """Tells every place what the whole picture looks like: its mean, through a small network, is added everywhere."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tell = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, state: Tensor) -> Tensor:
        """B×C×H×W → B×C×H×W."""
        told: Tensor = self.tell(state.mean((2, 3)))
        return state + told[..., None, None]


def _enlarge(state: Tensor) -> Tensor:
    return functional.interpolate(state, scale_factor=2.0, mode="nearest")


def save_reader(reader: Reader, path: str | Path) -> None:
    """Write one safetensors file, whole or not at all; what the reader is stands in its metadata."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in reader.state_dict().items()}
    with atomic(path) as draft:
        save_file(tensors, draft, metadata={"reader": json.dumps(asdict(reader.shape))})


def load_reader(path: str | Path) -> Reader:
    """A reader, in evaluation mode and locked. Raises CheckpointError for a file that is missing, broken or not one."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["reader"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        reader = Reader(Shape(**about | {"channels": tuple(about["channels"])}))
        reader.load_state_dict(tensors)
    except KeyError as error:
        raise CheckpointError(f"{path} is not a reader (it does not say what it reads); train one") from error
    except (OSError, SafetensorError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"cannot read reader {path}: {reason}; fetch or train it again") from error
    return reader.requires_grad_(False).eval()
