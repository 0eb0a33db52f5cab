"""Whole folders: several workers, what exists is kept, what fails is told, and the rest goes on."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from underdraw import images
from underdraw.annotators.protocol import Annotator
from underdraw.errors import InputError, UnderdrawError
from underdraw.workers import in_order

__all__ = ["Outcome", "annotate_file", "annotate_folder", "sources"]

RECIPE = "annotator"
"""The PNG text chunk that says how a map was made."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file. kept: its map was there already, made with the same knobs. error: why it has none."""

    source: Path
    target: Path
    kept: bool = False
    error: str = ""


def annotate_file(look: Annotator, source: Path, target: Path, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Write the map of a file as a PNG that carries the annotator's name and knobs; its (width, height).

    Raises InputError for a file that cannot be used, or that would be overwritten by its own map.
    """
    if target.resolve() == source.resolve():
        raise InputError(f"{target} is the picture itself; give the map another name")
    found = look.map(look.read(source), size)
    images.write(look.show(found), target, {RECIPE: _recipe(look, size)})
    return found.shape[-1], found.shape[-2]


def annotate_folder(
    look: Annotator, folder: Path, target: Path, size: tuple[int, int] | None = None, workers: int = 1
) -> Iterator[Outcome]:
    """Write the maps of all files under a folder to the same places under another; one outcome a file, in order.

    Maps are PNG. One that is there is kept if it was made with the same knobs and size and is not older than its
    picture. Each worker is a process of one thread. Raises InputError for a folder that cannot be read or holds
    nothing; what is wrong with one file is its outcome.
    """
    found = sources(look, folder, besides=target)
    targets = [target / source.relative_to(folder).with_suffix(".png") for source in found]
    often = Counter(targets)
    jobs = [_Job(look, source, to, size, often[to] > 1) for source, to in zip(found, targets, strict=True)]
    yield from in_order(_outcome, jobs, min(workers, len(jobs)))


def sources(look: Annotator, folder: Path, besides: Path | None = None) -> list[Path]:
    """The files under a folder that an annotator reads, sorted, without hidden ones and those under `besides`.

    Raises InputError for a folder that holds none, or that is `besides` itself.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    if besides and besides.resolve() == folder.resolve():
        raise InputError(f"{besides} is the folder of the pictures; give the maps another one")
    hidden = [besides.resolve()] if besides else []
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in look.suffixes and path.is_file()]
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    found = [path for path in found if not any(path.resolve().is_relative_to(place) for place in hidden)]
    if not found:
        raise InputError(f"{folder} holds nothing that {look.kind} reads ({', '.join(look.suffixes)})")
    return found


@dataclass(frozen=True)
class _Job:
    """One file to annotate. shared: another file's map would have the same name."""

    look: Annotator
    source: Path
    target: Path
    size: tuple[int, int] | None
    shared: bool


def _outcome(job: _Job) -> Outcome:
    if job.shared:
        told = f"{job.source}: another picture's map would also be called {job.target.name}; rename one of them"
        return Outcome(job.source, job.target, error=told)
    try:
        if kept := _is_kept(job):
            return Outcome(job.source, job.target, kept)
        annotate_file(job.look, job.source, job.target, job.size)
    except InputError as error:
        told = str(error)
        return Outcome(job.source, job.target, error=told if job.source.name in told else f"{job.source}: {told}")
    except (UnderdrawError, MemoryError, OSError):
        raise  # not this file's fault: the next one would fail as well
    except Exception as error:  # a library's opinion of an odd picture
        return Outcome(job.source, job.target, error=f"{job.source}: {type(error).__name__}: {error}")
    return Outcome(job.source, job.target)


def _is_kept(job: _Job) -> bool:
    if not job.target.exists() or job.target.stat().st_mtime < job.source.stat().st_mtime:
        return False
    try:
        return images.read_text(job.target).get(RECIPE) == _recipe(job.look, job.size)
    except InputError:
        return False


def _recipe(look: Annotator, size: tuple[int, int] | None) -> str:
    return json.dumps({"kind": look.kind, "settings": look.settings, "size": size}, sort_keys=True)
