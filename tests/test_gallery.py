"""The gallery shows what its table says, and is drawn again to the byte."""

from pathlib import Path

import pytest
import torch

from docs.gallery import FOLDER, PICTURES, ROOM, TABLE, Gallery, Row, Sheet, draw, gallery, page
from underdraw.config import load
from underdraw.data.scenes.records import split_of
from underdraw.generation import ControlRequest, Studio

TOLD = load(Gallery, TABLE)
REQUESTS = [ControlRequest.parse(text) for sheet in TOLD.sheets.values() for row in sheet.rows for text in row.control]


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio.open(device="cpu")


def test_everything_that_the_table_names_is_there() -> None:
    """Files of the examples, and rooms that no training has seen."""
    named = {str(request.picture) for request in REQUESTS} | {str(request.mask) for request in REQUESTS if request.mask}
    rooms = {name for name in named if name.startswith(ROOM)}
    assert all(split_of(int(name.removeprefix(ROOM))) == "report" for name in rooms) and len(rooms) > 3
    assert not [name for name in named - rooms if not (PICTURES / name).is_file()]


def test_sheets_are_tables() -> None:
    """Every row has as many controls as the first, so that columns are what their heads say."""
    for name, sheet in TOLD.sheets.items():
        assert len({len(row.control) for row in sheet.rows}) == 1, name


def test_every_kind_of_the_shipped_families_is_shown() -> None:
    recipes = (Path(__file__).parents[1] / "recipes" / "embedded" / "cpu").glob("control-*.toml")
    from underdraw.training.recipe import ControlRun, Recipe

    runs = [load(Recipe, path).learn for path in recipes]
    assert {kind for run in runs if isinstance(run, ControlRun) for kind in run.kinds} <= {
        request.kind for request in REQUESTS
    }


def test_the_page_is_up_to_date(studio: Studio) -> None:
    told = gallery(studio)
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == page(told), "run: make gallery"
    assert {path.stem for path in FOLDER.glob("*.jpg")} == set(told.sheets)


def test_a_sheet_is_drawn_again_to_the_byte(studio: Studio) -> None:
    row = Row(prompt="a red apple", control=["canny=drawings/apple.png,map", "depth=room:7,weight=0.5"])
    sheet = Sheet(title="both", text="", seeds=[1, 2], rows=[row])
    first, again = (draw(studio, sheet, steps=1) for _ in range(2))
    assert torch.equal(first, again) and first.shape[2] > 6 * 144


def test_what_no_net_takes_is_left_out(studio: Studio, tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    rows = '{ control = ["canny=room:3"] }, { control = ["boxes=room:3"] }, { lora = ["nowhere"] }'
    sheets = {"a": rows, "b": ""}
    told = [f'[sheets.{name}]\ntitle = ""\ntext = ""\nrows = [{inside}]\n' for name, inside in sheets.items()]
    table.write_text("".join(told))
    able = gallery(studio, table).sheets
    assert list(able) == ["a"] and [row.control for row in able["a"].rows] == [["canny=room:3"]]
