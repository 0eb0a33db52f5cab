"""`underdraw scenes` and `underdraw stickers`: the two worlds, written as image folders."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from underdraw.apps.terminal import bar, result
from underdraw.apps.values import folder_path, parse_size
from underdraw.errors import ConfigError, InputError
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
    from underdraw.data.scenes import SPLITS, name_of, records
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
    target, pixels = folder_path(output), parse_size(size)
    done = _there(target, pixels)
    left = [each for each in seeds if name_of(each) not in done]
    _write(records(left, pixels, pick_device(device), language), target, "rooms", count, count - len(left), as_json)


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
    from underdraw.data.stickers import SPLITS, fetch, load, name_of, records, split_of

    if split is not None and split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; there is {', '.join(SPLITS)}")
    if not 1 <= variants <= 1000:
        raise ConfigError(f"variants = {variants} makes no sense; give a number from 1 to 1000")
    target, pixels = folder_path(output), parse_size(size)
    found = load(fetch(packages or cache_folder() / "stickers"))
    chosen = [sticker for sticker in found if split in (None, split_of(sticker.concept))]
    done = _there(target, pixels)
    left = [each for each in chosen if not done.issuperset(name_of(each, variant) for variant in range(variants))]
    drawn = records(left, pixels, seed, variants, background=background)
    kept = variants * (len(chosen) - len(left))
    _write(drawn, target, "stickers", variants * len(chosen), kept, as_json)


def _there(folder: Path, size: tuple[int, int]) -> set[str]:
    """The names of what an earlier run has written. Raises InputError where that is of another size."""
    from underdraw import images
    from underdraw.data.folder import written

    done = written(folder)
    for name in sorted(done)[:1]:
        height, width = images.read(folder / "images" / f"{name}.png").shape[-2:]
        if (width, height) != size:
            raise InputError(f"{folder} holds pictures of {width}×{height}; give another folder, or that --size")
    return done


def _write(records: "Iterable[Record]", folder: Path, what: str, total: int, kept: int, as_json: bool) -> None:
    """Write what is not there yet: all but `kept` of a total."""
    from underdraw.data.folder import write_folder

    begun, made = time.monotonic(), kept
    with bar(what, total) as move:
        move(done=kept)
        for record in write_folder(folder, records):
            made += 1
            move(record.text[:60])
    seconds = time.monotonic() - begun
    facts = {"folder": str(folder), what: made, "kept": kept, "seconds": round(seconds, 1)}
    there = f", {kept} of them were there" if kept else ""
    result(f"{folder}  {made} {what}{there}  {seconds:.0f} s", facts, as_json)


COMMANDS = (scenes, stickers)
