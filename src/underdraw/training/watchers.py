"""What happens beside the training: the log, the bar, the checkpoints, the pictures. Each is called after a step."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from underdraw import images
from underdraw.files import atomic
from underdraw.training.processes import either
from underdraw.training.sheets import plot_losses
from underdraw.training.trainer import State

__all__ = ["Checkpoints", "Sheets", "log", "progress", "read_log", "swapped", "write_line"]


def log(state: State, figures: dict[str, float]) -> None:
    """`log.jsonl`: the mean of each loss over every `log_steps` steps."""
    for name, figure in figures.items():
        state.sums[name] = state.sums.get(name, 0.0) + figure
    every = state.recipe.log_steps
    if state.step % every == 0:
        means = {name: total / every for name, total in state.sums.items()}
        write_line(state.folder / "log.jsonl", {"step": state.step, **means})
        state.sums.clear()


def write_line(path: Path, line: Mapping[str, Any]) -> None:
    """One line {step, …} at the end of a log, in place of lines that a run beyond this step has left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = read_log(path)
    if (lines and lines[-1]["step"] >= line["step"]) or _torn(path):
        kept = [old for old in lines if old["step"] < line["step"]]
        with atomic(path) as draft:
            draft.write_text("".join(json.dumps(old) + "\n" for old in kept))
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _torn(path: Path) -> bool:
    """Whether a kill left the last line unfinished."""
    return path.exists() and not path.read_bytes().endswith(b"\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line that a kill cut short is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


class Checkpoints:
    """A checkpoint every `checkpoint_minutes`."""

    together = True
    """Of several processes all take part: what is divided among them is gathered."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, state: State, figures: dict[str, float]) -> None:
        """Save when it is time."""
        if either(time.monotonic() - self._last > 60 * state.recipe.checkpoint_minutes):
            state.save()
            self._last = time.monotonic()


class Sheets:
    """Every `sheet_steps` steps: `sheets/<step>.png`, drawn with the averaged weights, and `losses.png`."""

    def __call__(self, state: State, figures: dict[str, float]) -> None:
        """Draw when it is time."""
        if state.step % state.recipe.sheet_steps == 0 or state.step == state.recipe.steps:
            with swapped(state):
                sheet: Tensor = state.task.sheet()
            images.write(sheet, state.folder / "sheets" / f"{state.step:08d}.png")
            if lines := read_log(state.folder / "log.jsonl"):
                curves = {name: [line[name] for line in lines] for name in lines[-1] if name != "step"}
                plot_losses([int(line["step"]) for line in lines], curves, state.folder / "losses.png")


@contextmanager
def swapped(state: State) -> Iterator[None]:
    """The task's module with the averaged weights, and in evaluation mode, within the block."""
    module = state.task.module
    live = {name: value.detach().clone() for name, value in module.state_dict().items()}
    mode = module.training
    try:
        module.load_state_dict(state.average)
        module.eval()
        with torch.random.fork_rng():
            yield
    finally:
        module.load_state_dict(live)
        module.train(mode)


@contextmanager
def progress(console: Console, steps: int) -> Iterator["Bar"]:
    """A bar with the step, the pictures a second, the losses and the time that remains; without a terminal, lines."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        yield Bar(shown, steps)


class Bar:
    """The watcher behind `progress`."""

    EVERY = 60.0
    """Seconds between two lines where there is no terminal."""

    def __init__(self, shown: Progress, steps: int) -> None:
        self._shown, self._begun, self._told, self._first = shown, time.monotonic(), time.monotonic(), -1
        self._task = shown.add_task("train", total=steps, note="")

    def __call__(self, state: State, figures: dict[str, float]) -> None:
        """Move on."""
        now = time.monotonic()
        if self._first < 0:
            self._first, self._begun = state.step, now
        rate = (state.step - self._first) * state.recipe.batch / max(now - self._begun, 1e-9)
        note = f"{rate:.0f} pictures/s  " + " ".join(f"{name} {figure:.4f}" for name, figure in figures.items())
        self._shown.update(self._task, completed=state.step, note=note)
        if self._shown.disable and now - self._told > self.EVERY:
            self._told = now
            self._shown.console.print(f"step {state.step} of {state.recipe.steps}  {note}", highlight=False)
