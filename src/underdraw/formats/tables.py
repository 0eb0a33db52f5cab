"""Foreign names are tables: a mapping of modules, and its inverse.

A table says of every module of an architecture what the other side calls it. `translate` renames all that a file holds,
or says what it does not know; the way back is the same table, flipped:

    translate(translate(tensors, table), flip(table)) == tensors
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from underdraw.model.folders import refuse_keys

__all__ = ["Table", "flip", "joined", "known", "translate"]

Table = Mapping[str, str]
"""From the path of a module (or the whole name of a parameter that stands alone) to its path in the other naming."""

T = TypeVar("T")


def flip(table: Table) -> dict[str, str]:
    """The inverse of a table. Raises ValueError when two modules have one name there: the way back would be a guess."""
    inverse = {there: here for here, there in table.items()}
    if len(inverse) != len(table):
        twice = sorted(there for here, there in table.items() if inverse[there] != here)
        raise ValueError(f"the table is ambiguous: {', '.join(twice)}")
    return inverse


def joined(*tables: Table) -> dict[str, str]:
    """One table of several that speak of different modules. Raises ValueError where two speak of one."""
    whole: dict[str, str] = {}
    for table in tables:
        if twice := sorted(whole.keys() & table.keys()):
            raise ValueError(f"two tables speak of {', '.join(twice)}")
        whole |= table
    return whole


def translate(tensors: Mapping[str, T], table: Table, place: Path) -> dict[str, T]:
    """The same values under their other names; what follows a module's path (`.weight`, `.bias`, `.up`) stays.

    place: what errors call the file. Raises CheckpointError counting and naming what the table does not know.
    """
    renamed = {name: _renamed(name, table) for name in tensors}
    refuse_keys(place, missing=(), unknown=[name for name, new in renamed.items() if new is None])
    return {new: tensors[name] for name, new in renamed.items() if new is not None}


def known(tensors: Mapping[str, T], table: Table) -> tuple[dict[str, T], list[str]]:
    """What a table speaks of, and the names of what it does not."""
    mine = {name: each for name, each in tensors.items() if _renamed(name, table) is not None}
    return mine, [name for name in tensors if name not in mine]


def _renamed(name: str, table: Table) -> str | None:
    if name in table:
        return table[name]
    module, dot, parameter = name.rpartition(".")
    return f"{table[module]}{dot}{parameter}" if module in table else None
