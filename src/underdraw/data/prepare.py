"""`prepare`: a source of pictures becomes shards that a training reads at random.

    DATA/dataset.json         what it is: settings, kinds of maps, buckets, shards with their checksums
    DATA/shards/00000.tar     WebDataset: key.jpg or key.png, key.txt, key.json, key.<kind>.png, key.<kind>.1.png …
    DATA/shards/00000.jsonl   our index of it: offset, size and SHA-256 of every file, captions, bucket, fingerprint
    DATA/quarantine.jsonl     what was left out, or noted, and why

Every byte is a function of the source and the settings, so a preparation that was killed anywhere and is called again
ends in the same bytes (law 5).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from underdraw.config import parse
from underdraw.data.captions import Captioner, check_template
from underdraw.data.line import Line, Progress
from underdraw.data.making import Outcome, make, probe
from underdraw.data.packing import SHARDS, Packer, Shard, finished, to_json
from underdraw.data.preparation import Preparation
from underdraw.data.sources import Entry, Problem, Source, channels_of, reduction_of, tally
from underdraw.errors import InputError
from underdraw.files import atomic
from underdraw.workers import in_order

__all__ = ["DATASET", "QUARANTINE", "Progress", "is_prepared", "prepare"]

DATASET, QUARANTINE, UNDER_WAY = "dataset.json", "quarantine.jsonl", "preparing.json"
VERSION = 1
CHUNK = 8
"""Entries that are handed to a worker at once."""


def is_prepared(folder: str | Path) -> bool:
    """Whether a folder holds prepared data."""
    return (Path(folder) / DATASET).is_file()


def prepare(
    source: Source, folder: str | Path, settings: Preparation, workers: int = 1, captioner: Captioner | None = None
) -> Iterator[Progress]:
    """Prepare a source, entry by entry; what is yielded may still be in memory until its shard is full.

    Called again after it was cut off, it goes on; called on data that is ready and was made so, it does nothing.
    captioner: writes captions where the source has none. Raises InputError where nothing can be used, or the folder
    holds something else; ConfigError for a caption template that cannot be filled; what an annotator raises for every
    picture.
    """
    root = Path(folder)
    wanted = _wanted(source, settings)
    if _is_ready(root, wanted, settings):
        return
    check_template(settings.caption, source)
    probe(settings, set(source.kinds))
    _save(root / UNDER_WAY, wanted)
    line = Line(source, settings, captioner)
    whole = finished(root / SHARDS)
    for shard in whole:
        yield from line.recall(shard)
    done = whole[-1].entries[1] if whole else 0
    packer = Packer(root / SHARDS, settings.shard_megabytes * 2**20, len(whole), done)
    names = [entry.name for entry in islice(source.entries, done, None)]
    for name, outcome in zip(names, _outcomes(source.entries[done:], settings, workers), strict=True):
        packed, problems = line.take(outcome)
        if full := packer.add(packed, problems):
            whole.append(full)
        yield Progress(name, packed is not None, problems=tuple(problems))
    if last := packer.commit():
        whole.append(last)
    elif not whole:
        (root / UNDER_WAY).unlink()
        raise InputError(_nothing([*source.problems, *packer.problems]))
    _finish(root, source, settings, whole)


def _nothing(problems: Sequence[Problem]) -> str:
    lines = tally(problems)
    return "nothing could be prepared: " + "; ".join(lines[:3])


def _outcomes(entries: Sequence[Entry], settings: Preparation, workers: int) -> Iterator[Outcome]:
    jobs = [_Job(settings, tuple(entries[first : first + CHUNK])) for first in range(0, len(entries), CHUNK)]
    for outcomes in in_order(_work, jobs, min(workers, max(1, len(jobs)))):
        yield from outcomes


@dataclass(frozen=True)
class _Job:
    settings: Preparation
    entries: tuple[Entry, ...]


def _work(job: _Job) -> list[Outcome]:
    return [make(entry, job.settings) for entry in job.entries]


def _wanted(source: Source, settings: Preparation) -> dict[str, Any]:
    """What is to be made: the settings, and of which entries."""
    names = to_json([[entry.name, entry.texts, sorted(entry.maps)] for entry in source])
    about = {"version": VERSION, "source": hashlib.sha256(names.encode()).hexdigest(), "entries": len(source)}
    wanted: dict[str, Any] = json.loads(to_json(about | {"settings": settings.model_dump(mode="json")}))
    return wanted


def _is_ready(root: Path, wanted: Mapping[str, Any], settings: Preparation) -> bool:
    """Whether all is made already. Raises InputError for a folder in which something else was begun."""
    for name in (DATASET, QUARANTINE, UNDER_WAY):
        for draft in root.glob(f".{name}.*.part"):  # of a run that was killed within a write
            draft.unlink()
    for name in (DATASET, UNDER_WAY):
        if (root / name).is_file():
            _refuse_other(root, _load(root / name), wanted, settings)
            if name == DATASET:
                (root / UNDER_WAY).unlink(missing_ok=True)
            return name == DATASET
    if root.is_dir() and any(root.iterdir()):
        raise InputError(f"{root} holds other files; give an empty folder, or a new one")
    return False


def _refuse_other(root: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], settings: Preparation) -> None:
    before = parse(Preparation, dict(found["settings"]), str(root))
    for key, value in before:
        if value != (now := getattr(settings, key)):
            raise InputError(f"{root} was begun with {key} = {value}, not {now}; give another folder, or delete it")
    if any(found[key] != wanted[key] for key in ("version", "source", "entries")):
        raise InputError(f"{root} was made from other pictures; give another folder, or delete it")


def _load(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        if isinstance(found["settings"], dict):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path} cannot be read; delete its folder and prepare the data again")


def _save(path: Path, value: object) -> None:
    with atomic(path) as draft:
        draft.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _finish(root: Path, source: Source, settings: Preparation, shards: Sequence[Shard]) -> None:
    """Write what was left out, and then the one file that says that all is there."""
    problems = [*source.problems, *(problem for shard in shards for problem in shard.problems)]
    with atomic(root / QUARANTINE) as draft:
        draft.write_text("".join(f"{to_json(asdict(problem))}\n" for problem in problems), encoding="utf-8")
    lines = [line for shard in shards for line in shard.samples]
    maps = Counter(end[:-4] for line in lines for end in line["files"] if end.endswith(".png") and end.count(".") == 1)
    counts = Counter(tuple(line["size"]) for line in lines)
    found = _load(root / UNDER_WAY) | {
        "about": source.about,
        "samples": len(lines),
        "kinds": {kind: _kind(kind, count, lines) for kind, count in sorted(maps.items())},
        "buckets": [[*size, count] for size, count in sorted(counts.items())],
        "splits": dict(sorted(Counter(line["split"] for line in lines).items())),
        "shards": [{"name": each.name, "bytes": each.bytes, "sha256": each.sha256} for each in shards],
        "problems": tally(problems),
    }
    _save(root / DATASET, found)
    (root / UNDER_WAY).unlink()


def _kind(kind: str, count: int, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is said of the maps of a kind: how many samples have one, how many draws, and how they are made smaller."""
    draws = max(sum(end.split(".")[0] == kind and end.endswith(".png") for end in line["files"]) for line in lines)
    return {"samples": count, "draws": draws, "channels": channels_of(kind), "reduction": reduction_of(kind)}
