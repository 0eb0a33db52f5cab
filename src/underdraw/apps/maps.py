"""`underdraw extract`, `check` and `annotators`: pictures to condition maps, maps that people bring, what there is."""

import os
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from underdraw.apps.terminal import bar, result, say
from underdraw.apps.values import folder_path, parse_settings, parse_size, png_path
from underdraw.errors import ConfigError, InputError
from underdraw.workers import summon

if TYPE_CHECKING:
    from underdraw.annotators import Annotator
    from underdraw.annotators.hygiene import Fault

__all__ = ["COMMANDS", "annotators", "check", "extract"]

FAILURES = "failures.txt"
Size = tuple[int, int] | None


def extract(
    kind: Annotated[str, Argument(help="One of `underdraw annotators`; or all: a sheet of every kind that it can be.")],
    source: Annotated[Path, Argument(metavar="PICTURE", help="A photograph or drawing, or a folder of them.")],
    output: Annotated[Path, Option("--output", "-o", help="The map, a PNG; of a folder, a folder of maps.")],
    settings: Annotated[
        list[str] | None, Option("--set", metavar="KNOB=VALUE", help="A knob of the annotator: --set low=50.")
    ] = None,
    size: Annotated[str | None, Option(metavar="WxH", help="Of the map; default: the picture's.")] = None,
    workers: Annotated[
        int | None, Option(min=1, max=256, help="Processes for a folder; default: one a core, one for learned kinds.")
    ] = None,
    download: Annotated[
        bool, Option("--download", help="Fetch the weights that a learned kind needs, if they are not here.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="One JSON object a map on stdout.")] = False,
) -> int:
    """Make the condition map of a picture, or of all pictures in a folder."""
    if source.is_dir() and workers != 1:
        summon("underdraw.annotators.folders")
    from underdraw.annotators import allow_downloads

    with allow_downloads() if download else nullcontext():
        return _extract(kind, source, output, settings, size, workers, as_json)


def _extract(
    kind: str,
    source: Path,
    output: Path,
    settings: list[str] | None,
    size: str | None,
    workers: int | None,
    as_json: bool,
) -> int:
    wanted = parse_size(size) if size else None
    if kind == "all":
        return _sheet(source, png_path(output), settings, wanted)
    look = _look(kind, settings)
    if source.is_dir():
        return _folder(look, source, folder_path(output), wanted, workers, as_json)
    from underdraw.annotators.folders import annotate_file

    target = png_path(output)
    width, height = annotate_file(look, source, target, wanted)
    facts = {"file": str(target), "kind": kind, "width": width, "height": height}
    result(f"{target}  {kind}  {width}×{height}", facts, as_json)
    return 0


def _look(kind: str, settings: list[str] | None) -> "Annotator":
    from underdraw.annotators import build

    return build(kind, parse_settings(settings or ()))


def _folder(look: "Annotator", source: Path, target: Path, size: Size, workers: int | None, as_json: bool) -> int:
    """0, or 2 where a file failed; the list of those lies beside the maps."""
    from underdraw.annotators.folders import annotate_folder, sources

    count = len(sources(look, source, besides=target))
    many = workers or (1 if look.needs.weights else min(count, os.cpu_count() or 1))
    begun, failed, kept = time.monotonic(), [], 0
    with bar(look.kind, count) as move:
        for outcome in annotate_folder(look, source, target, size, many):
            move(outcome.source.name)
            kept += outcome.kept
            if outcome.error:
                failed.append(outcome.error)
                say(outcome.error)
            if as_json:
                result("", {"source": str(outcome.source), "file": str(outcome.target), "error": outcome.error}, True)
    _list_failures(target / FAILURES, failed)
    seconds = time.monotonic() - begun
    told = f"{target}  {count - len(failed) - kept} maps of {look.kind}, {kept} kept, {len(failed)} failed"
    if not as_json:
        result(f"{told}, {seconds:.1f} s" + (f"; see {target / FAILURES}" if failed else ""), {}, False)
    return 2 if failed else 0


def _list_failures(path: Path, failed: list[str]) -> None:
    from underdraw.files import atomic

    path.unlink(missing_ok=True)
    if failed:
        with atomic(path) as draft:
            draft.write_text("".join(f"{line}\n" for line in failed), encoding="utf-8")


def _sheet(source: Path, target: Path, settings: list[str] | None, size: Size) -> int:
    """Every kind of map that a picture gives without learned weights, side by side."""
    from underdraw import images
    from underdraw.annotators import ANNOTATORS, build
    from underdraw.generation import Cell, Row, sheet

    if settings:
        raise ConfigError("--set is for one kind, not for all")
    picture = images.read(source)
    cells, left_out = [Cell(picture[0], source.name)], Counter[str]()
    with bar("maps", len(ANNOTATORS)) as move:
        for kind in ANNOTATORS:
            move(kind)
            look = build(kind)
            if look.needs.weights or look.needs.packages:
                left_out["learned"] += 1
                continue
            try:
                cells.append(Cell(look.show(look.map(picture, size))[0], kind))
            except InputError:
                left_out["for other sources"] += 1
    rows = [Row("", cells[first : first + 6]) for first in range(0, len(cells), 6)]
    told = ", ".join(f"{number} {why}" for why, number in left_out.items())
    images.write(sheet(rows, title=source.name, footer=f"left out: {told}", cell=(256, 256), label_width=0), target)
    result(f"{target}  {len(cells) - 1} kinds; left out: {told}", {}, as_json=False)
    return 0


def check(
    maps: Annotated[list[Path], Argument(metavar="MAP...", help="Maps that are there already, or folders of them.")],
    kind: Annotated[str, Option(help="What they are maps of: canny, depth, normal …")],
    like: Annotated[Path | None, Option(help="The picture that the map belongs to: its size is compared.")] = None,
    output: Annotated[
        Path | None, Option("--output", "-o", help="Write the map with everything repaired that safely can be.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="One JSON object a map on stdout.")] = False,
) -> int:
    """Find and explain what is wrong with maps that somebody made: polarity, colours, blends, sizes."""
    from underdraw import images

    files = [file for path in maps for file in (_pictures(path) if path.is_dir() else [path])]
    if output and len(files) > 1:
        raise ConfigError(f"{len(files)} maps are given and one --output; repair them one by one")
    size = (images.read(like).shape[-1], images.read(like).shape[-2]) if like else None
    found = [_checked(file, kind, size, output, as_json) for file in files]
    return 0 if all(found) else 2


def _checked(file: Path, kind: str, size: Size, output: Path | None, as_json: bool) -> bool:
    """Whether a map is without fault, or is now in its repaired form."""
    from underdraw import images
    from underdraw.annotators.hygiene import examine, repair

    try:
        faults = examine(file, kind, size)
    except InputError as error:
        say(str(error))
        return False
    _tell_faults(file, faults, as_json)
    if not faults or output is None:
        return not faults
    mended, _, left = repair(file, kind, size)
    images.write(mended, png_path(output))
    result(f"{output}  repaired", {"file": str(output), "left": [fault.name for fault in left]}, as_json)
    return not left


def _pictures(folder: Path) -> list[Path]:
    from underdraw.annotators import build
    from underdraw.annotators.folders import sources

    return sources(build("canny"), folder)


def _tell_faults(file: Path, faults: "list[Fault]", as_json: bool) -> None:
    facts = [{"name": f.name, "told": f.told, "remedy": f.remedy, "safe": f.repaired is not None} for f in faults]
    lines = [f"{file}  {'; '.join(f.name for f in faults) or 'no fault found'}"]
    lines += [
        f"  {f.name}: {f.told}; {f.remedy}" + (" (--output does)" if f.repaired is not None else "") for f in faults
    ]
    result("\n".join(lines), {"file": str(file), "faults": facts}, as_json)


def annotators(
    kind: Annotated[str | None, Argument(help="One kind, with its knobs; default: all, a line each.")] = None,
    as_json: Annotated[bool, Option("--json", help="One JSON object a kind on stdout.")] = False,
) -> None:
    """What maps there are, what they mean, what they need and which knobs they have."""
    from underdraw.annotators import ANNOTATORS

    for name in [kind] if kind else ANNOTATORS:
        facts = _facts(name)
        lines = [_line(facts)]
        if kind:
            lines += ["", *facts["about"].splitlines(), "", *(_knob_line(knob) for knob in facts["knobs"])]
        result("\n".join(lines), facts, as_json)


def _facts(name: str) -> dict[str, Any]:
    """What there is to say of an annotator."""
    import inspect
    from dataclasses import asdict

    from underdraw.annotators import ANNOTATORS, build, knobs

    part, look = ANNOTATORS[name], build(name)
    others = [other for other, kind in ANNOTATORS.aliases().items() if kind == part.kind]
    set_to = look.settings
    return {
        "kind": part.kind,
        "condition": part.condition,
        "known_as": others,
        "meaning": asdict(look.meaning),
        "needs": asdict(part.needs),
        "about": inspect.getdoc(part) or "",
        "knobs": [{"name": key, "value": set_to[key]} | asdict(setting) for key, setting in knobs(part).items()],
    }


def _line(facts: dict[str, Any]) -> str:
    needs = facts["needs"]["weights"] or " ".join(facts["needs"]["packages"])
    told = f"{facts['kind']:22} {facts['meaning']['polarity']}"
    return told + (f"  [needs {needs}]" if needs else "")


def _knob_line(knob: dict[str, Any]) -> str:
    among = " | ".join(knob["choices"]) or (
        "" if isinstance(knob["default"], bool) else f"{knob['low']:g}…{knob['high']:g}"
    )
    return f"  {knob['name']:12} {knob['value']!s:10} {among:20} {knob['help']}"


COMMANDS = (extract, check, annotators)
