"""The gallery: what the embedded base draws under every kind of map that it has a net for: `make gallery`.

python -m docs.gallery             the page and all its sheets
python -m docs.gallery canny ink   the page and these sheets
python -m docs.gallery --text      the page alone; what a test compares

What is drawn stands in `gallery.toml`, with prompts and seeds; the same weights and versions draw the same bytes again.
Rows whose net or LoRA the base has not are left out.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from underdraw import images
from underdraw.annotators import masked
from underdraw.config import Config, load
from underdraw.data.folder import Record
from underdraw.data.known import condition_map
from underdraw.data.scenes import records
from underdraw.errors import ConfigError
from underdraw.formats.places import locate_lora
from underdraw.generation import Cell, ControlRequest, Drawn, Studio, native_size, read_source
from underdraw.generation import Row as Line
from underdraw.generation import sheet as contact_sheet
from underdraw.generation.provenance import unpack_map
from underdraw.generation.sources import as_picture

HERE = Path(__file__).parent
FOLDER, TABLE = HERE / "gallery", HERE / "gallery.toml"
PICTURES = HERE.parent / "examples" / "pictures"
ROOM = "room:"
"""Before the seed of a room that no training has seen, in place of a file."""


class Row(Config):
    """One row: what is asked for. control: as `--control` takes them, with files of examples/pictures or rooms."""

    prompt: str = ""
    control: list[str] = []
    lora: list[str] = []


class Sheet(Config):
    """One sheet: what it is called, what is to be seen on it, and its rows, each drawn with every seed."""

    title: str
    text: str
    seeds: list[int] = [1, 2, 3]
    rows: list[Row]


class Gallery(Config):
    """All sheets, by the names of their files, in their order."""

    steps: int = 20
    sheets: dict[str, Sheet]


@dataclass(frozen=True, eq=False)
class Given:
    """What a control starts from, as it is shown, and the request."""

    shown: Tensor
    request: ControlRequest


def gallery(studio: Studio, table: Path = TABLE) -> Gallery:
    """What of the table this base can draw. Raises ConfigError as `load`."""
    told = load(Gallery, table)
    able = {
        name: sheet.model_copy(update={"rows": [row for row in sheet.rows if _is_able(studio, row)]})
        for name, sheet in told.sheets.items()
    }
    return told.model_copy(update={"sheets": {name: sheet for name, sheet in able.items() if sheet.rows}})


def _is_able(studio: Studio, row: Row) -> bool:
    try:
        for text in row.control:
            studio.net_hash(ControlRequest.parse(text).kind)
        for text in row.lora:
            locate_lora(text.partition(":")[0])
    except ConfigError:
        return False
    return True


def page(told: Gallery) -> str:
    """The page that shows all sheets."""
    lines = [
        "# Gallery",
        "",
        "Written by `make gallery` from [gallery.toml](../gallery.toml), which holds all prompts and seeds: the "
        f"embedded base, {told.steps} steps. Nothing was chosen among seeds. From left to right: what was given, its "
        "map, what the base draws of the prompt alone, and what it draws under the map.",
        "",
    ]
    for name, sheet in told.sheets.items():
        seeds = ", ".join(map(str, sheet.seeds))
        lines += [f"## {sheet.title}", "", f"![{sheet.title}]({name}.jpg)", "", f"{sheet.text} Seeds {seeds}.", ""]
    return "\n".join(lines)


def draw(studio: Studio, sheet: Sheet, steps: int) -> Tensor:
    """A sheet 3×H×W in [0, 1]."""
    rows = [_line(studio, row, sheet.seeds, steps) for row in sheet.rows]
    maps = len(rows[0].cells) - 2 - len(sheet.seeds)
    heads = ["given", *["map"] * maps, "without", *(f"seed {seed}" for seed in sheet.seeds)]
    return contact_sheet(rows, heads, sheet.title)


def _line(studio: Studio, row: Row, seeds: list[int], steps: int) -> Line:
    given = [_given(text, native_size(studio.backbone)) for text in row.control]

    def drawn(controls: list[ControlRequest], seeds: list[int]) -> list[Drawn]:
        return studio.draw(row.prompt, controls=controls, seeds=seeds, steps=steps, loras=row.lora)

    # Silent, but there: without a prompt there must be something that is asked for.
    free = drawn([replace(each.request, weight=0.0) for each in given], seeds[:1])
    bound = drawn([each.request for each in given], seeds)
    maps = [
        Cell(unpack_map(guide, "the gallery")[0].clamp(min=0), guide.kind, crisp=True)
        for guide in bound[0].drawing.controls
    ]
    shown = [Cell(given[0].shown)] if given else []
    label = "\n".join([f"“{row.prompt}”" if row.prompt else "no prompt", *(f"LoRA {lora}" for lora in row.lora)])
    return Line(label, [*shown, *maps, *(Cell(one.picture) for one in (*free, *bound))])


def _given(text: str, size: tuple[int, int]) -> Given:
    """A control as the table says it, with its files found, or with a room in their place."""
    request = ControlRequest.parse(text)
    if isinstance(request.mask, str):
        request = replace(request, mask=str(PICTURES / request.mask))
    name = str(request.picture)
    if name.startswith(ROOM):
        return _of_room(request, _room(int(name.removeprefix(ROOM)), size))
    request = replace(request, picture=str(PICTURES / name))
    shown = as_picture(str(PICTURES / name)) if Path(name).suffix in images.SUFFIXES else None
    found = read_source(request) if shown is None else shown
    return Given(_square(found, size) if isinstance(found, Tensor) else torch.ones(3, size[1], size[0]), request)


def _of_room(request: ControlRequest, room: Record) -> Given:
    found = condition_map(room, request.kind)
    if request.kind != "inpaint":
        return Given(room.image, replace(request, picture=found[0], is_map=True))
    hole = (found.amin(1, keepdim=True) < 0).float()
    return Given(room.image, replace(request, picture=masked(room.image[None], hole)))


def _square(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return images.crop(picture, size)[0]


@cache
def _room(seed: int, size: tuple[int, int]) -> Record:
    return next(iter(records([seed], size)))


def write(studio: Studio, told: Gallery, names: list[str]) -> Iterator[Path]:
    """Draw sheets and write them as JPEGs; what is yielded has been written."""
    for name in names:
        path = FOLDER / f"{name}.jpg"
        Image.fromarray(images.to_uint8(draw(studio, told.sheets[name], told.steps))).save(path, quality=88)
        yield path


def main() -> None:
    """Write what is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("sheets", nargs="*", help="names of sheets; default: all")
    asked.add_argument("--text", action="store_true", help="the page alone")
    wanted = asked.parse_args()
    torch.set_num_threads(1)  # sums in another order differ in their last bits
    studio = Studio.open()
    told = gallery(studio)
    FOLDER.mkdir(exist_ok=True)
    for path in () if wanted.text else write(studio, told, wanted.sheets or list(told.sheets)):
        print(path.relative_to(HERE.parent))
    (FOLDER / "README.md").write_text(page(told), encoding="utf-8")


if __name__ == "__main__":
    main()
