"""Tables of pictures: parquet files, data sets of `datasets` on disk or (with consent) on the hub."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from underdraw.data.sources.entries import Cells, Entry, Piece, Problem, Row, Source, Table
from underdraw.data.sources.folders import Wishes
from underdraw.data.sources.kinds import is_kind, kind_of
from underdraw.data.sources.texts import captions_in
from underdraw.errors import InputError, MissingExtra
from underdraw.registry import nearest

__all__ = ["hub_set", "parquet", "saved_set"]

PICTURES = ("image", "picture", "img", "target", "jpg", "png")
"""Columns that hold the picture, the first that is there."""
EXTRA = "data"


def parquet(paths: list[Path], wishes: Wishes) -> Source:
    """Parquet files whose columns hold pictures as bytes, or as `datasets` stores them. Raises InputError."""
    _needs("pyarrow")
    listed: list[Entry | Problem] = []
    for path in paths:
        try:
            listed += _rows(_Parquet(path), path.name, wishes)
        except (OSError, ValueError) as error:  # pyarrow's own errors are values that do not fit
            raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    return _source("parquet", listed)


def saved_set(folder: Path, wishes: Wishes) -> Source:
    """What `Dataset.save_to_disk` wrote. Raises InputError where it has several splits and none is wished for."""
    _needs("datasets")
    splits = json.loads((folder / "dataset_dict.json").read_bytes())["splits"] if _is_dict(folder) else []
    return _source(
        "data set on disk", list(_rows(_Arrow(str(folder), _split(splits, wishes, folder)), folder.name, wishes))
    )


def hub_set(name: str, wishes: Wishes) -> Source:
    """A data set of the hub. Raises InputError where nobody allowed its download, or it fails."""
    _needs("datasets")
    if not wishes.download:
        raise InputError(f"{name} is no file or folder here; if it is a data set of the hub, allow it with --download")
    from datasets import get_dataset_split_names

    try:
        split = _split(get_dataset_split_names(name), wishes, name)
        return _source("data set of the hub", list(_rows(_Arrow(name, split, hub=True), name, wishes)))
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"cannot get {name} from the hub: {str(error).splitlines()[0]}") from error


def _needs(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtra(package, EXTRA)


def _is_dict(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file()


def _split(splits: list[str], wishes: Wishes, name: object) -> str:
    """The split that is wished for, else the only one, else train."""
    wanted = wishes.split or ("train" if "train" in splits else splits[0] if len(splits) == 1 else "")
    if splits and wanted not in splits:
        raise InputError(f"{name} has no split {wanted!r}; say --split: {nearest(wanted, splits)}")
    return wanted


def _source(about: str, listed: list[Entry | Problem]) -> Source:
    entries = [each for each in listed if isinstance(each, Entry)]
    return Source(about, entries, tuple(each for each in listed if isinstance(each, Problem)))


@dataclass(frozen=True)
class _Parquet(Table):
    path: Path

    def open(self) -> "_ParquetCells":
        """Open the file."""
        return _ParquetCells(self.path)


class _ParquetCells(Cells):
    """Cells come a row group at a time; the last group of each column is kept."""

    def __init__(self, path: Path) -> None:
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]

        self.file = ParquetFile(path)
        sizes = [self.file.metadata.row_group(group).num_rows for group in range(self.file.num_row_groups)]
        self.first = [sum(sizes[:group]) for group in range(len(sizes))]
        self.kept: dict[str, tuple[int, Any]] = {}

    @property
    def schema(self) -> Any:
        """The file's columns."""
        return self.file.schema_arrow

    def rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        """All rows, with these columns."""
        for batch in self.file.iter_batches(columns=columns):
            yield from batch.to_pylist()

    def cell(self, row: int, column: str) -> bytes:
        """The bytes of a picture."""
        group = next(number for number in reversed(range(len(self.first))) if self.first[number] <= row)
        if self.kept.get(column, (-1, None))[0] != group:
            self.kept[column] = group, self.file.read_row_group(group, columns=[column]).column(0)
        return _content(self.kept[column][1][row - self.first[group]].as_py())


@dataclass(frozen=True)
class _Arrow(Table):
    place: str
    split: str
    hub: bool = False

    def open(self) -> "_ArrowCells":
        """Open the data set; its pictures are not decoded."""
        return _ArrowCells(self)


class _ArrowCells(Cells):
    def __init__(self, table: _Arrow) -> None:
        from datasets import Image, load_dataset, load_from_disk

        if table.hub:
            found = load_dataset(table.place, split=table.split)
        else:
            found = load_from_disk(table.place)
            found = found[table.split] if table.split else found
        for name, feature in found.features.items():
            if isinstance(feature, Image):
                found = found.cast_column(name, Image(decode=False))
        self.rows_ = found

    @property
    def schema(self) -> Any:
        """The columns."""
        return self.rows_.features.arrow_schema

    def rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        """All rows, with these columns."""
        yield from (dict(row) for row in self.rows_.select_columns(columns)) if columns else ({} for _ in self.rows_)

    def cell(self, row: int, column: str) -> bytes:
        """The bytes of a picture."""
        return _content(self.rows_[row][column])


def _content(value: Any) -> bytes:
    """A picture cell: bytes, or `datasets`' pair of bytes and path."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        try:
            return Path(value).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {value}: {error.strerror or error}") from error
    if not isinstance(value, bytes):
        raise InputError("the cell of the picture is empty")
    return value


def _rows(table: _Parquet | _Arrow, name: str, wishes: Wishes) -> Iterator[Entry | Problem]:
    cells = table.open()
    pictures = [field.name for field in cells.schema if _holds_pictures(field.type)]
    picture = _picture_column(pictures, wishes, name)
    for column in wishes.maps.values():
        if column not in pictures:
            raise InputError(f"{name} has no column {column!r} of pictures; {nearest(column, pictures)}")
    columns = dict(wishes.maps) or {kind_of(each): each for each in pictures if each != picture}
    rest = [field.name for field in cells.schema if field.name not in pictures]
    for number, row in enumerate(cells.rows(rest)):
        maps: dict[str, Piece] = {kind: Row(table, number, column) for kind, column in columns.items()}
        texts = captions_in(row, wishes.caption)
        attributes = {key: value for key, value in row.items() if _is_json(value)}
        yield Entry(f"{name}, row {number}", Row(table, number, picture), maps, texts, attributes)


def _holds_pictures(kind: Any) -> bool:
    import pyarrow  # type: ignore[import-untyped]

    if pyarrow.types.is_struct(kind):
        return "bytes" in [kind.field(number).name for number in range(kind.num_fields)]
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _picture_column(pictures: list[str], wishes: Wishes, name: str) -> str:
    """The one that is wished for, else the first usual one, else the only one that is not named after a kind of map."""
    if wishes.picture:
        if wishes.picture not in pictures:
            raise InputError(
                f"{name} has no column {wishes.picture!r} of pictures; {nearest(wishes.picture, pictures)}"
            )
        return wishes.picture
    others = [column for column in pictures if not is_kind(kind_of(column))]
    found = next((column for column in PICTURES if column in pictures), others[0] if len(others) == 1 else None)
    if found is None:
        raise InputError(
            f"{name} does not say which column is the picture; say --picture: {', '.join(pictures) or 'none'}"
        )
    return found


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
