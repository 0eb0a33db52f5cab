"""A real `underdraw serve`, a real Chromium, and the page as a person has it in front of her."""

import base64
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from underdraw import images

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""A camera that films a test card, and nobody asks whether it may."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
DRAWN = 60_000
"""Milliseconds at most until a picture is there, on a machine that does other things too."""
TOKEN = "chalk-and-paper"
Open = Callable[..., "Sheet"]


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two maps with the pictures of two methods each, for the ranking page."""
    folder = tmp_path_factory.mktemp("survey")
    for place, name in enumerate(("one", "two")):
        (folder / name).mkdir()
        (folder / name / "prompt.txt").write_text(f"a {name} house", encoding="utf-8")
        for shade, method in enumerate(("map", "ours", "theirs")):
            images.write(torch.full((3, 16, 16), 0.2 + 0.2 * shade + 0.1 * place), folder / name / f"{method}.png")
    return folder


@pytest.fixture(scope="session")
def address(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server of its own listens; it ends with the session."""
    command = [sys.executable, "-m", "underdraw.apps.cli", "serve", "--port", "0", "--rank", str(survey)]
    told = os.environ | {"UNDERDRAW_TOKEN": TOKEN}
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("wb") as said:
        server = subprocess.Popen(command, stdout=said, stderr=said, cwd=log.parent, env=told)
    try:
        yield _address(server, log)
    finally:
        server.terminate()
        server.wait(20)


def _address(server: "subprocess.Popen[bytes]", log: Path) -> str:
    for _ in range(600):
        found = re.search(r"http://[^\s#]+/", log.read_text(encoding="utf-8"))
        if found:
            return found[0]
        assert server.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.2)
    raise AssertionError("the server did not begin to listen within two minutes")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium, without a window. Skips where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium here; `make browser` installs Debian's")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=path, args=[*sandbox, *CAMERA])
        yield browser
        browser.close()


@dataclass
class Sheet:
    """The page, and what went wrong on it."""

    page: Any
    wrong: list[str] = field(default_factory=list)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where the share x, y of the stage lies in the window."""
        box = self.page.locator("#stage").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def stroke(self, *shares: tuple[float, float]) -> None:
        """Draw with the mouse through these shares of the stage."""
        self.page.mouse.move(*self.point(*shares[0]))
        self.page.mouse.down()
        for share in shares[1:]:
            self.page.mouse.move(*self.point(*share))
        self.page.mouse.up()

    def circle(self, radius: float = 0.3, steps: int = 48) -> None:
        """A circle around the middle."""
        turns = [2 * math.pi * step / steps for step in range(steps + 1)]
        self.stroke(*((0.5 + radius * math.cos(turn), 0.5 + radius * math.sin(turn)) for turn in turns))

    def map(self) -> Tensor:
        """The map of the chosen layer, 3×h×w, as its thumbnail shows it."""
        text = self.page.evaluate("document.querySelector('.layer.chosen .thumb').toDataURL().split(',')[1]")
        return images.decode(base64.b64decode(text), "the map")[0]

    def until_map(self, fits: Callable[[Tensor], bool]) -> Tensor:
        """The map, as soon as it is as expected; it is made anew some moments after a change."""
        for _ in range(150):
            found = self.map()
            if fits(found):
                return found
            self.page.wait_for_timeout(100)
        raise AssertionError("the map did not become what was expected within 15 s")

    def chosen(self, kind: str) -> None:
        """Read the layer as another kind."""
        self.page.select_option(".layer.chosen select[name=kind]", kind)

    def asked(self, act: Callable[[], None]) -> dict[str, Any]:
        """What the page asks the server for when `act` presses the button."""
        with self.page.expect_request("**/v1/generate") as request:
            act()
        body: dict[str, Any] = request.value.post_data_json
        return body

    def paint(self) -> dict[str, Any]:
        """Press the button and wait for the picture; what was asked for."""
        before = self.page.locator("#gallery .picture").count()
        body = self.asked(lambda: self.page.click("#go"))
        self.painted(before + 1)
        return body

    def painted(self, count: int) -> None:
        """Wait until the gallery holds so many pictures and nothing is drawn any more."""
        self.page.locator("#gallery .picture").nth(count - 1).wait_for(state="attached", timeout=DRAWN)
        self.page.wait_for_selector("#go:not(.running)", timeout=DRAWN)

    def saved(self, selector: str) -> Path:
        """The file that a button hands over."""
        with self.page.expect_download() as download:
            self.page.click(selector)
        return Path(download.value.path())


def pixels(path: Path) -> Tensor:
    """A saved picture 3×H×W; the download has no suffix."""
    return images.decode(path.read_bytes(), str(path))[0]


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Open]:
    """Open the page afresh, as often as wanted; at the end nothing may have gone wrong on any of them."""
    sheets, contexts = [], []

    def open_page(path: str = "", ready: str = "html[data-ready=yes]", token: str = TOKEN, **options: Any) -> Sheet:
        context = chromium.new_context(**({"viewport": {"width": 1360, "height": 860}, "locale": "en-GB"} | options))
        contexts.append(context)
        sheet = Sheet(context.new_page())
        sheet.page.on(
            "console", lambda said: sheet.wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        sheet.page.on("pageerror", lambda error: sheet.wrong.append(str(error)))
        sheet.page.goto(f"{address}{path}#token={token}" if token else address + path)
        sheet.page.wait_for_selector(ready)
        sheets.append(sheet)
        return sheet

    yield open_page
    wrong = [line for sheet in sheets for line in sheet.wrong]
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def sheet(visit: Open) -> Sheet:
    """The page on a desk."""
    return visit()
