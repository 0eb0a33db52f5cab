"""The store: weights that others publish, kept in a folder and checked whenever they are read. `fetching` fills it.

Where: the folder UNDERDRAW_MODELS, else the user's cache; what the hub's own cache holds is used as well. A model lies
in `owner--name/`, or as the hub's cache lays it (`models--owner--name/snapshots/REVISION/`).
"""

import hashlib
import json
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from underdraw.errors import CheckpointError
from underdraw.files import models_folder

__all__ = ["FOLDER", "RECORD", "Weights", "digest", "find", "harmless", "present", "recorded", "verify"]

FOLDER = ("config.json", "preprocessor_config.json", "model.safetensors|pytorch_model.bin")
"""What a transformers folder is made of; of names between bars, the first that is there."""
RECORD = "underdraw.json"
"""What was fetched into a folder: of each file the revision and the SHA-256."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class Weights:
    """A model as it is published on the hub: a constant, equal to nothing but itself.

    licence, megabytes: what one consents to. revision: the commit that is meant; "main" where none is known, and then
    the commit that is found at the first download is kept. files: their names (see `FOLDER`). sha256: of files, where
    it is known; of the others, what was fetched first is kept.
    """

    repository: str
    licence: str
    megabytes: int
    revision: str = "main"
    files: tuple[str, ...] = FOLDER
    sha256: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.repository} ({self.licence}, {self.megabytes} MB)"

    @property
    def place(self) -> str:
        """The name of its folder in the store."""
        return self.repository.replace("/", "--")


def find(weights: Weights) -> Path | None:
    """The first place that holds all the files, if there is one: the store, then the hub's cache."""
    return next((place for place in _places(weights) if present(place, weights.files)), None)


def present(folder: Path, files: tuple[str, ...]) -> tuple[str, ...] | None:
    """The names that a folder has, one of each group; None where it has not all."""
    names = [next((name for name in group.split("|") if (folder / name).is_file()), "") for group in files]
    return tuple(names) if all(names) else None


def verify(folder: Path, weights: Weights) -> None:
    """Compare the files of a folder with what is known of them, and with what was written down when they were fetched.

    Files that somebody put there by hand, and of which nothing is known, pass. Raises CheckpointError for changed ones.
    """
    expected = {name: entry["sha256"] for name, entry in recorded(folder).items()} | dict(weights.sha256)
    for name in present(folder, weights.files) or ():
        path = folder / name
        known = expected.get(name) or _blob(path)
        if known and digest(path) != known:
            raise CheckpointError(
                f"{path} is not the file that was published (SHA-256 {known[:12]}…); delete it and get it again"
            )


def recorded(folder: Path) -> dict[str, dict[str, str]]:
    """What was written down when files were fetched into a folder: revision and sha256 by name.

    Raises CheckpointError for a record that cannot be read.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {str(name): {key: str(entry[key]) for key in ("revision", "sha256")} for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read; delete its folder and fetch it again") from error


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises CheckpointError for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def harmless(path: Path) -> None:
    """Make sure that a pickled file holds nothing but tensors. Raises CheckpointError for another, or a broken one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles; what matters is whether it can be read
            torch.load(path, map_location="meta", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} holds more than tensors or is broken ({reason}); it is not opened") from error


def _places(weights: Weights) -> Iterator[Path]:
    for root in (models_folder(), _hub_cache()):
        yield root / weights.place
        model = root / f"models--{weights.place}"
        yield model / "snapshots" / (_commit(model) if weights.revision == "main" else weights.revision)


def _commit(model: Path) -> str:
    """The commit to which "main" was resolved when the hub's cache got it; "-" where it never was."""
    try:
        commit = (model / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return "-"
    return commit if _COMMIT.fullmatch(commit) else "-"


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _blob(path: Path) -> str:
    """The digest of a large file in the hub's cache: the name of the file that it links to. "" for any other."""
    target = path.resolve().name if path.is_symlink() else ""
    return target if _DIGEST.fullmatch(target) else ""
