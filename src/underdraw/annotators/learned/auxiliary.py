"""The networks of ControlNet's own annotators, through the package `controlnet_aux` (extra "aux")."""

import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators.learned.fetching import provide
from underdraw.annotators.learned.networks import Learned, open_once
from underdraw.annotators.learned.weights import Weights, harmless
from underdraw.annotators.protocol import Needs
from underdraw.errors import CheckpointError, ConfigError, MissingExtra

__all__ = ["Auxiliary", "Detector", "files_of", "hushed", "import_auxiliary", "needs_auxiliary", "require_auxiliary"]

EXTRA = "aux"
MULTIPLE = 64
"""The detectors stretch pictures whose sides are no multiples of this, in pixels."""
PUBLISHED = "lllyasviel/Annotators"
REVISION = "982e7edaec38759d914a963c48c4726685de7d96"
SHA256 = {
    "ControlNetHED.pth": "5ca93762ffd68a29fee1af9d495bf6aab80ae86f08905fb35472a083a4c7a8fa",
    "body_pose_model.pth": "25a948c16078b0f08e236bda51a385d855ef4c153598947c28c0d47ed94bb746",
    "facenet.pth": "8beb52e548624ffcc4aed12af7aee7dcbfaeea420c75609fee999fe7add79d43",
    "hand_pose_model.pth": "b76b00d1750901abd07b9f9d8c98cc3385b8fe834a26d4b4f0aad439e75fc600",
    "mlsd_large_512_fp32.pth": "5696f168eb2c30d4374bbfd45436f7415bb4d88da29bea97eea0101520fba082",
    "sk_model.pth": "c686ced2a666b4850b4bb6ccf0748031c3eda9f822de73a34b8979970d90f0c6",
    "sk_model2.pth": "30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0",
    "table5_pidinet.pth": "80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c",
}
"""Of the files of `PUBLISHED`, where it is publicly known; of the others, that of the first download is kept."""

_hushing = threading.RLock()


def files_of(*names: str, megabytes: int, licence: str = "no licence stated") -> Weights:
    """Weights in the repository that controlnet_aux takes them from."""
    known = {name: SHA256[name] for name in names if name in SHA256}
    return Weights(PUBLISHED, licence, megabytes, REVISION, names, known)


@dataclass(frozen=True)
class Detector:
    """Opens a detector of controlnet_aux (the name of its class) from files in a folder; options: how it is opened."""

    name: str
    files: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def __call__(self, folder: Path) -> Any:
        """Raises CheckpointError for files that hold another network, and what `import_auxiliary` raises."""
        kind = getattr(import_auxiliary(), self.name)
        for name in self.files:
            harmless(folder / name)
        try:
            with hushed(), _without_arguments():
                return _locked(kind.from_pretrained(str(folder), **dict(self.options)))
        except (RuntimeError, KeyError, ValueError, TypeError, OSError) as error:
            reason = (str(error) or type(error).__name__).strip().partition("\n")[0]
            names = ", ".join(self.files)
            raise CheckpointError(f"{folder} does not hold {self.name}'s {names} ({reason}); get them again") from error


class Auxiliary(Learned):
    """An annotator that one of the detectors of controlnet_aux draws. Its knobs are the detector's parameters."""

    detector: ClassVar[Detector]
    weights: ClassVar[Weights]
    side: ClassVar[int] = 512

    def opened(self, device: torch.device) -> Any:
        """The detector, on that device."""
        require_auxiliary()
        return open_once(self.detector, provide(self.weights, self.kind), device, self.weights)

    def parameters(self) -> dict[str, Any]:
        """What the detector is told beside the picture."""
        return {name: value for name, value in self.settings.items() if name != "resolution"}

    def draw(self, picture: Tensor) -> Tensor:
        """One picture 1×3×H×W → its map 1×C×H×W, white on black or RGB, as the detector draws it."""
        height, width = picture.shape[-2:]
        pixels = np.pad(images.to_uint8(picture[0]), ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)), "edge")
        detector = self.opened(picture.device)
        with hushed():
            drawn = self.look(detector, np.ascontiguousarray(pixels))
        found = images.from_uint8(drawn[:height, :width, : self.meaning.channels])
        return found[None].to(picture.device)

    def look(self, detector: Any, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """H×W×3 RGB bytes → H×W×3: at the picture's own size, so that the detector does not stretch it."""
        side = min(pixels.shape[:2])
        sizes = {"detect_resolution": side, "image_resolution": side}
        drawn: NDArray[np.uint8] = detector(pixels, output_type="np", **sizes, **self.parameters())
        return drawn


def _locked(detector: Any) -> Any:
    """The detector with its networks in evaluation mode: not all are given so."""
    for part in vars(detector).values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False).eval()
    return detector


def needs_auxiliary(weights: Weights) -> Needs:
    """The package, its extra, and the weights in words."""
    return Needs(("controlnet_aux",), EXTRA, str(weights))


def require_auxiliary() -> None:
    """Raises MissingExtra where controlnet_aux is not installed: before weights are fetched for it."""
    if find_spec("controlnet_aux") is None:
        raise MissingExtra("controlnet_aux", EXTRA)


def import_auxiliary() -> Any:
    """The package controlnet_aux. Raises MissingExtra where it or one of its packages is not installed.

    Raises ConfigError where it cannot be imported, as beside a torchvision that is made for another torch.
    """
    require_auxiliary()
    try:
        with hushed(), _same_environment("KMP_DUPLICATE_LIB_OK"), _hidden("mediapipe"):
            return import_module("controlnet_aux")
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, which controlnet_aux needs,", EXTRA) from error
    except Exception as error:  # whatever its packages raise where they do not fit each other
        reason = (str(error) or type(error).__name__).strip().partition("\n")[0]
        raise ConfigError(
            f"controlnet_aux cannot be imported ({reason}); install a torchvision that fits torch {torch.__version__}"
        ) from error


@contextmanager
def hushed() -> Iterator[None]:
    """Inside the block, what the package prints and warns of goes nowhere. One thread at a time."""
    with _hushing, redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _same_environment(name: str) -> Iterator[None]:
    """After the block, that variable is as it was: importing the package sets it for the whole process."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Inside the block, that package is not there: the package fails with versions of it that it does not know."""
    there, before = name in sys.modules, sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if there and before is not None:
            sys.modules[name] = before


@contextmanager
def _without_arguments() -> Iterator[None]:
    """Inside the block, the command line is empty: one detector (LeReS) takes its settings from it."""
    before, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = before
