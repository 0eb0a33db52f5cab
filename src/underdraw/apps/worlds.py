"""`underdraw scenes` and `underdraw stickers`: the two worlds, written as image folders."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from underdraw.apps.terminal import bar, result
from underdraw.apps.values import folder_path, parse_size
from underdraw.errors import ConfigError
from underdraw.files import cache_folder

if TYPE_CHECKING:
    from underdraw.data.folder import Record

__all__ = ["COMMANDS", "scenes", "stickers"]

Folder = Annotated[Path, Option("--output", "-o", help="The folder; a run that was cut off goes on in it.")]
Size = Annotated[str, Option(metavar="WxH", help="In pixels.")]
Split = Annotated[str | None, Option(help="train, watch or report.")]
AsJson = Annotated[bool, Option("--json", help="One JSON object at the end on stdout.")]


def scenes(
    count: Annotated[int, Argument(help="How many rooms.")],
    output: Folder,
    size: Size = "64x64",
    seed: Annotated[int | None, Option(help="Of the first room; default: the first of the split.")] = None,
    split: Split = None,
    language: Annotated[str, Option(help="Of the captions: en or zh; the attributes hold both.")] = "en",
    device: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Render rooms with their exact depth, normals, labels, lines, body points and captions."""
    from underdraw.data.scenes import SPLITS, records
    from underdraw.generation import pick_device

    if not 1 <= count <= 1_000_000:
        raise ConfigError(f"count = {count} makes no sense; from 1 to 1,000,000 rooms are drawn in one run")
    if seed is not None and split is not None:
        raise ConfigError("--seed and --split were given; choose one of them")
    if split is not None and split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; there is {', '.join(SPLITS)}")
    first = seed if seed is not None else SPLITS[split or "train"][0]
    seeds = range(first, first + count)
    if split is not None and seeds[-1] not in SPLITS[split]:
        raise ConfigError(f"split {split!r} has {len(SPLITS[split]):,} rooms, not {count:,}")
    drawn = records(seeds, parse_size(size), pick_device(device), language)
    _write(drawn, folder_path(output), "rooms", count, as_json)


def stickers(
    output: Folder,
    packages: Annotated[
        Path | None, Option(metavar="DIR", help="Where the emoji packages lie, or are put; default: the user's cache.")
    ] = None,
    size: Size = "64x64",
    seed: Annotated[int, Option(help="Of backgrounds, places and words.")] = 0,
    variants: Annotated[int, Option(help="Renderings of each sticker.")] = 1,
    split: Split = None,
    background: Annotated[str | None, Option(help="One for all, for example 'white'; default: many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Render openly licensed emoji sets with captions and masks. Needs the npm client once, to fetch them."""
    from underdraw.data.stickers import SPLITS, fetch, load, records, split_of

    if split is not None and split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; there is {', '.join(SPLITS)}")
    if not 1 <= variants <= 1000:
        raise ConfigError(f"variants = {variants} makes no sense; give a number from 1 to 1000")
    target, pixels = folder_path(output), parse_size(size)
    found = load(fetch(packages or cache_folder() / "stickers"))
    chosen = [sticker for sticker in found if split in (None, split_of(sticker.concept))]
    drawn = records(chosen, pixels, seed, variants, background=background)
    _write(drawn, target, "stickers", len(chosen) * variants, as_json)


def _write(records: "Iterable[Record]", folder: Path, what: str, total: int, as_json: bool) -> None:
    from underdraw.data.folder import write_folder

    begun, written = time.monotonic(), 0
    with bar(what, total) as move:
        for record in write_folder(folder, records):
            written += 1
            move(record.text[:60])
    seconds = time.monotonic() - begun
    facts = {"folder": str(folder), what: written, "seconds": round(seconds, 1)}
    result(f"{folder}  {written} {what}  {seconds:.0f} s", facts, as_json)


COMMANDS = (scenes, stickers)
