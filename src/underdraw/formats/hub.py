"""The hub: its cache first, then the net, and where neither has it, one line that says which file to put where.

HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE and HF_HUB_OFFLINE are respected. Of a repository only what is needed is fetched:
safetensors of one precision, configs, and words.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from underdraw.errors import CheckpointError
from underdraw.model.folders import first_line

__all__ = ["cached", "fetch_file", "fetch_folder", "hub_cache", "kept"]

_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
_WORDS = (".json", ".txt")
_TIMEOUT = 20.0
"""Seconds to wait for the hub's answer."""


def hub_cache() -> Path:
    """The folder of the hub's cache."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def cached() -> Iterator[tuple[str, Path]]:
    """The models in the hub's cache: their ids, and the folder of the newest snapshot of each."""
    for folder in sorted(hub_cache().glob("models--*--*")):
        snapshot = _snapshot(folder)
        if snapshot:
            yield "/".join(folder.name.split("--")[1:]), snapshot


def kept(repository: str, kind: str) -> Path | None:
    """The folder of a repository in the hub's cache, if all that a model of that kind needs is there."""
    snapshot = _snapshot(hub_cache() / f"models--{repository.replace('/', '--')}")
    return snapshot if snapshot and _is_whole(snapshot, kind) else None


def fetch_folder(repository: str, kind: str, remedy: str) -> Path:
    """The folder of a repository with a model of a kind, from the cache where it is whole there, else from the hub.

    remedy: what to do instead, for the error. Raises CheckpointError.
    """
    known = hub_cache() / f"models--{repository.replace('/', '--')}"
    if snapshot := kept(repository, kind):
        return snapshot
    client = _client(repository, remedy)
    try:
        about = client.model_info(repository, timeout=_TIMEOUT)
        names = list(_needed([entry.rfilename for entry in about.siblings or ()], kind))
        if not any(name.endswith(".safetensors") for name in names):
            raise CheckpointError(f"{repository} holds no {kind} as safetensors in diffusers layout; {remedy}")
        for name in names:
            client.hf_hub_download(repository, name, cache_dir=hub_cache())
    except CheckpointError:
        raise
    except Exception as error:  # whatever the hub's client or its transport raises
        raise _missing(repository, error, remedy) from error
    return _snapshot(known) or known


def fetch_file(repository: str, name: str, remedy: str) -> Path:
    """One file of a repository, from the cache or the hub. Raises CheckpointError."""
    snapshot = _snapshot(hub_cache() / f"models--{repository.replace('/', '--')}")
    if snapshot and (snapshot / name).is_file():
        return snapshot / name
    client = _client(f"{repository}/{name}", remedy)
    try:
        client.model_info(repository, timeout=_TIMEOUT)  # says at once what a download finds out after many tries
        return Path(client.hf_hub_download(repository, name, cache_dir=hub_cache()))
    except Exception as error:  # whatever the hub's client or its transport raises
        raise _missing(f"{repository}/{name}", error, remedy) from error


def _client(what: str, remedy: str) -> Any:
    if os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on"):
        raise CheckpointError(f"{what} is not here, and HF_HUB_OFFLINE forbids to fetch it; {remedy}")
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def _missing(what: str, error: Exception, remedy: str) -> CheckpointError:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    answer = getattr(getattr(error, "response", None), "status_code", None)
    if answer in (401, 403, 404):
        return CheckpointError(f"{endpoint} has no {what}, or wants a login for it (HF_TOKEN); {remedy}")
    return CheckpointError(f"{what} is not here and {endpoint} cannot be reached ({first_line(error)}); {remedy}")


def _snapshot(model: Path) -> Path | None:
    """The folder that "main" was when the cache got it, else the newest one."""
    try:
        folder = model / "snapshots" / (model / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        folder = max(model.glob("snapshots/*"), key=lambda path: path.stat().st_mtime, default=model / "none")
    return folder if folder.is_dir() else None


def _is_whole(folder: Path, kind: str) -> bool:
    """Whether all that a model needs is there."""
    if kind != "base":
        return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    parts = [part for part in _PARTS if (folder / part).is_dir()]
    models = [part for part in parts if not part.startswith(("tokenizer", "scheduler"))]
    weights = all(any((folder / part).glob("*.safetensors")) for part in models)
    return (folder / "model_index.json").is_file() and {"unet", "scheduler"} <= set(parts) and weights


def _needed(names: Iterable[str], kind: str) -> Iterator[str]:
    """The files to fetch of those that a repository has: configs, words, and weights of one precision."""
    there, folders = set(names), set(_PARTS) if kind == "base" else {""}
    if kind == "base":
        yield from there & {"model_index.json"}
    for name in sorted(there):
        folder, _, title = name.rpartition("/")
        if folder in folders:
            weights = title.endswith(".safetensors") and (_is_plain(title) or not _has_plain(folder, there))
            if weights or title.endswith(_WORDS):
                yield name


def _is_plain(title: str) -> bool:
    """Whether a file of weights is the usual one: in full precision, and not a second kind."""
    return not any(mark in title for mark in (".fp16", ".bf16", "non_ema", "flax", "openvino"))


def _has_plain(folder: str, names: set[str]) -> bool:
    inside = [name.rpartition("/") for name in names if name.endswith(".safetensors")]
    return any(_is_plain(title) for place, _, title in inside if place == folder)
