"""What a training's watcher looks with: watched pictures drawn by the net as it is, annotated again, and scored."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS
from underdraw.annotators.measures import LESS_IS_BETTER
from underdraw.annotators.readers import shipped_reader
from underdraw.data.folder import Record
from underdraw.errors import InputError
from underdraw.evaluation.judges import Judge, call_judge, reads, sees_pictures
from underdraw.generation import Task, draw, finish
from underdraw.training.mapped import MapTask
from underdraw.training.obedience import Obedience
from underdraw.training.pictures import sizes
from underdraw.training.recipe import Watch

__all__ = ["drawn", "wanted", "watcher", "who_watches"]

STEPS = 10
"""Of each drawing: enough to see a shape, quick enough to look often."""
Scores = Callable[[], Mapping[str, Sequence[float]]]


def watcher(task: MapTask[Any], watch: Watch, tell: Callable[[str], None]) -> Obedience:
    """Looks at a ControlNet's run as its recipe says. Raises InputError where there is too little to look at."""
    able = task.hints.rows(task.watched, task.config.kinds[0])
    chosen = able[_spread(len(able), watch.items)]
    judge = who_watches(task)
    if judge is None:
        return Obedience(lambda: task.gaps(chosen), "denoising loss (negative)", watch.steps, tell, watch.patience)
    return Obedience(_drawn(task, chosen, judge), next(iter(judge.scores)), watch.steps, tell, watch.patience)


def who_watches(task: MapTask[Any]) -> Judge | None:
    """The judge of what a run draws under the first of its conditions; None, where nobody sees that in a picture.

    A condition that no annotator sees takes the reader that the recipe names, or the one that ships, if it reads it and
    does not teach the run.
    """
    kind, watch, teaches = task.config.kinds[0], task.recipe.watch, getattr(task.config, "consistency", None)
    if watch.reader or sees_pictures(kind):
        return call_judge(kind, [Path(watch.reader)] if watch.reader else [], task.recipe.data.watch_split)
    own = shipped_reader("reader")
    if own is None or (teaches and teaches.reader) or not reads(own, kind):
        return None
    return call_judge(kind, [own], task.recipe.data.watch_split)


def wanted(task: MapTask[Any], judge: Judge, chosen: Tensor, maps: Tensor) -> Tensor:
    """What a judge reads in pictures that show the maps B×C×H×W of the chosen watched pictures perfectly."""
    channels = ANNOTATORS[judge.kind].meaning.channels
    known = (Record("", torch.empty(0), "", {}, task.watched.attributes[row]) for row in chosen.tolist())
    return torch.cat([judge.wanted(each, map[None, :channels]) for each, map in zip(known, maps, strict=True)])


def _spread(count: int, wanted: int) -> Tensor:
    if count < 8:
        raise InputError(
            f"{count} watched pictures are too few to tell obedience from chance; give 8, or watch.steps=0"
        )
    many = min(count, wanted)
    return torch.arange(many) * count // many


def drawn(task: MapTask[Any], prompts: Sequence[str], maps: Tensor | None) -> Tensor:
    """Pictures B×3×H×W as a task draws them now, of B prompts under B maps or none, from the seeds 0 to B - 1."""
    steering, size = task.steering(maps), sizes(task.watched)[0]
    seen = Task(beside=steering.beside)
    seeds, controls = range(len(prompts)), steering.controls
    return finish(task.backbone, draw(task.backbone, prompts, seeds, size, controls=controls, steps=STEPS, task=seen))


def _drawn(task: MapTask[Any], chosen: Tensor, judge: Judge) -> Scores:
    """Scores of drawings under the right map, none, and the next item's, all from the same seeds; more is better."""
    maps = task.hints(task.watched, chosen)
    captions = [task.watched.texts[int(row)][0] for row in chosen]
    target = wanted(task, judge, chosen, maps)
    name, score = next(iter(judge.scores.items()))
    sign = -1 if name in LESS_IS_BETTER else 1

    def scored(shown: Tensor | None) -> list[float]:
        found: list[float] = (sign * score(judge.read(drawn(task, captions, shown)), target)).tolist()
        return found

    learns = any(each.requires_grad for each in task.backbone.unet.parameters())
    none: list[float] = []  # what a locked base draws without the net is always the same

    def look() -> Mapping[str, Sequence[float]]:
        if learns or not none:
            none[:] = scored(None)
        return {"right": scored(maps), "none": list(none), "shuffled": scored(maps.roll(1, 0))}

    return look
