"""`underdraw evaluate`: does a base obey its ControlNets, and by how much."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from underdraw.apps.terminal import bar, result
from underdraw.apps.values import folder_path
from underdraw.errors import ConfigError

__all__ = ["COMMANDS", "evaluate"]

RANKING = Path("ranking")
"""Instead of a folder: what follows are files of answers."""


def evaluate(
    folders: Annotated[
        list[Path],
        Argument(
            metavar="FOLDER... | ranking FILE...",
            help="Image folders with a column `split`; or answers of `serve --rank`.",
        ),
    ],
    output: Annotated[
        Path | None, Option("--output", "-o", help="A folder for the report and its sheets; needed for one.")
    ] = None,
    base: Annotated[str | None, Option(help="A folder in diffusers layout; default: the embedded base.")] = None,
    kind: Annotated[list[str] | None, Option(help="Kinds of control; default: all beside the base.")] = None,
    reader: Annotated[
        list[str] | None,
        Option(metavar="KIND=FILE", help="Who judges a kind that is not edges: depth=depth.safetensors"),
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

    `evaluate ranking FILE` sums up what people said of pictures: means by method with their intervals.
    """
    if folders[0] == RANKING:
        _tell_ranking(folders[1:], as_json)
        return
    if output is None:
        raise ConfigError("there is nowhere to write the report; give --output FOLDER")
    from underdraw.evaluation import Protocol, tables
    from underdraw.evaluation import evaluate as run
    from underdraw.generation import EMBEDDED

    target, readers = folder_path(output), _readers(reader or ())
    protocol = Protocol(items=items, split=split, seed=seed, steps=steps, scheduler=scheduler, guidance=guidance)
    shares: dict[str, int] = {}
    with bar("drawing", None) as move:

        def tell(what: str, done: int, count: int) -> None:
            move(f"{what} {done}/{count}", done - shares.get(what, 0))
            shares[what] = done

        report = run(
            base or EMBEDDED,
            folders,
            target,
            protocol=protocol,
            kinds=kind,
            readers=readers,
            clip=clip,
            device=device,
            tell=tell,
        )
    result(tables(report), asdict(report), as_json)


def _tell_ranking(files: Sequence[Path], as_json: bool) -> None:
    """What people said, from all the files together."""
    from underdraw.evaluation.ranking import ranking_table, rankings, read_answers

    found = rankings(answer for path in files for answer in read_answers(path))
    result(ranking_table(found), {"ranking": [asdict(each) for each in found]}, as_json)


def _readers(told: Sequence[str]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in told]
    if bad := [text for text, (kind, sign, path) in zip(told, pairs, strict=True) if not (kind and sign and path)]:
        raise ConfigError(f"--reader {bad[0]!r} is not KIND=FILE, for example depth=depth.safetensors")
    return {kind: Path(path) for kind, _, path in pairs}


COMMANDS = (evaluate,)
