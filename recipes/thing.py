"""The few pictures of one thing that a world holds, whatever their split, to try DreamBooth on.

python recipes/thing.py worlds/64/stickers "teddy bear" worlds/64/thing
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from underdraw.data.folder import Record, read_folder, write_folder
from underdraw.errors import InputError, UnderdrawError


def pictures(world: Path, name: str) -> Iterator[Record]:
    """The records of a thing by its English name, all of split "train"; their captions are kept.

    Raises InputError where there are none.
    """
    found = [record for record in read_folder(world) if record.attributes.get("name_en") == name]
    if not found:
        raise InputError(f"{world} has no pictures of {name!r}; its metadata.jsonl has the names (name_en)")
    for index, record in enumerate(found):
        yield replace(record, name=f"{index:02}", attributes={"split": "train"})


def main(arguments: list[str]) -> int:
    """Read where from, what and where to, write, and say what was written."""
    if len(arguments) != 3:
        print('usage: python recipes/thing.py worlds/64/stickers "teddy bear" worlds/64/thing', file=sys.stderr)
        return 2
    world, name, target = arguments
    try:
        count = len(list(write_folder(target, pictures(Path(world), name))))
    except UnderdrawError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{target}  {count} pictures of {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
