"""The watcher that says when a run began to obey, keeps the best of it, and can end it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from underdraw.files import atomic
from underdraw.training.convergence import Look, Verdict, verdict
from underdraw.training.sheets import plot_obedience
from underdraw.training.trainer import State
from underdraw.training.watchers import read_log, write_line

__all__ = ["LOOKS", "Obedience", "read_looks"]

Scores = Callable[[], Mapping[str, Sequence[float]]]
"""Looks at the run as it is: the scores `right`, `none` and `shuffled` of the watched items, more is better."""

LOOKS = "obedience.jsonl"


class Obedience:
    """Every so many steps: `obedience.jsonl` and `obedience.png`, drawn with the live weights.

    `best/` is the export of the look with the best score under the right map. The first time that a run obeys, `tell`
    hears of it. After `patience` looks without a better one, once it obeys, the run ends (0: never).
    """

    def __init__(
        self, scores: Scores, measure: str, every: int, tell: Callable[[str], None], patience: int = 0
    ) -> None:
        self._scores, self._measure, self._every = scores, measure, every
        self._tell, self._patience = tell, patience
        self._told: Verdict | None = None

    def __call__(self, state: State, figures: dict[str, float]) -> None:
        """Look when it is time."""
        if state.step % self._every and state.step != state.recipe.steps:
            return
        path = state.folder / LOOKS
        write_line(path, asdict(self._look(state)))
        looks = read_looks(path)
        plot_obedience(looks, self._measure, verdict(looks), state.folder / "obedience.png")
        self._announce(looks, state.folder)
        best = max(range(len(looks)), key=lambda place: sum(looks[place].right))
        if best == len(looks) - 1:
            state.task.export(state.folder / "best")
        elif self._patience and verdict(looks) and len(looks) - 1 - best >= self._patience:
            self._tell(f"no better than at step {looks[best].step:,} for {self._patience} looks; it ends here")
            state.done = True

    def _look(self, state: State) -> Look:
        module, training = state.task.module, state.task.module.training
        module.eval()
        try:
            with torch.random.fork_rng(), torch.no_grad():
                seen = self._scores()
        finally:
            module.train(training)
        return Look(state.step, *(tuple(map(float, seen[name])) for name in ("right", "none", "shuffled")))

    def _announce(self, looks: Sequence[Look], folder: Path) -> None:
        found = verdict(looks)
        if found and self._told is None:
            self._tell(str(found))
        self._told = found
        told = {"measure": self._measure, "gap": looks[-1].gap, "verdict": asdict(found) if found else None}
        with atomic(folder / "obedience.json") as draft:
            draft.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def read_looks(path: Path) -> list[Look]:
    """The looks of a run so far."""
    rows = read_log(path)
    names = ("right", "none", "shuffled")
    return [Look(int(row["step"]), *(tuple(row[name]) for name in names)) for row in rows]
