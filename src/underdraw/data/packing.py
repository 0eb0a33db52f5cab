"""Writing shards: WebDataset tars of bounded size, each with an index that says where everything lies.

A shard is committed when its index (`00000.jsonl`) stands beside its tar; whatever else lies there is made again. So a
preparation that was killed goes on from its last whole shard.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from underdraw.data.sources import Problem
from underdraw.errors import InputError
from underdraw.files import atomic

__all__ = ["SHARDS", "Packed", "Packer", "Shard", "finished", "read_index", "to_json"]

SHARDS = "shards"
"""The folder of the tars and their indices."""
BLOCK = 512

Place = tuple[int, int, str]
"""Where a file lies in its tar: offset and size in bytes, and the SHA-256 of its bytes."""


@dataclass(frozen=True)
class Packed:
    """A sample to be written: its key, its files by ending, and what the index says of it besides."""

    key: str
    files: Mapping[str, bytes]
    about: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        """Its size in a tar."""
        return sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for data in self.files.values())


@dataclass(frozen=True)
class Shard:
    """A shard that is whole. entries: which entries of the source it accounts for, from the first to before the last.

    samples: lines of its index. problems: what was wrong with those entries.
    """

    name: str
    bytes: int
    sha256: str
    entries: tuple[int, int]
    samples: tuple[Mapping[str, Any], ...]
    problems: tuple[Problem, ...]


class Packer:
    """Collects samples, and writes a shard when the next one would make it too large."""

    def __init__(self, folder: Path, limit: int, number: int = 0, entries: int = 0) -> None:
        self.folder, self.limit, self.number = folder, limit, number
        self.first = self.last = entries
        self.samples: list[Packed] = []
        self.problems: list[Problem] = []
        self.bytes = 2 * BLOCK

    def add(self, packed: Packed | None, problems: Sequence[Problem]) -> Shard | None:
        """Take what became of the next entry; the shard that was finished before it, if one was."""
        done = None
        if packed:
            done = self.commit() if self.samples and self.bytes + packed.bytes > self.limit else None
            self.samples.append(packed)
            self.bytes += packed.bytes
        self.problems += problems
        self.last += 1
        return done

    def commit(self) -> Shard | None:
        """Write what was collected: the tar, then its index. Nothing where there is no sample."""
        if not self.samples:
            return None
        path = self.folder / f"{self.number:05d}.tar"
        with atomic(path) as draft:
            places = _write(draft, self.samples)
            size, digest = draft.stat().st_size, _digest(draft)
        samples = tuple(
            {"key": each.key, "files": place} | dict(each.about)
            for each, place in zip(self.samples, places, strict=True)
        )
        shard = Shard(path.name, size, digest, (self.first, self.last), samples, tuple(self.problems))
        with atomic(path.with_suffix(".jsonl")) as draft:
            draft.write_text("".join(f"{line}\n" for line in _lines(shard)), encoding="utf-8")
        self.number, self.first, self.bytes = self.number + 1, self.last, 2 * BLOCK
        self.samples, self.problems = [], []
        return shard


def _write(path: Path, samples: Sequence[Packed]) -> list[dict[str, Place]]:
    """A tar without anything that depends on when or by whom it was written; where each file lies."""
    places = []
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            place: dict[str, Place] = {}
            for ending, data in sample.files.items():
                info = tarfile.TarInfo(f"{sample.key}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                offset = tar.offset - -(-len(data) // BLOCK) * BLOCK
                place[ending] = offset, len(data), hashlib.sha256(data).hexdigest()
            places.append(place)
    return places


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(shard: Shard) -> Iterator[str]:
    head = {"shard": shard.name, "bytes": shard.bytes, "sha256": shard.sha256, "entries": shard.entries}
    for each in (head, *shard.samples, *({"problem": asdict(problem)} for problem in shard.problems)):
        yield json.dumps(each, ensure_ascii=False)


def read_index(path: Path) -> Shard:
    """The shard that an index speaks of. Raises InputError for an index that cannot be read."""
    try:
        head, *lines = map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1])
        samples = tuple(line for line in lines if "problem" not in line)
        problems = tuple(Problem(**line["problem"]) for line in lines if "problem" in line)
        first, last = head["entries"]
        return Shard(head["shard"], head["bytes"], head["sha256"], (first, last), samples, problems)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the index of a shard; prepare the data again") from error


def finished(folder: Path) -> list[Shard]:
    """The whole shards of a folder, in order; whatever a run that was cut off left beside them is removed."""
    whole: list[Shard] = []
    while (index := folder / f"{len(whole):05d}.jsonl").is_file():
        shard = read_index(index)
        tar = folder / shard.name
        if not tar.is_file() or tar.stat().st_size != shard.bytes:
            break
        whole.append(shard)
    names = {name for shard in whole for name in (shard.name, Path(shard.name).with_suffix(".jsonl").name)}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in names:
            path.unlink()
    return whole


def to_json(value: Any) -> str:
    """One line of JSON; the same value gives the same text."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
