"""People rank pictures: blind, shuffled, one page a map, every answer kept.

A folder holds a folder for each map: `map.png` (where there is one), `prompt.txt` (where there is one), and a picture
for each method, whose name is the method's.
"""

import json
import os
import random
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from underdraw import images
from underdraw.errors import InputError
from underdraw.evaluation.ranking import read_answers

__all__ = ["Page", "Survey"]

MAP, PROMPT, ANSWERS = "map", "prompt.txt", "answers.jsonl"
OPEN = 10_000
"""Pages at most that are shown and not answered yet."""


@dataclass(frozen=True)
class Page:
    """What somebody is shown: the pictures of a set, by their methods in the order shown."""

    id: str
    person: str
    set: Path
    methods: tuple[Path, ...]

    @property
    def map(self) -> Tensor | None:
        """The map 3×H×W, where there is one."""
        found = next(iter(self.set.glob(f"{MAP}.*")), None)
        return None if found is None else images.read(found)[0]

    @property
    def prompt(self) -> str:
        """What was to be drawn, where that is told."""
        path = self.set / PROMPT
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""

    @property
    def pictures(self) -> list[Tensor]:
        """3×H×W each; only pixels: what a file says of itself would tell its method."""
        return [images.read(path)[0] for path in self.methods]


class Survey:
    """The sets in a folder, who has seen which, and the answers in `answers.jsonl` in it.

    Raises InputError for a folder without sets.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.answers = folder, folder / ANSWERS
        self.sets = {path.name: path for path in sorted(folder.glob("*")) if path.is_dir() and len(_methods(path)) > 1}
        if not self.sets:
            raise InputError(
                f"{folder} holds nothing to rank; put a folder for each map there, with a picture a method"
            )
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Page] = OrderedDict()
        self._seen: dict[str, set[str]] = {}
        for answer in read_answers(self.answers) if self.answers.exists() else ():
            self._seen.setdefault(answer.person, set()).add(answer.set)

    def newcomer(self) -> str:
        """A name for a person that nobody has."""
        return secrets.token_urlsafe(9)

    def left(self, person: str) -> int:
        """Sets that a person has not answered."""
        return len(self.sets.keys() - self._seen.get(person, set()))

    def show(self, person: str) -> Page | None:
        """Another page for a person: of the sets not answered yet one of those that fewest people have."""
        with self._lock:
            unseen = [name for name in self.sets if name not in self._seen.get(person, set())]
            if not unseen:
                return None
            often = {name: sum(name in seen for seen in self._seen.values()) for name in unseen}
            name = random.SystemRandom().choice([name for name in unseen if often[name] == min(often.values())])
            methods = _methods(self.sets[name])
            random.SystemRandom().shuffle(methods)
            page = Page(secrets.token_urlsafe(9), person, self.sets[name], tuple(methods))
            self._open[page.id] = page
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
            return page

    def answer(self, page_id: str, scores: list[dict[str, int]]) -> Page | None:
        """Keep the scores of a page, in the order shown; None for a page that is not open (or answered already).

        Raises InputError for another number of scores.
        """
        with self._lock:
            page = self._open.get(page_id)
            if page is None:
                return None
            if len(scores) != len(page.methods):
                raise InputError(f"{len(scores)} scores for {len(page.methods)} pictures; give one for each")
            del self._open[page_id]
            self._keep(page, scores)
            self._seen.setdefault(page.person, set()).add(page.set.name)
            return page

    def _keep(self, page: Page, scores: list[dict[str, int]]) -> None:
        """One line, in one write at the end of the file: whole, whoever else writes."""
        rows = enumerate(zip(page.methods, scores, strict=True))
        told = {path.stem: score | {"place": place} for place, (path, score) in rows}
        line: dict[str, Any] = {"time": round(time.time()), "person": page.person, "set": page.set.name, "scores": told}
        handle = os.open(self.answers, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, (json.dumps(line, ensure_ascii=False) + "\n").encode())
            os.fsync(handle)
        finally:
            os.close(handle)


def _methods(folder: Path) -> list[Path]:
    """The pictures of a set, each a method's."""
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in images.SUFFIXES and path.stem != MAP]
