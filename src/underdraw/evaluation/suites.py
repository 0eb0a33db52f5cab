"""Measuring trials: obedience to maps, and what the VAE loses by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.annotators import build
from underdraw.annotators.measures import Score, edge_scores
from underdraw.evaluation.fidelity import Estimate, mean, obedience
from underdraw.evaluation.judges import Judge
from underdraw.evaluation.trials import Item, Trial

__all__ = ["Obedience", "Rebuilt", "measure", "measure_vae", "worlds"]

EVERYWHERE = "all"


@dataclass(frozen=True)
class Obedience:
    """One measure of one kind of control over N items.

    floor, ours, ceiling: the mean score without control, under the map, and of the true picture through the VAE, all
    against the true map. own: of the true picture itself, that is, what the judge gets wrong. obedience: how far from
    floor to ceiling, in percent.
    crossed: the pictures under another's map against that map; crossed_floor: those without control against it.
    crossed_obedience: how far from the one to the ceiling. against_truth: the pictures under another's map against the
    map of the true picture; limit: the floor and two standard errors, which it must not be better than.
    """

    measure: str
    items: int
    floor: Estimate
    ours: Estimate
    ceiling: Estimate
    own: Estimate
    obedience: Estimate
    crossed_floor: Estimate
    crossed: Estimate
    crossed_obedience: Estimate
    against_truth: Estimate
    limit: float
    ignores_truth: bool


@torch.no_grad()
def measure(trial: Trial, judge: Judge, seed: int = 0) -> dict[str, list[Obedience]]:
    """Every measure of a trial, over all items and, where they come from several folders, over each."""
    read = {name: judge.read(getattr(trial, name)) for name in ("truth", "free", "bound", "crossed", "rebuilt")}
    return {
        world: [_obedience(name, score, trial, read, rows, seed) for name, score in judge.scores.items()]
        for world, rows in worlds(trial.items).items()
    }


def worlds(items: Sequence[Item]) -> dict[str, Tensor]:
    """The rows of all items, and of each folder's where there are several."""
    names = sorted({item.world for item in items})
    rows = {EVERYWHERE: torch.arange(len(items))}
    if len(names) > 1:
        rows |= {name: torch.tensor([i for i, item in enumerate(items) if item.world == name]) for name in names}
    return rows


def _obedience(name: str, score: Score, trial: Trial, read: dict[str, Tensor], rows: Tensor, seed: int) -> Obedience:
    own, others = trial.wanted, trial.wanted[trial.order]
    floor, ours, ceiling = (score(read[part], own)[rows] for part in ("free", "bound", "rebuilt"))
    crossed_floor, crossed = (score(read[part], others)[rows] for part in ("free", "crossed"))
    crossed_ceiling = score(read["rebuilt"], own)[trial.order][rows]
    against_truth = score(read["crossed"], own)[rows]
    better = 1 if ceiling.mean() >= floor.mean() else -1
    limit = float(floor.mean() + better * 2 * floor.std() / len(floor) ** 0.5)
    return Obedience(
        measure=name,
        items=len(rows),
        floor=mean(floor, seed),
        ours=mean(ours, seed),
        ceiling=mean(ceiling, seed),
        own=mean(score(read["truth"], own)[rows], seed),
        obedience=obedience(ours, floor, ceiling, seed),
        crossed_floor=mean(crossed_floor, seed),
        crossed=mean(crossed, seed),
        crossed_obedience=obedience(crossed, crossed_floor, crossed_ceiling, seed),
        against_truth=mean(against_truth, seed),
        limit=limit,
        ignores_truth=bool(better * (float(against_truth.mean()) - limit) <= 0),
    )


@dataclass(frozen=True)
class Rebuilt:
    """What is left of pictures after VAE and back: PSNR in dB, and F1 of their edges at 0 and 1 px."""

    items: int
    psnr: Estimate
    exact: Estimate
    near: Estimate


@torch.no_grad()
def measure_vae(items: Sequence[Item], rebuilt: Tensor, seed: int = 0) -> dict[str, Rebuilt]:
    """Over all items, and over each folder's. rebuilt: N×3×H×W."""
    truth = torch.stack([item.record.image for item in items])
    canny = build("canny")
    psnr = -10 * (rebuilt - truth).square().mean((1, 2, 3)).clamp(min=1e-10).log10()
    edges = [edge_scores(canny(rebuilt), canny(truth), tolerance).f1 for tolerance in (0, 1)]
    return {
        world: Rebuilt(len(rows), *(mean(values[rows], seed) for values in (psnr, *edges)))
        for world, rows in worlds(items).items()
    }
