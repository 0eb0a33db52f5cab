"""A base and the ControlNets beside it, opened once; drawings go in, pictures come out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from underdraw.annotators import as_hint
from underdraw.errors import CheckpointError, ConfigError
from underdraw.generation.controls import ControlRequest, control_folder, make_map, read_source
from underdraw.generation.recipe import Drawing, Guide, fingerprint, pack_map, unpack_map
from underdraw.generation.sampler import Frame, draw
from underdraw.model import Backbone, Control, ControlNet, load_control

__all__ = ["DTYPES", "EMBEDDED", "Studio", "base_folder", "pick_device", "together"]

EMBEDDED = "embedded"
"""The name of the base that ships inside the package."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PIXELS_AT_ONCE = 512 * 512


class Studio:
    """What drawings need: the base, where it lies, its name and hash, and its ControlNets as they are asked for."""

    def __init__(self, backbone: Backbone, folder: Path, name: str) -> None:
        self.backbone, self.folder, self.name = backbone, folder, name
        self.hash = fingerprint(folder)
        self._nets: dict[str, ControlNet] = {}
        self._hashes: dict[str, str] = {}

    @classmethod
    def open(cls, base: str = EMBEDDED, device: str = "auto", dtype: str = "float32") -> Self:
        """The base called "embedded", or the one in a folder in diffusers layout.

        Raises CheckpointError for weights that are missing or broken, ConfigError for an unknown device or dtype.
        """
        if dtype not in DTYPES:
            raise ConfigError(f"unknown dtype {dtype!r}; there is {', '.join(DTYPES)}")
        folder = base_folder(base)
        if base == EMBEDDED and not (folder / "model_index.json").exists():
            raise CheckpointError("the embedded base is not in this installation; give another one: --base FOLDER")
        backbone = Backbone.load(folder, pick_device(device), DTYPES[dtype])
        return cls(backbone, folder, base if base == EMBEDDED else folder.resolve().name)

    def net(self, kind: str) -> ControlNet:
        """The ControlNet of a kind. Raises ConfigError naming those that exist, CheckpointError for broken weights."""
        if kind not in self._nets:
            self._nets[kind] = load_control(control_folder(self.folder, kind), self.backbone.unet)
        return self._nets[kind]

    def net_hash(self, kind: str) -> str:
        """The fingerprint of the ControlNet of a kind. Raises as `net`."""
        if kind not in self._hashes:
            self._hashes[kind] = fingerprint(control_folder(self.folder, kind))
        return self._hashes[kind]

    def guide(self, request: ControlRequest, size: tuple[int, int], source: Any = None) -> Guide:
        """The control asked for, with its map made for a drawing of `size`; `source` spares reading the file again."""
        condition = make_map(request, read_source(request) if source is None else source, size)
        return Guide(
            kind=request.kind,
            weight=request.weight,
            start=request.start,
            end=request.end,
            source=Path(request.path).name,
            is_map=request.is_map,
            net_hash=self.net_hash(request.kind),
            map=pack_map(condition),
        )

    def controls(self, guides: Sequence[Guide], name: str = "the recipe") -> list[Control]:
        """Guides as controls of this base; `name` says in errors where their maps came from."""
        return [
            Control(
                self.net(guide.kind),
                as_hint(unpack_map(guide, name)).to(self.backbone.device, self.backbone.dtype),
                weight=guide.weight,
                span=(guide.start, guide.end),
            )
            for guide in guides
        ]

    def frames(self, drawing: Drawing) -> Iterator[Frame]:
        """Draw the whole batch that a drawing belongs to, one frame a step."""
        return draw(
            self.backbone,
            [drawing.prompt] * drawing.batch,
            drawing.seeds,
            drawing.size,
            controls=self.controls(drawing.controls),
            negative=drawing.negative,
            guidance=drawing.guidance,
            steps=drawing.steps,
            scheduler=drawing.scheduler,
        )


def base_folder(base: str) -> Path:
    """Where a base lies."""
    return Path(__file__).parents[1] / EMBEDDED if base == EMBEDDED else Path(base)


def pick_device(device: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU. Raises ConfigError for one that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {device!r} is not there; use --device cpu, or auto") from error
    return torch.device(device)


def together(size: tuple[int, int], count: int) -> int:
    """How many of `count` pictures are drawn at once: as many small ones as make up one of 512×512, at most 16."""
    return max(1, min(count, 16, PIXELS_AT_ONCE // (size[0] * size[1])))
