from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from underdraw.config import Config, load, parse
from underdraw.errors import ConfigError


class Brush(Config):
    width: int = Field(3, ge=1)
    colour: str = "black"


class Pencil(Config):
    tool: Literal["pencil"] = "pencil"
    hardness: str = "HB"


class Pen(Config):
    tool: Literal["pen"] = "pen"
    ink: str
    brush: Brush = Brush()


class Sheet(Config):
    title: str
    size: tuple[int, int] = (64, 64)
    share: float = 0.5
    brush: Brush = Brush()
    drawn: Annotated[Pencil | Pen, Field(discriminator="tool")] = Pencil()


RECIPE = """# underdraw draw sheet.toml
title = "hills"
[brush]
width = 5
"""


def written(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "sheet.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_file_and_lays_overrides_over_it(tmp_path: Path) -> None:
    sheet = load(
        Sheet,
        written(tmp_path),
        ["brush.colour=red", "size=[8, 9]", "share=1e-3", "title=a b = c", "drawn.tool=pen", 'drawn.ink="3"'],
    )
    assert sheet == Sheet(
        title="a b = c", size=(8, 9), share=0.001, brush=Brush(width=5, colour="red"), drawn=Pen(ink="3")
    )


def test_overrides_make_tables_that_the_file_lacks(tmp_path: Path) -> None:
    assert load(Sheet, written(tmp_path, "title='x'"), ["brush.width=9"]).brush.width == 9


def test_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Sheet(title="x").title = "y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("titel=x", "unknown key 'titel'; did you mean 'title'?"),
        ("brush.widht=3", "unknown key 'brush.widht'; did you mean 'width'?"),
        ("brush.width=0", "brush.width: input should be greater than or equal to 1 (got 0)"),
        ("brush.width=thin", "brush.width: input should be a valid integer"),
        ("share=nan", "share: input should be a finite number (got nan)"),
        ("drawn.hardnes=2B", "unknown key 'drawn.hardnes'; did you mean 'hardness'?"),
        ("drawn.tool=pencl", "drawn.tool: unknown 'pencl'; did you mean 'pencil'?"),
        ("drawn={ink='blue'}", "drawn.tool: field required"),
        ("drawn={tool='pen'}", "drawn.ink: field required"),
        ("drawn={tool='pen', ink='x', brush={wide=1}}", "unknown key 'drawn.brush.wide'; did you mean 'width'?"),
        ("title", "'title' is not an override; write key=value"),
        ("=3", "'=3' is not an override; write key=value"),
        ("title.a=3", "'title.a=3': 'title' is a value, not a table"),
    ],
)
def test_a_mistake_says_what_was_meant(tmp_path: Path, override: str, message: str) -> None:
    path = written(tmp_path, RECIPE.replace("[brush]", "drawn.tool = 'pencil'\n[brush]"))
    with pytest.raises(ConfigError) as caught:
        load(Sheet, path, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read recipe .*none.toml: No such file"):
        load(Sheet, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"recipe .*sheet.toml is not TOML"):
        load(Sheet, written(tmp_path, "title = "))
    (tmp_path / "sheet.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"is not TOML"):
        load(Sheet, tmp_path / "sheet.toml")
    with pytest.raises(ConfigError, match=r"sheet.toml: title: field required"):
        load(Sheet, written(tmp_path, ""))


def test_parse_names_where_a_table_came_from() -> None:
    assert parse(Brush, {"width": 2}, "here") == Brush(width=2)
    with pytest.raises(ConfigError, match=r"^here: unknown key 'wdth'; did you mean 'width'\?$"):
        parse(Brush, {"wdth": 2}, "here")
