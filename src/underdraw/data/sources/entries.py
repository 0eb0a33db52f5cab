"""What a source of pictures consists of: entries, each a picture with what belongs to it, all still unread."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from underdraw.errors import InputError

__all__ = ["Bytes", "Entry", "File", "Piece", "Problem", "Row", "Source", "Span", "tally"]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with one entry. what: in the words by which the like of it are counted. loses: the entry
    is left out because of it; otherwise it goes on without the thing that is wrong.
    """

    name: str
    what: str
    detail: str = ""
    loses: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.what}" + (f" ({self.detail})" if self.detail else "")


def tally(problems: Iterable[Problem]) -> list[str]:
    """One line a sort of problem, with how often it occurs and its first case; what loses pictures comes first."""
    found = list(problems)
    counts = Counter((not each.loses, each.what) for each in found)
    lines = []
    for (stays, what), count in sorted(counts.items()):
        first = next(each for each in found if (not each.loses, each.what) == (stays, what))
        told = f"{first.name}: {first.detail}" if first.detail else first.name
        lines.append(f"{count} × {what}, {'noted' if stays else 'left out'} (first {told})")
    return lines


class Piece(ABC):
    """Bytes that lie somewhere; small enough to be handed to another process."""

    @abstractmethod
    def read(self) -> bytes:
        """The bytes. Raises InputError where they are gone."""

    @property
    def suffix(self) -> str:
        """The ending of the name, in lower case with its dot; "" where there is no name."""
        return ""


@dataclass(frozen=True)
class File(Piece):
    """A whole file."""

    path: Path

    def read(self) -> bytes:
        """The bytes of the file."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from error

    @property
    def suffix(self) -> str:
        """As the file's."""
        return self.path.suffix.lower()


@dataclass(frozen=True)
class Span(Piece):
    """A part of a file: a member of a tar."""

    path: Path
    offset: int
    size: int
    name: str = ""

    def read(self) -> bytes:
        """The bytes of the part."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from error
        if len(data) < self.size:
            raise InputError(f"{self.path} is cut off within {self.name or 'a member'}")
        return data

    @property
    def suffix(self) -> str:
        """As the member's."""
        return Path(self.name).suffix.lower()


@dataclass(frozen=True)
class Bytes(Piece):
    """Bytes in hand."""

    data: bytes
    name: str = ""

    def read(self) -> bytes:
        """The bytes."""
        return self.data

    @property
    def suffix(self) -> str:
        """As the name's."""
        return Path(self.name).suffix.lower()


class Table(ABC):
    """Rows of pictures that are read by number: what a `Row` points into. Equal ones are opened once a process."""

    @abstractmethod
    def open(self) -> "Cells":
        """Open it."""


class Cells(ABC):
    """An open table."""

    @abstractmethod
    def cell(self, row: int, column: str) -> bytes:
        """The bytes of a picture."""


@dataclass(frozen=True)
class Row(Piece):
    """A cell of a table."""

    table: Table
    row: int
    column: str

    def read(self) -> bytes:
        """The bytes of the cell."""
        return _opened(self.table).cell(self.row, self.column)


@lru_cache(maxsize=4)
def _opened(table: Table) -> Cells:
    return table.open()


@dataclass(frozen=True)
class Entry:
    """One picture and what its source says of it, unread.

    name: what messages call it. maps: condition maps that the source brings, by kind. texts: its captions. attributes:
    what else is known, as JSON values.
    """

    name: str
    picture: Piece
    maps: Mapping[str, Piece] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """All entries of a source, in an order that is always the same, and what was wrong with it at first sight."""

    about: str
    entries: Sequence[Entry]
    problems: tuple[Problem, ...] = ()

    @property
    def kinds(self) -> list[str]:
        """The kinds of maps that it brings, sorted."""
        return sorted({kind for entry in self.entries for kind in entry.maps})

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)
