"""`underdraw evaluate`: does a base obey its ControlNets, and by how much."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from underdraw.apps.terminal import bar, result
from underdraw.apps.values import folder_path
from underdraw.errors import ConfigError

__all__ = ["COMMANDS", "evaluate"]

RANKING, QUALITY = Path("ranking"), Path("quality")
"""Instead of a folder: what follows are files of answers; what is measured is what control costs."""


def evaluate(
    folders: Annotated[
        list[Path],
        Argument(
            metavar="FOLDER... | quality FOLDER... | ranking FILE...",
            help="Image folders with a column `split`; or answers of `serve --rank`.",
        ),
    ],
    output: Annotated[
        Path | None, Option("--output", "-o", help="A folder for the report and its sheets; needed for one.")
    ] = None,
    base: Annotated[str | None, Option(help="A folder in diffusers layout; default: the embedded base.")] = None,
    condition: Annotated[
        list[str] | None, Option(help="Kinds of maps; default: all that the nets beside the base take.")
    ] = None,
    reader: Annotated[
        list[Path] | None,
        Option(metavar="FILE", help="Who judges depth, normals, labels and poses; default: the judge that ships."),
    ] = None,
    clip: Annotated[Path | None, Option(help="A CLIP's folder; with it captions are asked about, too.")] = None,
    items: Annotated[int, Option(min=2, help="Pictures a kind.")] = 200,
    split: Annotated[str, Option(help="Of the image folders.")] = "report",
    seed: Annotated[int, Option(min=0, help="Of the first picture; the others count on.")] = 0,
    steps: Annotated[int, Option(min=1, max=1000, help="Of each drawing.")] = 20,
    scheduler: Annotated[str, Option(help="As in generate.")] = "dpm++ 2m",
    guidance: Annotated[float, Option(min=0, help="As in generate.")] = 4.0,
    device: Annotated[str, Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, Option("--json", help="The report as one JSON object on stdout.")] = False,
) -> None:
    """Draw held-out pictures with, without and with another's map, annotate them again, and report the obedience.

    `evaluate quality` asks what control costs: naturalness (KID), variety over seeds, likeness to what was learnt
    from (the split "train" of the folders) and to the captions. It needs --clip.

    `evaluate ranking FILE` sums up what people said of pictures: means by method with their intervals.
    """
    if folders[0] == RANKING:
        _tell_ranking(folders[1:], as_json)
        return
    if output is None:
        raise ConfigError("there is nowhere to write the report; give --output FOLDER")
    from underdraw.evaluation import Protocol, cost_table, tables, weigh
    from underdraw.evaluation import evaluate as run
    from underdraw.generation import EMBEDDED

    target, name = folder_path(output), base or EMBEDDED
    protocol = Protocol(items=items, split=split, seed=seed, steps=steps, scheduler=scheduler, guidance=guidance)
    told: dict[str, Any] = {"protocol": protocol, "kinds": condition, "readers": reader or (), "device": device}
    shares: dict[str, int] = {}
    with bar("drawing", None) as move:

        def tell(what: str, done: int, count: int) -> None:
            move(f"{what} {done}/{count}", done - shares.get(what, 0))
            shares[what] = done

        if folders[0] == QUALITY:
            if clip is None:
                raise ConfigError("quality is measured by a CLIP; give the folder of one: --clip FOLDER")
            costs = weigh(name, folders[1:], target, clip=clip, tell=tell, **told)
            text, facts = cost_table(costs), asdict(costs)
        else:
            report = run(name, folders, target, clip=clip, tell=tell, **told)
            text, facts = tables(report), asdict(report)
    result(text, facts, as_json)


def _tell_ranking(files: Sequence[Path], as_json: bool) -> None:
    """What people said, from all the files together."""
    from underdraw.evaluation.ranking import ranking_table, rankings, read_answers

    found = rankings(answer for path in files for answer in read_answers(path))
    result(ranking_table(found), {"ranking": [asdict(each) for each in found]}, as_json)


COMMANDS = (evaluate,)
