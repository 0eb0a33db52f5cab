"""Words that lie beside pictures: caption files, metadata lines, columns of captions."""

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from underdraw.data.sources.entries import Problem
from underdraw.errors import InputError

__all__ = ["CAPTIONS", "caption_file", "captions_in", "plain", "rows_of", "words_of"]

CAPTIONS = ("text", "texts", "caption", "captions", "prompt")
"""Columns that hold captions, the first that is there."""
BESIDE = (".txt", ".caption")
"""Endings of caption files beside pictures."""
NOT_TEXT = "caption is not text in UTF-8"


def plain(data: bytes) -> str | None:
    """The text in some bytes: UTF-8, or UTF-16 where a mark says so; None where it is neither."""
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if marked else "utf-8-sig").strip()
    except UnicodeDecodeError:
        return None


def caption_file(picture: Path, name: str) -> tuple[tuple[str, ...], list[Problem]]:
    """The caption in the file beside a picture, if there is one, and what is wrong with it."""
    found = next((path for end in BESIDE if (path := picture.with_suffix(end)).is_file()), None)
    if found is None:
        return (), []
    return words_of(found.read_bytes(), name, found.name)


def words_of(data: bytes, name: str, place: str) -> tuple[tuple[str, ...], list[Problem]]:
    """A caption from the bytes of its file; `place` is where they lie."""
    text = plain(data)
    if text is None:
        return (), [Problem(name, NOT_TEXT, place, loses=False)]
    return ((" ".join(text.split()),) if text else ()), []


def captions_in(row: Mapping[str, Any], column: str = "") -> tuple[str, ...]:
    """The captions of a row: those of `column`, else of the first usual one; one text or a list of them.

    `text_zh`, a Chinese caption beside an English one, follows it.
    """
    name = column or next((each for each in CAPTIONS if row.get(each)), "")
    found = row.get(name)
    texts = found if isinstance(found, list) else [found, row.get("text_zh") if name == "text" else None]
    return tuple(dict.fromkeys(" ".join(each.split()) for each in texts if isinstance(each, str) and each.strip()))


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """The rows of a table in text, with their line numbers: `.csv`, or JSON a line; what is no row is a problem.

    Raises InputError for a file that cannot be read, or is not text.
    """
    try:
        text = plain(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if text is None:
        raise InputError(f"{path} is not text in UTF-8; save it as UTF-8")
    if path.suffix.lower() == ".csv":
        yield from enumerate(csv.DictReader(io.StringIO(text)), start=2)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _json_row(line, f"{path.name}, line {number}")


def _json_row(line: str, place: str) -> dict[str, Any] | Problem:
    try:
        row = json.loads(line)
    except ValueError:
        return Problem(place, "line is not JSON", line[:60])
    return row if isinstance(row, dict) else Problem(place, "line is not a JSON object", line[:60])
