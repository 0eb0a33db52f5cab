"""What a training's watcher looks with: watched pictures drawn by the net as it is, annotated again, and scored."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from underdraw.errors import InputError
from underdraw.evaluation.judges import call_judge, sees_pictures
from underdraw.evaluation.measures import LESS_IS_BETTER, Score
from underdraw.generation import draw, finish
from underdraw.model import Control
from underdraw.training.control import ControlTask
from underdraw.training.obedience import Obedience
from underdraw.training.recipe import Watch

__all__ = ["watcher"]

STEPS = 10
"""Of each drawing: enough to see a shape, quick enough to look often."""
Scores = Callable[[], Mapping[str, Sequence[float]]]


def watcher(task: ControlTask, watch: Watch, tell: Callable[[str], None]) -> Obedience:
    """Looks at a ControlNet's run as its recipe says. Raises InputError where there is too little to look at."""
    chosen = _spread(len(task.watched), watch.items)
    kind = task.config.kinds[0]
    if watch.reader or sees_pictures(kind):
        judge = call_judge(kind, {kind: Path(watch.reader)} if watch.reader else {}, task.recipe.data.watch_split)
        name, score = next(iter(judge.scores.items()))
        scores = _drawn(task, chosen, judge.read, score, -1 if name in LESS_IS_BETTER else 1)
    else:
        name, scores = "denoising loss (negative)", lambda: task.gaps(chosen)
    return Obedience(scores, name, watch.steps, tell, watch.patience)


def _spread(count: int, wanted: int) -> Tensor:
    if count < 8:
        raise InputError(
            f"{count} watched pictures are too few to tell obedience from chance; give 8, or watch.steps=0"
        )
    many = min(count, wanted)
    return torch.arange(many) * count // many


def _drawn(task: ControlTask, chosen: Tensor, read: Callable[[Tensor], Tensor], score: Score, sign: int) -> Scores:
    """Scores of drawings under the right map, none, and the next item's, all from the same seeds."""
    maps = task.hints(task.watched, chosen)
    captions = [task.watched.texts[int(row)][0] for row in chosen]
    size = (task.watched.pixels.shape[-1], task.watched.pixels.shape[-2])
    wanted = maps[:, : read(task.watched.pictures(chosen[:1])).shape[1]]

    def drawn(shown: Tensor | None) -> list[float]:
        controls = [] if shown is None else [Control(task.net, shown.to(task.backbone.device))]
        frames = draw(task.backbone, captions, range(len(captions)), size, controls=controls, steps=STEPS)
        return (sign * score(read(finish(task.backbone, frames)), wanted)).tolist()

    none: list[float] = []  # what a locked base draws without the net is always the same

    def look() -> Mapping[str, Sequence[float]]:
        if task.config.unlock or not none:
            none[:] = drawn(None)
        return {"right": drawn(maps), "none": list(none), "shuffled": drawn(maps.roll(1, 0))}

    return look
