"""Map hygiene: what is wrong with maps that people bring, in words, and repaired where that is safe."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image
from torch import Tensor

from underdraw import images
from underdraw.annotators.faults import Brought, Fault, checks
from underdraw.annotators.protocol import ANNOTATORS
from underdraw.errors import InputError

__all__ = ["Fault", "bring", "examine", "repair"]


def examine(path: str | Path, kind: str, size: tuple[int, int] | None = None) -> list[Fault]:
    """All faults of a map file of a kind. Raises InputError for what is no picture, ConfigError for an unknown kind."""
    return list(_faults(bring(path, kind, size)))


def repair(path: str | Path, kind: str, size: tuple[int, int] | None = None) -> tuple[Tensor, list[Fault], list[Fault]]:
    """The map 3×H×W in [0, 1] with everything repaired that safely can be, the faults repaired, and those that stay."""
    brought = bring(path, kind, size)
    mended: list[Fault] = []
    while fault := next((f for f in _faults(brought) if f.repaired is not None and f.name not in _names(mended)), None):
        assert fault.repaired is not None
        mended.append(fault)
        brought = Brought(fault.repaired, "RGB", brought.kind, brought.size)
    return brought.pixels, mended, [fault for fault in _faults(brought) if fault.name not in _names(mended)]


def bring(path: str | Path, kind: str, size: tuple[int, int] | None = None) -> Brought:
    """A map file as it is. Raises InputError and ConfigError as `examine`."""
    part = ANNOTATORS[kind]
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    pixels = images.decode(data, str(path), background=(0.0, 0.0, 0.0))[0]
    with Image.open(BytesIO(data)) as file:
        mode = "RGBA" if file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info else file.mode
    return Brought(pixels, mode, part, size)


def _faults(brought: Brought) -> Iterator[Fault]:
    for check in checks(brought.kind):
        if fault := check(brought):
            yield fault


def _names(faults: list[Fault]) -> set[str]:
    return {fault.name for fault in faults}
