"""Readers: small torch networks that read condition maps from a picture, so that a drawn picture can be judged.

Differentiable, and trained by `training.reader` on pictures whose maps are known. One trunk looks at the picture, one
head a kind of map says what it sees. A reader that teaches must not judge: there are two that differ in their kind of
trunk, in their seed and in the order of what they learnt.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from underdraw.annotators.heads import HEADS, Head
from underdraw.annotators.trunks import TRUNKS
from underdraw.errors import CheckpointError
from underdraw.files import atomic

__all__ = ["Reader", "Shape", "load_reader", "save_reader", "shipped_reader"]

Colour = tuple[int, int, int]
SHIPPED = Path(__file__).parents[1] / "embedded" / "readers"
"""Where the package's own readers lie, if it has any."""


@dataclass(frozen=True)
class Shape:
    """What a reader is: the kinds of maps it reads, and the kind of its trunk with its widths.

    colours: of a segmentation's labels. learned_from: the split it was trained on, for a judge must not have seen what
    it judges. errors: what it gets wrong on true pictures that it did not learn from, by kind and measure.
    """

    reads: tuple[str, ...]
    kind: str = "unet"
    channels: tuple[int, ...] = (24, 48, 64)
    colours: tuple[Colour, ...] = ()
    learned_from: str = "train"
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Reader(nn.Module):
    """Pictures B×3×H×W in [0, 1] of any size → for each kind that it reads what its head makes of them.

    Raises ConfigError for a kind of map or trunk that does not exist.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.trunk = TRUNKS[shape.kind](shape.channels)
        self.meanings: Mapping[str, Head] = {kind: HEADS[kind](shape.colours) for kind in shape.reads}
        self.heads = nn.ModuleDict(
            {kind: nn.Conv2d(self.trunk.width, head.channels, 1) for kind, head in self.meanings.items()}
        )

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """B×3×H×W in [0, 1] → by kind the raw values B×K×H×W that its head understands."""
        seen = self.trunk(pictures)
        return {kind: head(seen) for kind, head in self.heads.items()}

    def read(self, pictures: Tensor, kind: str) -> Tensor:
        """The maps B×C×H×W of one kind, as an annotator would give them (of people: heatmaps of their points)."""
        return self.meanings[kind].map(self.heads[kind](self.trunk(pictures)))

    def error(self, pictures: Tensor, kind: str, wanted: Tensor) -> Tensor:
        """How far what is read of each picture (B) is from what was wanted, smoothly: for rewards."""
        return self.meanings[kind].error(self.heads[kind](self.trunk(pictures)).float(), wanted)


def save_reader(reader: Reader, path: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write one safetensors file, whole or not at all; what the reader is stands in its metadata.

    dtype: the precision in the file (default: as it is).
    """
    tensors = {
        name: value.detach().to(dtype or value.dtype).contiguous().cpu() for name, value in reader.state_dict().items()
    }
    with atomic(path) as draft:
        save_file(tensors, draft, metadata={"reader": json.dumps(asdict(reader.shape))})


def load_reader(path: str | Path) -> Reader:
    """A reader in float32, in evaluation mode and locked.

    Raises CheckpointError for a file that is missing, broken or not one.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["reader"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        lists = {name: tuple(about[name]) for name in ("reads", "channels")}
        colours = tuple((red, green, blue) for red, green, blue in about["colours"])
        reader = Reader(Shape(**about | lists | {"colours": colours}))
        reader.load_state_dict(tensors)
    except KeyError as error:
        raise CheckpointError(f"{path} is not a reader (it does not say what it reads); train one") from error
    except (OSError, SafetensorError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"cannot read reader {path}: {reason}; fetch or train it again") from error
    return reader.requires_grad_(False).eval()


def shipped_reader(name: str) -> Path | None:
    """The file of one of the package's own: "reader" teaches and watches, "judge" judges. None: it is not here."""
    path = SHIPPED / f"{name}.safetensors"
    return path if path.is_file() else None
