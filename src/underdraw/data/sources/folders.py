"""Folders of pictures: with `metadata.jsonl`, with captions beside them, with folders of maps; and `prompt.json`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from underdraw import images
from underdraw.data.sources.entries import Entry, File, Piece, Problem, Source
from underdraw.data.sources.kinds import UNNAMED, is_kind, kind_of
from underdraw.data.sources.people import beside, in_row
from underdraw.data.sources.texts import caption_file, captions_in, rows_of
from underdraw.errors import InputError
from underdraw.files import inside

__all__ = ["METADATA", "PROMPTS", "Wishes", "image_folder", "picture_folder", "prompt_list"]

METADATA = ("metadata.jsonl", "metadata.csv")
"""What makes a folder an image folder of `datasets`."""
PROMPTS = "prompt.json"
"""fill50k's list: source (the map), target (the picture) and prompt, a JSON object a line."""
PICTURES = ("images", "image", "pictures", "target", "targets")
"""Folders of pictures that have folders of maps beside them."""
MAPS = (*images.SUFFIXES, ".npy", ".json")
"""Endings of files that may be maps."""


@dataclass(frozen=True)
class Wishes:
    """How a source is to be read. maps: the column or folder of each kind of maps. picture, caption: columns. split: of
    a data set that has several. keypoints: a file in COCO's person-keypoint format. download: the hub may be asked.
    """

    maps: Mapping[str, str] = field(default_factory=dict)
    picture: str = ""
    caption: str = ""
    split: str = ""
    keypoints: Path | None = None
    download: bool = False


def image_folder(folder: Path, wishes: Wishes) -> Source:
    """An image folder of `datasets`: `file_name`, captions, `<kind>_file_name` columns; the rest are attributes."""
    table = next(folder / name for name in METADATA if (folder / name).is_file())
    listed = list(_rows(folder, table, wishes, wishes.picture or "file_name", {}))
    return _source(f"image folder ({table.name})", listed, _unlisted(folder, listed))


def prompt_list(table: Path, wishes: Wishes) -> Source:
    """fill50k's layout: the paths are relative to the folder of the list."""
    columns = dict(wishes.maps) or {UNNAMED: "source"}
    listed = list(_rows(table.parent, table, wishes, wishes.picture or "target", columns))
    return _source(f"list of prompts ({table.name})", listed, [])


def _rows(
    folder: Path, table: Path, wishes: Wishes, picture: str, columns: Mapping[str, str]
) -> Iterator[Entry | Problem]:
    seen: set[str] = set()
    for number, row in rows_of(table):
        place = f"{table.name}, line {number}"
        if isinstance(row, Problem):
            yield row
        elif not isinstance(row.get(picture), str) or not row[picture]:
            yield Problem(place, f"line has no {picture}")
        elif row[picture] in seen:
            yield Problem(row[picture], "name is listed twice", place)
        else:
            seen.add(row[picture])
            yield from _listed(folder, row, wishes, picture, columns)


def _listed(
    folder: Path, row: dict[str, Any], wishes: Wishes, picture: str, columns: Mapping[str, str]
) -> Iterator[Entry | Problem]:
    """The entry of a row, after what is wrong with it."""
    name, used = row[picture], {picture, wishes.caption}
    if not (path := _at(folder, name)):
        yield Problem(name, "picture is missing")
        return
    given = {kind_of(key): key for key in row if key.endswith("_file_name")} | dict(columns) | dict(wishes.maps)
    maps: dict[str, Piece] = in_row(row)
    for kind, column in given.items():
        used.add(column)
        if isinstance(value := row.get(column), str) and value:
            if found := _at(folder, value):
                maps[kind] = File(found)
            else:
                yield Problem(name, f"{kind} map is missing", value, loses=False)
    attributes = {key: value for key, value in row.items() if key not in used}
    yield Entry(name, File(path), maps, captions_in(row, wishes.caption), attributes)


def _at(folder: Path, name: str) -> Path | None:
    """A file of a folder; None where there is none, or where its name leads elsewhere."""
    try:
        path = inside(folder, name)
    except (InputError, ValueError, OSError):
        return None
    return path if path.is_file() else None


def _unlisted(folder: Path, listed: list[Entry | Problem]) -> list[Problem]:
    """Pictures that lie in the folder, and of which its table does not speak."""
    pieces = [piece for each in listed if isinstance(each, Entry) for piece in (each.picture, *each.maps.values())]
    known = {piece.path for piece in pieces if isinstance(piece, File)}
    names = [each.name for each in listed if isinstance(each, Problem)]
    paths = [path for path in files_of(folder, images.SUFFIXES) if path.resolve() not in known]
    return [
        Problem(name, "picture is not in the table", loses=True)
        for path in paths
        if (name := path.relative_to(folder).as_posix()) not in names
    ]


def picture_folder(folder: Path, wishes: Wishes) -> Source:
    """A folder of pictures, with captions in `.txt` beside them and maps in other folders.

    Folders named after a kind, beside one named `images`, are folders of maps without being asked for.
    """
    places = {kind: _map_folder(folder, where) for kind, where in wishes.maps.items()} or _kinds_beside(folder)
    maps = {kind: _stems(place) for kind, place in places.items()}
    paths = [path for path in files_of(folder, images.SUFFIXES) if not _under(path, places.values())]
    if not paths:
        raise InputError(f"{folder} holds no pictures ({', '.join(images.SUFFIXES)})")
    listed: list[Entry | Problem] = []
    for path in paths:
        name = path.relative_to(folder)
        texts, problems = caption_file(path, name.as_posix())
        found = {kind: piece for kind, stems in maps.items() if (piece := _map_of(name, stems))} | beside(path)
        listed += problems
        listed.append(Entry(name.as_posix(), File(path), found, texts))
    return _source("folder of pictures", listed, [])


def files_of(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a folder with one of these endings, sorted, without hidden ones."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes and path.is_file()]
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _kinds_beside(folder: Path) -> dict[str, Path]:
    if not any((folder / name).is_dir() for name in PICTURES):
        return {}
    found = {kind_of(path.name): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return {kind: path for kind, path in found.items() if is_kind(kind)}


def _map_folder(folder: Path, where: str) -> Path:
    found = next((path for path in (folder / where, Path(where)) if path.is_dir()), None)
    if found is None:
        raise InputError(f"there is no folder {where} of maps, neither in {folder} nor here")
    return found


def _under(path: Path, folders: Any) -> bool:
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def _stems(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files_of(folder, MAPS)}


def _map_of(name: Path, stems: Mapping[str, Path]) -> File | None:
    """The map of a picture: at the same place in their folder, or one folder further up."""
    places = (name.with_suffix(""), Path(*name.with_suffix("").parts[1:]))
    found = next((stems[place.as_posix()] for place in places if place.as_posix() in stems), None)
    return File(found) if found else None


def _source(about: str, listed: list[Entry | Problem], more: list[Problem]) -> Source:
    entries = [each for each in listed if isinstance(each, Entry)]
    return Source(about, entries, (*(each for each in listed if isinstance(each, Problem)), *more))
