"""What a finished ControlNet's run has to show, measured on pictures that it did not learn from."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import as_hint
from underdraw.evaluation.trials import rebuild
from underdraw.evaluation.watching import STEPS, drawn, wanted, who_watches
from underdraw.generation import draw, finish
from underdraw.model import Backbone, trainable
from underdraw.training.convergence import verdict
from underdraw.training.mapped import MapTask
from underdraw.training.obedience import LOOKS, read_looks
from underdraw.training.pictures import sizes, spread
from underdraw.training.probe import Probe
from underdraw.training.sheets import mosaic
from underdraw.training.trainer import State
from underdraw.training.watchers import swapped

__all__ = ["DRAWN", "findings", "strips"]

DRAWN = "drawn.png"
"""In a run's folder: some watched pictures, their maps, and what is drawn of them."""
COLUMNS, SCORED = 8, 24
"""Pictures on those, and watched pictures that are scored."""
MAPS = ("right", "none", "shuffled")
"""Under which a look draws."""
VAGUE = "a high-quality and detailed picture"
"""The paper's insufficient prompt: it says nothing of what is to be seen."""


def findings(state: State, task: MapTask[Any]) -> dict[str, Any]:
    """Its looks and their verdict, its size, and with the averaged weights its scores and its errors.

    since, how: the verdict's; looks: the means of each. parameters: that learn; memory: bytes that a step holds.
    errors: the denoising error of watched pictures under the right map and under none. measure, prompts, floor,
    ceiling: scores of watched pictures, an item each, where an annotator or a reader sees the condition; the floor is
    what the base draws without the net as it was before the run.
    """
    looks = read_looks(state.folder / LOOKS)
    found = verdict(looks)
    able = task.hints.rows(task.watched, task.config.kinds[0])
    chosen = able[spread(len(able), SCORED)]
    facts: dict[str, Any] = {
        "since": found.since if found else None,
        "how": found.how if found else None,
        "looks": [{"step": look.step} | {name: fmean(getattr(look, name)) for name in MAPS} for look in looks],
        "parameters": sum(each.numel() for each in trainable(task.module)),
        "memory": _held(state, task),
    }
    with swapped(state):
        gaps = task.gaps(chosen)
        facts["errors"] = {name: [-gap for gap in gaps[name]] for name in ("right", "none")}
        return facts | _scored(task, chosen, state.folder)


def _held(state: State, task: MapTask[Any]) -> int:
    """Bytes that a step holds at most: weights and their average, the optimizer's states, and all that it makes."""
    recipe, probe = state.recipe, Probe()
    with probe, probe.peaking() as peak:
        with torch.autocast(torch.device(recipe.device).type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = torch.stack(list(task.losses(state.step).values())).sum()
        loss.backward()
    state.optimizer.zero_grad()
    weights = {id(each): each for module in (task.module, task.backbone.unet) for each in module.parameters()}
    states = [each for kept in state.optimizer.state.values() for each in kept.values() if isinstance(each, Tensor)]
    return peak() + _bytes(weights.values()) + _bytes(state.average.values()) + _bytes(states)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(each.nbytes for each in tensors)


def _scored(task: MapTask[Any], chosen: Tensor, folder: Path) -> dict[str, Any]:
    """Scores of the chosen pictures under their maps by the paper's four kinds of prompts, their floor and ceiling."""
    judge = who_watches(task)
    if judge is None:
        return {}
    maps, captions = task.hints(task.watched, chosen), [task.watched.texts[int(row)][0] for row in chosen]
    truth, target = task.watched.pictures(chosen), wanted(task, judge, chosen, maps)
    measure, score = next(iter(judge.scores.items()))
    prompts = {
        "none": [""] * len(captions),
        "insufficient": [VAGUE] * len(captions),
        "conflicting": captions[1:] + captions[:1],
        "perfect": captions,
    }
    pictures = {name: drawn(task, told, maps) for name, told in prompts.items()}
    rows = [part[:COLUMNS].cpu() for part in (truth, as_hint(maps), pictures["perfect"])]
    images.write(mosaic(torch.cat(rows), len(rows[0])), folder / DRAWN)

    def scores(seen: Tensor) -> list[float]:
        found: list[float] = score(judge.read(seen), target).tolist()
        return found

    return {
        "measure": measure,
        "prompts": {name: scores(each) for name, each in pictures.items()},
        "floor": scores(_free(task, captions)),
        "ceiling": scores(rebuild(task.backbone, truth)),
    }


def _free(task: MapTask[Any], captions: Sequence[str]) -> Tensor:
    """What the base drew before it learnt, and before there was a map."""
    base = Backbone.load(task.config.base, task.recipe.device)
    return finish(base, draw(base, captions, range(len(captions)), sizes(task.watched)[0], steps=STEPS))


def strips(drawn: Tensor) -> tuple[Tensor, ...]:
    """The three rows of such a picture 3×H×W, one above the other."""
    return drawn[:, : drawn.shape[1] // 3 * 3].chunk(3, 1)
