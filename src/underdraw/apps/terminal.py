"""What people and machines see: lines on stderr, a bar on a terminal, results on stdout."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

__all__ = ["Bar", "bar", "hush", "result", "say"]


def hush() -> None:
    """Keep the libraries' own words and bars from standing between ours, whether they are imported already or not."""
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in {"diffusers", "transformers"} & sys.modules.keys():
        logging = sys.modules[name].utils.logging
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def say(line: str) -> None:
    """A line to the person, on stderr."""
    print(f"underdraw: {line}", file=sys.stderr)


def result(human: str, facts: dict[str, Any], as_json: bool) -> None:
    """A line of what was done, on stdout: words, or one JSON object."""
    print(json.dumps(facts, ensure_ascii=False) if as_json else human, flush=True)


class Bar(Protocol):
    """A bar that is being shown, or would be."""

    def __call__(self, note: str | None = None, done: int = 1) -> None:
        """Move on by `done`; a note behind the bar stays until the next."""


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Bar]:
    """A progress bar on stderr while the block lasts; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # results that go to a file or a pipe must not land on the terminal
    ) as shown:
        task = shown.add_task(what, total=total, note="")

        def move(note: str | None = None, done: int = 1) -> None:
            shown.update(task, advance=done)
            if note is not None:
                shown.update(task, note=note)

        yield move
