"""Where pictures come from: folders, lists, tars, tables; all become entries that are still unread."""

from pathlib import Path

from underdraw.data.sources.archives import archives
from underdraw.data.sources.entries import Entry, Piece, Problem, Source, tally
from underdraw.data.sources.folders import METADATA, PROMPTS, Wishes, image_folder, picture_folder, prompt_list
from underdraw.data.sources.kinds import UNNAMED, channels_of, is_kind, kind_of, reduction_of
from underdraw.data.sources.people import POSE, with_people
from underdraw.data.sources.tables import hub_set, parquet, saved_set
from underdraw.errors import InputError

__all__ = [
    "POSE",
    "UNNAMED",
    "Entry",
    "Piece",
    "Problem",
    "Source",
    "Wishes",
    "channels_of",
    "is_kind",
    "kind_of",
    "open_source",
    "reduction_of",
    "tally",
]


def open_source(place: str | Path, wishes: Wishes | None = None) -> Source:
    """The entries of a source: a folder, a list of prompts, a parquet file, tars, a data set on disk or on the hub.

    Raises InputError for what is none of them, holds nothing, or may not be asked for.
    """
    wishes = wishes or Wishes()
    source = _open(place, wishes)
    if wishes.keypoints:
        source = with_people(source, wishes.keypoints)
    if not source.entries:
        lines = tally(source.problems)
        raise InputError(f"{place} holds no picture that can be used" + (f": {lines[0]}" if lines else ""))
    return source


def _open(place: str | Path, wishes: Wishes) -> Source:
    path = Path(place)
    if path.is_dir():
        return _folder(path, wishes)
    if not path.exists():
        if str(place).count("/") == 1 and not path.is_absolute() and not path.suffix:
            return hub_set(str(place), wishes)
        raise InputError(f"there is no {place}")
    if path.suffix.lower() in (".json", ".jsonl"):
        return prompt_list(path, wishes)
    if path.suffix.lower() == ".parquet":
        return parquet([path], wishes)
    if ".tar" in path.suffixes or path.suffix == ".tgz":
        return archives([path], wishes)
    raise InputError(f"{place} is not a source of pictures: give a folder, prompt.json, .parquet or .tar")


def _folder(folder: Path, wishes: Wishes) -> Source:
    if any((folder / name).is_file() for name in METADATA):
        return image_folder(folder, wishes)
    if (folder / PROMPTS).is_file():
        return prompt_list(folder / PROMPTS, wishes)
    if (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file():
        return saved_set(folder, wishes)
    for ending, reads in (("tar", archives), ("parquet", parquet)):
        if found := sorted(folder.rglob(f"*.{ending}")):
            return reads(found, wishes)
    return picture_folder(folder, wishes)
