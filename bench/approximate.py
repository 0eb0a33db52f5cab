"""What approximations gain and what they cost, on pictures that no training has seen.

    python -m bench.approximate worlds/report worlds/64/stickers                     64 pictures of each, one by one
    python -m bench.approximate worlds/report --items 32 --settings quick openvino   some settings only
    python -m bench.approximate worlds/report --setting '{"reuse": {"control": 2}}'  one of your own, as in a recipe

Every picture is drawn under its map from the same seed with each setting, in turns, in one process, each round
beginning with another of them: so speeds are ratios of pairs. Processor time is counted, for the clock shows what else
the machine does. What is drawn is annotated again and compared with the map (edge F1 at 1 px, or the kind's own first
measure); the difference to the exact drawing is paired, with a 95 % bootstrap interval over the pictures.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from underdraw.annotators.measures import LESS_IS_BETTER
from underdraw.evaluation import Protocol
from underdraw.evaluation.fidelity import Estimate, bootstrap
from underdraw.evaluation.judges import Judge, call_judge
from underdraw.evaluation.trials import Item, choose, gather
from underdraw.generation import DRAWING_PRESETS, ControlRequest, Studio

EXACT = "exact"
SETTINGS: dict[str, Mapping[str, Any]] = {
    "control=2": {"reuse": {"control": 2}},
    "encoder=2": {"reuse": {"encoder": 2}},
    "merge=0.5": {"reuse": {"merge": 0.5}},
    "interval 0:0.8": {"interval": (0.0, 0.8)},
    "quick": DRAWING_PRESETS["quick"],
    "quicker": DRAWING_PRESETS["quicker"],
    "openvino": {"backend": "openvino"},
    "openvino-int8": {"backend": "openvino-int8"},
    "openvino + quicker": {"backend": "openvino", **DRAWING_PRESETS["quicker"]},
    "openvino-int8 + quicker": {"backend": "openvino-int8", **DRAWING_PRESETS["quicker"]},
}


@dataclass
class Drawn:
    """What a setting has drawn: pictures, and the seconds that each batch took by the processor and by the clock."""

    pictures: list[Tensor] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """A setting beside the exact drawing.

    speed: by the processor's time, clock: by the clock's, both as medians of pairs. score: of its pictures;
    change: of the score, in percent, where more is better. largest, mean: of the differences, of 255.
    """

    speed: float
    clock: float
    score: float
    change: Estimate
    largest: float
    mean: float


def draw_in_turns(
    studio: Studio, judge: Judge, items: Sequence[Item], settings: Mapping[str, Mapping[str, Any]], chosen: Any
) -> dict[str, Drawn]:
    """Every item with every setting. The first batch is drawn once before, so that graphs are made."""
    drawn = {name: Drawn() for name in settings}
    batches = [items[place : place + chosen.batch] for place in range(0, len(items), chosen.batch)]
    for name in settings:
        _draw(studio, judge, batches[0], settings[name], chosen, Drawn())
    for number, batch in enumerate(batches):
        names = list(settings)
        turned = names[number % len(names) :] + names[: number % len(names)]
        for name in turned:
            _draw(studio, judge, batch, settings[name], chosen, drawn[name])
    return drawn


def _draw(
    studio: Studio, judge: Judge, batch: Sequence[Item], setting: Mapping[str, Any], chosen: Any, into: Drawn
) -> None:
    control = ControlRequest(judge.kind, [judge.shown(item.record)[0] for item in batch], is_map=True)
    prompts, seeds = [item.record.text for item in batch], [item.seed for item in batch]
    processor, clock = time.process_time(), time.monotonic()
    pictures = studio.draw(prompts, controls=[control], seeds=seeds, steps=chosen.steps, **setting)
    into.processor.append(time.process_time() - processor)
    into.clock.append(time.monotonic() - clock)
    into.pictures += [each.picture for each in pictures]


def compare(drawn: Mapping[str, Drawn], judge: Judge, items: Sequence[Item]) -> dict[str, Found]:
    """Each setting beside the exact one."""
    name, score = next(iter(judge.scores.items()))
    better = -1 if name in LESS_IS_BETTER else 1
    exact, wanted = drawn[EXACT], torch.cat([judge.wanted(each.record, judge.shown(each.record)) for each in items])
    shown = {each: torch.stack(pictures.pictures) for each, pictures in drawn.items()}
    scores = {each: score(judge.read(pictures), wanted) for each, pictures in shown.items()}
    found = {}
    for each, there in drawn.items():
        apart = 255 * (shown[each] - shown[EXACT]).abs()
        found[each] = Found(
            speed=_median(exact.processor, there.processor),
            clock=_median(exact.clock, there.clock),
            score=float(scores[each].mean()),
            change=bootstrap(
                torch.stack([scores[each], scores[EXACT]], 1),
                lambda means: better * 100 * (means[:, 0] - means[:, 1]) / means[:, 1],
            ),
            largest=float(apart.flatten(1).amax(1).mean()),
            mean=float(apart.mean()),
        )
    return found


def _median(exact: Sequence[float], there: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(exact, there, strict=True))


def report(found: Mapping[str, Found], title: str) -> None:
    """Print the table."""
    table = Table(title=title)
    for column in ("setting", "× by processor", "× by clock", "score", "change, %", "largest / 255", "mean / 255"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for name, row in found.items():
        numbers = (f"{row.speed:.2f}", f"{row.clock:.2f}", f"{row.score:.3f}", f"{row.change:+.1f}")
        table.add_row(name, *numbers, f"{row.largest:.0f}", f"{row.mean:.2f}")
    Console(width=120).print(table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="approximate drawings beside exact ones")
    parser.add_argument("folders", type=Path, nargs="+", help="image folders with a column `split`")
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--kind", default="canny", help="of control")
    parser.add_argument("--split", default="report")
    parser.add_argument("--items", type=int, default=64, help="pictures, evenly from all folders")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=1, help="pictures drawn together")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--setting", action="append", default=[], metavar="JSON", help="fields of a recipe")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    """Draw, compare and print."""
    chosen = arguments()
    torch.set_num_threads(chosen.threads)
    settings = {EXACT: {}, **{name: SETTINGS[name] for name in chosen.settings}}
    settings |= {text: json.loads(text) for text in chosen.setting}
    judge, protocol = call_judge(chosen.kind, (), chosen.split), Protocol(items=chosen.items, split=chosen.split)
    items = choose(gather(chosen.folders, chosen.split), protocol, judge)
    drawn = draw_in_turns(Studio.open(chosen.base, "cpu"), judge, items, settings, chosen)
    found = compare(drawn, judge, items)
    told = f"{chosen.kind}, {len(items)} pictures in batches of {chosen.batch}, {chosen.steps} steps"
    report(found, f"{told}; {chosen.threads} threads; score: {next(iter(judge.scores))}")


if __name__ == "__main__":
    main()
