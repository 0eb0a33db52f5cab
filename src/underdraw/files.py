"""Files are whole or absent: everything is written beside its place and then renamed (law 9)."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from underdraw.errors import InputError

__all__ = ["atomic", "cache_folder", "inside", "models_folder"]

MASK = os.umask(0)
"""The user's umask, which can only be read by setting it."""
os.umask(MASK)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well and vanishes when it does not.

    Works for a file and for a folder (a folder that is already there is replaced whole).
    Raises InputError when the disk or the permissions refuse.
    """
    final = Path(path)
    if not final.name:
        raise InputError(f"cannot write {str(path)!r}: it has no name; give one")
    draft = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _share(draft)
        _replace(draft, final)
    except OSError as error:
        raise InputError(f"cannot write {final}: {error.strerror or error}") from error
    finally:
        _remove(draft)


def cache_folder() -> Path:
    """Where what can be had again is kept: `underdraw` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "underdraw"


def models_folder() -> Path:
    """Where weights lie that are not the package's own: UNDERDRAW_MODELS, else `models` in the cache folder."""
    given = os.environ.get("UNDERDRAW_MODELS")
    return Path(given).expanduser() if given else cache_folder() / "models"


def inside(folder: Path, name: str) -> Path:
    """`folder/name`, refused when it would lead out of the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{name!r} leads out of {folder}; use a path inside the folder")
    return path


def _share(draft: Path) -> None:
    """Everybody may read what everybody may: safetensors writes for its owner alone, whatever the umask says."""
    for path in [draft, *draft.rglob("*")] if draft.is_dir() else [draft]:
        if path.is_file():
            path.chmod(0o666 & ~MASK)


def _replace(draft: Path, final: Path) -> None:
    if final.is_dir():
        old = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
        os.replace(final, old)
        os.replace(draft, final)
        shutil.rmtree(old)
    else:
        os.replace(draft, final)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):  # where the draft could not even be begun, there is nothing to remove
            draft.unlink()
