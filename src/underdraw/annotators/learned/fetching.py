"""Weights that are missing: fetched with consent, compared and written down; else one line says what to do."""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from underdraw.annotators.learned.weights import RECORD, Weights, digest, find, recorded
from underdraw.errors import CheckpointError, InputError, UnderdrawError
from underdraw.files import atomic, models_folder

__all__ = ["LARGEST", "allow_downloads", "fetch", "provide"]

LARGEST = 4 * 2**30
"""No model is fetched that is larger, in bytes."""

_CONSENT = "UNDERDRAW_DOWNLOAD"
_log = logging.getLogger("underdraw")


@contextmanager
def allow_downloads() -> Iterator[None]:
    """Inside the block, weights that are missing are fetched, by worker processes too; then it is as it was before."""
    before = os.environ.get(_CONSENT)
    os.environ[_CONSENT] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CONSENT]
        else:
            os.environ[_CONSENT] = before


def provide(weights: Weights, kind: str) -> Path:
    """The folder that holds the weights of an annotator; they are fetched where that is allowed.

    Raises CheckpointError for weights that are missing: the line says which files go where, and how to consent.
    """
    if found := find(weights):
        return found
    if not _is_on(_CONSENT):
        names = ", ".join(group.replace("|", " or ") for group in weights.files)
        raise CheckpointError(
            f"{kind} needs {weights}, which is not there: allow its download ({_CONSENT}=1), "
            f"or put {names} into {models_folder() / weights.place}"
        )
    return fetch(weights)


def fetch(weights: Weights) -> Path:
    """Download weights into the store and write down what was got; the folder. Another process's download is awaited.

    HF_ENDPOINT and HF_HUB_OFFLINE are respected. Raises CheckpointError, and then leaves nothing behind.
    """
    from filelock import FileLock

    folder = models_folder() / weights.place
    if _is_on("HF_HUB_OFFLINE"):
        raise CheckpointError(f"{weights} cannot be fetched while HF_HUB_OFFLINE is set; unset it, or fill {folder}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{weights.place}.lock"):
            found = find(weights)
            if not found:
                _download(weights, folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    return found or folder


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on")


def _download(weights: Weights, folder: Path) -> None:
    """Fetch into a draft, compare, write down, and only then move the files to their place."""
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    _log.warning("fetching %s into %s", weights, folder)
    try:
        commit, digests = _got(weights, draft)
        record = recorded(folder) | {name: {"revision": commit, "sha256": digests[name]} for name in digests}
        text = json.dumps({"repository": weights.repository, "files": record}, indent=1, sort_keys=True)
        with atomic(folder / RECORD) as page:
            page.write_text(text + "\n", encoding="utf-8")
        for name in digests:  # after the record: no file ever stands without its line
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft / name, folder / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _got(weights: Weights, draft: Path) -> tuple[str, dict[str, str]]:
    """Download the files into a draft folder: the commit that they are of, and their digests by name."""
    from huggingface_hub import HfApi

    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        about = hub.model_info(weights.repository, revision=weights.revision, files_metadata=True)
        if about.sha != weights.revision != "main":
            raise CheckpointError(f"{weights.repository} was asked for at {weights.revision}, and {about.sha} came")
        listed = {entry.rfilename: entry for entry in about.siblings or ()}
        names = _chosen(weights, {name: entry.size or 0 for name, entry in listed.items()})
        for name in names:
            hub.hf_hub_download(weights.repository, name, revision=about.sha, local_dir=draft)
    except UnderdrawError:
        raise
    except Exception as error:  # whatever the hub's client or its transport raises
        reason = (str(error) or type(error).__name__).strip().partition("\n")[0]
        place = models_folder() / weights.place
        raise CheckpointError(f"cannot fetch {weights}: {reason}; try again, or fill {place}") from error
    announced = {name: entry.lfs.sha256 for name, entry in listed.items() if entry.lfs} | dict(weights.sha256)
    return about.sha or weights.revision, {name: _checked(weights, name, draft, announced) for name in names}


def _chosen(weights: Weights, sizes: Mapping[str, int]) -> list[str]:
    """The files to fetch of those that the hub lists. Raises CheckpointError where one is missing, or all too large."""
    names = []
    for group in weights.files:
        name = next((name for name in group.split("|") if name in sizes), None)
        if name is None:
            raise CheckpointError(f"{weights.repository} has no {group.split('|')[0]} at revision {weights.revision}")
        names.append(name)
    if (total := sum(sizes[name] for name in names)) > LARGEST:
        raise CheckpointError(f"{weights.repository} is {total:,} bytes; at most {LARGEST:,} are fetched")
    return names


def _checked(weights: Weights, name: str, draft: Path, announced: Mapping[str, str]) -> str:
    """The digest of a file that was just fetched. Raises CheckpointError where it is not what was announced."""
    found = digest(draft / name)
    if found != announced.get(name, found):
        raise CheckpointError(
            f"what came as {name} of {weights.repository} is not the file that was published; try again"
        )
    return found
