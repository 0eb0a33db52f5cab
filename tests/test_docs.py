"""The pages that are written from the code say what the code says."""

from pathlib import Path

import pytest

from docs import ablated
from docs.make import FOLDER, pages
from underdraw.annotators import ANNOTATORS

PAGES = pages()
ABLATIONS = ablated.pages()


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_conditions_are_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name], "run: make docs"


def test_every_kind_that_needs_no_weights_is_shown() -> None:
    shown = {path.stem for path in FOLDER.glob("*.jpg")}
    assert shown == {kind for kind in ANNOTATORS if ANNOTATORS[kind].needs == ANNOTATORS["canny"].needs}


def test_no_page_is_left_from_before() -> None:
    assert {path.name for path in Path(FOLDER).glob("*.md")} == set(PAGES)


@pytest.mark.parametrize("page", ABLATIONS, ids=lambda page: page.stem)
def test_the_tables_of_the_ablations_are_those_that_were_measured(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == ABLATIONS[page], "run: make docs"
