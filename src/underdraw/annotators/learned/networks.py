"""Networks of other people: opened once, kept while they are used, and asked one picture at a time."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from underdraw import images
from underdraw.annotators.learned.fetching import provide
from underdraw.annotators.learned.weights import Weights, harmless, present, verify
from underdraw.annotators.protocol import Annotator, Knob, Needs
from underdraw.errors import CheckpointError

__all__ = [
    "Learned",
    "Network",
    "Opener",
    "TransformersFolder",
    "asks_for",
    "close_networks",
    "framed",
    "model_knob",
    "open_once",
]

KEPT = 4
"""Networks that stay open at a time: a pose takes two of them."""
SLIMMEST = 4
"""A picture whose longer side is more than this many times the shorter is continued by its border."""
Opener = Callable[[Path], Any]
"""What makes a network of a folder: hashable, equal to another that makes the same."""

_opening = threading.Lock()


class Learned(Annotator):
    """An annotator whose maps a network draws, on the device of the pictures, one picture after the other.

    models: the published weights by name. side: the shorter side for which the network is made: smaller drawings are
    looked at in pictures that large, larger ones as they are, up to `most` pixels.
    """

    models: ClassVar[Mapping[str, Weights]]
    most: ClassVar[int] = 2048 * 2048

    def native(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) at which a picture for a drawing of `size` is looked at."""
        short = max(min(size), max(size) / SLIMMEST)
        side = self.resolution or min(max(self.side, short), (self.most * short / max(size)) ** 0.5)
        return max(1, round(size[0] * side / short)), max(1, round(size[1] * side / short))

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → B×C×H×W in the range of `meaning`.

        Raises CheckpointError where the weights are missing, changed or of another model.
        """
        height, width = pictures.shape[-2:]
        return torch.cat([self.draw(picture[None])[..., :height, :width] for picture in framed(pictures)])

    @abstractmethod
    def draw(self, picture: Tensor) -> Tensor:
        """One picture 1×3×H×W → its map 1×C×H×W."""

    def network(
        self, opener: Opener, model: str, device: torch.device, models: Mapping[str, Weights] | None = None
    ) -> Any:
        """The opened network of a published model (of `models`, by default this kind's), or of a folder of its name."""
        weights = (models or self.models).get(model)
        folder = provide(weights, self.kind) if weights else _given(Path(model), self.kind)
        return open_once(opener, folder, device, weights)


def framed(pictures: Tensor) -> Tensor:
    """B×3×H×W whose borders are continued below or to the right until they are not too slim for a network."""
    height, width = pictures.shape[-2:]
    below, right = max(0, -(-width // SLIMMEST) - height), max(0, -(-height // SLIMMEST) - width)
    return functional.pad(pictures, (0, right, 0, below), mode="replicate")


@dataclass(frozen=True)
class _ModelKnob(Knob):
    """One of the published models, or a folder."""

    @property
    def range(self) -> str:
        """What it may be, in words."""
        return f"{super().range}, or a folder of such a model (./NAME)"

    def _fits(self, value: object) -> bool:
        return super()._fits(value) or (isinstance(value, str) and Path(value).name != value)


def model_knob(models: Mapping[str, Weights], help: str = "the published model, or a folder of one's own") -> Any:
    """A field that names one of the published models, the first by default, or a folder in transformers' layout."""
    first = next(iter(models))
    return field(default=first, metadata={"knob": _ModelKnob(first, 0, 1, help, None, tuple(models))})


def asks_for(*models: Mapping[str, Weights]) -> Needs:
    """What an annotator of these models needs: the weights of each default, in words."""
    return Needs(weights=" and ".join(str(next(iter(several.values()))) for several in models))


def open_once(opener: Opener, folder: Path, device: torch.device, weights: Weights | None = None) -> Any:
    """What an opener makes of a folder, on a device; the same as before while the folder's files are the same.

    Where it is opened, its files are compared with what is known of the weights.
    """
    with _opening:  # the libraries' loading is not made for several threads
        files = [path.stat() for path in sorted(folder.iterdir()) if path.is_file()]
        stamp = tuple((file.st_size, file.st_mtime_ns) for file in files)
        return _opened(opener, folder, stamp, device, weights)


@lru_cache(KEPT)
def _opened(opener: Opener, folder: Path, stamp: tuple[Any, ...], device: torch.device, weights: Weights | None) -> Any:
    """stamp: sizes and times of the files, so that changed ones are checked and opened again."""
    if weights:
        verify(folder, weights)
    with torch.random.fork_rng(devices=[]):  # values that will be overwritten are drawn at random
        return opener(folder).to(device)


def close_networks() -> None:
    """Let go of the networks that are kept open, and of their memory."""
    _opened.cache_clear()


@dataclass(frozen=True)
class Network:
    """A model of the transformers library, with what prepares its pictures.

    missing: tensors that its files lack; they hold NaN (see `sound`).
    """

    model: Any
    processor: Any
    missing: tuple[str, ...]
    folder: Path

    def to(self, device: torch.device) -> "Network":
        """On that device."""
        self.model.to(device)
        return self

    def prepare(self, picture: Tensor, **more: Any) -> dict[str, Tensor]:
        """The model's input for a picture 1×3×H×W in [0, 1], on its device; more: what the processor takes besides."""
        given = self.processor(
            images=[images.to_uint8(picture[0])], input_data_format="channels_last", return_tensors="pt", **more
        )
        return {name: value.to(picture.device) for name, value in given.items() if isinstance(value, Tensor)}

    def sound(self, values: Tensor) -> Tensor:
        """The values, if what is missing did not matter. Raises CheckpointError if a missing tensor was used."""
        if bool(torch.isfinite(values).all()):
            return values
        lacks = f"lacks {len(self.missing)} tensors ({', '.join(self.missing[:3])} …)"
        told = lacks if self.missing else "does not give numbers"
        raise CheckpointError(f"{self.folder} {told}; it belongs to another model or is damaged, get its own files")


@dataclass(frozen=True)
class TransformersFolder:
    """Opens a folder in transformers' layout as a class of that library (`AutoModelForDepthEstimation`).

    Safetensors, or a pickle of nothing but tensors; never code. settings: for its image processor, in place of its own.
    """

    architecture: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __call__(self, folder: Path) -> Network:
        """Raises CheckpointError for a folder that does not hold such a model."""
        import transformers

        if not present(folder, ("model.safetensors|model.safetensors.index.json",)):
            for pickled in folder.glob("*.bin"):
                harmless(pickled)
        local = {"pretrained_model_name_or_path": str(folder), "local_files_only": True, "trust_remote_code": False}
        try:
            with _quiet(transformers):
                prepares = transformers.AutoImageProcessor.from_pretrained(
                    backend="pil", **local, **dict(self.settings)
                )
                kind = getattr(transformers, self.architecture)
                model, report = kind.from_pretrained(output_loading_info=True, **local)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, ImportError, AttributeError) as error:
            reason = (str(error) or type(error).__name__).strip().partition("\n")[0]
            raise CheckpointError(f"{folder} cannot be opened ({reason}); get its own files") from error
        missing = tuple(sorted(report["missing_keys"]))
        _poison(model, missing)
        return Network(model.float().requires_grad_(False).eval(), prepares, missing, folder)


def _poison(model: Any, missing: tuple[str, ...]) -> None:
    """Fill what the files lack with NaN: some leave out what is never used, and nothing that is used may be random."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name in missing:
            if name in tensors and tensors[name].is_floating_point():
                tensors[name].fill_(torch.nan)


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Inside the block, the library says nothing and shows no bars; then it is as it was before."""
    logging = library.utils.logging
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _given(folder: Path, kind: str) -> Path:
    """A folder that somebody names as a model. Raises CheckpointError where it is none."""
    if not (folder / "config.json").is_file():
        there = "has no config.json" if folder.is_dir() else "is not a folder"
        raise CheckpointError(f"{kind}: model {str(folder)!r} {there}; give a folder in transformers' layout")
    return folder
