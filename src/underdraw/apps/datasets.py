"""`underdraw prepare`: pictures from anywhere become data that a training reads; `underdraw audit`: is it any good?"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from underdraw.apps.terminal import bar, result, say
from underdraw.apps.values import folder_path, parse_settings, parse_size
from underdraw.errors import ConfigError

if TYPE_CHECKING:
    from underdraw.data.preparation import Preparation
    from underdraw.data.prepare import Progress
    from underdraw.data.sources import Source, Wishes

__all__ = ["COMMANDS", "audit", "prepare"]

Place = Annotated[
    str,
    Argument(
        help="A folder (metadata.jsonl, captions in .txt, maps in folders), prompt.json, .parquet, .tar, a data set of "
        "`datasets`, or the name of one on the hub (with --download)."
    ),
]
Maps = Annotated[
    list[str] | None,
    Option("--map", metavar="KIND=WHERE", help="Maps that the source brings: a column, or a folder of them."),
]
Column = Annotated[str, Option(metavar="COLUMN", help="Of the pictures, in a table; default: the usual names.")]
Captions = Annotated[str, Option(metavar="COLUMN", help="Of the captions, in a table; default: text, caption, prompt.")]
Split = Annotated[str, Option(help="Of a data set that has several.")]
Keypoints = Annotated[Path | None, Option(metavar="FILE", help="Body points of all pictures, in COCO's format.")]
Download = Annotated[bool, Option("--download", help="Allow the hub for the source and the captioner.")]
AsJson = Annotated[bool, Option("--json", help="One JSON object at the end on stdout.")]


def prepare(
    source: Place,
    output: Annotated[Path, Option("--output", "-o", help="The folder; a run that was cut off goes on in it.")],
    size: Annotated[str, Option(metavar="N|WxH", help="In pixels; with buckets, the area that they keep.")] = "512",
    bucket: Annotated[
        bool, Option(help="Keep proportions, in buckets of like ones; otherwise all have one size.")
    ] = True,
    step: Annotated[int, Option(help="Sides of buckets are multiples of it.")] = 64,
    enlarge: Annotated[float, Option(help="Pictures that would have to grow more than this are left out.")] = 2.0,
    annotator: Annotated[
        list[str] | None, Option(metavar="KIND", help="Maps to make; may be given several times.")
    ] = None,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="KIND.KNOB=VALUE", help="A knob of an annotator: --set canny.low=50.")
    ] = None,
    draws: Annotated[int, Option(help="Maps of each kind a picture: further ones with random usual knobs.")] = 1,
    resolutions: Annotated[
        str, Option(metavar="N-N", help="Further maps are looked at with a random shorter side between these.")
    ] = "",
    maps: Maps = None,
    picture: Column = "",
    captions: Annotated[
        str, Option(metavar="TEMPLATE", help="With {text}, {name}, {folder} and attributes: 'a photo of {name}'.")
    ] = "{text}",
    caption_column: Captions = "",
    captioner: Annotated[
        str,
        Option(metavar="MODEL", help="A folder (or with --download a hub name) of a model that writes missing ones."),
    ] = "",
    split: Split = "",
    keypoints: Keypoints = None,
    watch: Annotated[
        float, Option(help="Share of the pictures that is kept for watching, where no split is given.")
    ] = 0.05,
    seed: Annotated[int, Option(help="Of random knobs and the watched pictures.")] = 0,
    form: Annotated[
        str, Option("--format", help="Of pictures: jpg, png, or auto: jpg where they were lossy.")
    ] = "auto",
    quality: Annotated[int, Option(help="Of JPEGs.")] = 95,
    duplicates: Annotated[str, Option(help="drop; exact: only drop equal pixels; keep.")] = "drop",
    shard_size: Annotated[int, Option(metavar="MB", help="Of the tars, at most.")] = 256,
    workers: Annotated[int | None, Option(min=1, max=256, help="Processes; default: one a core.")] = None,
    download: Download = False,
    as_json: AsJson = False,
) -> None:
    """Decode, check, bucket, annotate and caption pictures; write shards that a training reads at random."""
    from underdraw.config import parse
    from underdraw.data.captions import load_captioner
    from underdraw.data.preparation import Preparation
    from underdraw.data.prepare import prepare as run
    from underdraw.data.sources import open_source

    table = {
        "size": _size(size),
        "bucket": bucket,
        "step": step,
        "enlarge": enlarge,
        "annotators": _made(annotator or [], settings or []),
        "draws": draws,
        "resolutions": _between(resolutions) if resolutions else None,
        "caption": captions,
        "captioner": captioner,
        "watch": watch,
        "seed": seed,
        "form": form,
        "quality": quality,
        "duplicates": duplicates,
        "shard_megabytes": shard_size,
    }
    told = parse(Preparation, table, "prepare")
    target = folder_path(output)
    found = open_source(source, _wishes(maps, picture, caption_column, split, keypoints, download))
    say(f"{source}: {found.about}, {len(found)} pictures" + (f" with {', '.join(found.kinds)}" if found.kinds else ""))
    write = load_captioner(captioner, download) if captioner else None
    many = workers or _workers(told)
    _run(run(found, target, told, many, write), found, target, as_json)


def audit(
    source: Annotated[str, Argument(help="Prepared data, or anything that `prepare` takes.")],
    output: Annotated[
        Path | None, Option("--output", "-o", help="A folder for report.html and its sheets; default: NAME-audit here.")
    ] = None,
    maps: Maps = None,
    picture: Column = "",
    caption_column: Captions = "",
    split: Split = "",
    keypoints: Keypoints = None,
    workers: Annotated[int | None, Option(min=1, max=256, help="Processes; default: one a core.")] = None,
    download: Download = False,
    as_json: AsJson = False,
) -> int:
    """Check what a careful person checks in a data set, draw it, and name what is wrong. Exit code 2: faults found."""
    from underdraw.apps.audit_page import write_audit
    from underdraw.data.audit import Audit, facts, summary
    from underdraw.data.audit import audit as run
    from underdraw.data.sources import open_source

    target = folder_path(output or Path(f"{Path(source).resolve().name}-audit"))
    found = open_source(source, _wishes(maps, picture, caption_column, split, keypoints, download))
    begun, done = time.monotonic(), None
    with bar("samples", len(found)) as move:
        for number, step in enumerate(run(found, workers or os.cpu_count() or 1, source), start=1):
            if isinstance(step, Audit):
                done = step
            else:
                move(f"{number / max(time.monotonic() - begun, 1e-9):.1f} samples/s")
    assert done is not None, "an audit ends with itself"
    write_audit(done, found, target)
    for line in summary(done):
        say(line)
    told = facts(done)
    words = f"{told['samples']} samples, {told['faulty samples']} with faults; see {target / 'report.html'}"
    result(f"{source}  {words}", told | {"folder": str(target), "findings": summary(done)}, as_json)
    return 2 if told["faults"] else 0


def _run(steps: "Iterator[Progress]", source: "Source", target: Path, as_json: bool) -> None:
    """Show the work while it goes on, and then what came of it."""
    import json

    from underdraw.data.prepare import DATASET, QUARANTINE

    begun, done, lost = time.monotonic(), 0, 0
    with bar("pictures", len(source)) as move:
        for step in steps:
            done += not step.resumed
            lost += not step.kept
            seconds = max(time.monotonic() - begun, 1e-9)
            move(f"{done / seconds:.1f} pictures/s, {lost} left out")
    seconds = max(time.monotonic() - begun, 1e-9)
    about = json.loads((target / DATASET).read_bytes())
    for line in about["problems"]:
        say(line)
    rate = round(done / seconds, 1)
    megabytes = sum(shard["bytes"] for shard in about["shards"]) / 1e6
    left_out = len(source) + sum(each.loses for each in source.problems) - about["samples"]
    told = f"{target}  {about['samples']} pictures, {left_out} left out"
    told += f" (see {target / QUARANTINE})" if about["problems"] else ""
    told += f", {len(about['buckets'])} buckets, {len(about['shards'])} shards, {megabytes:.0f} MB"
    told += f", {rate} pictures/s" if done else ", ready before"
    kept = {key: about[key] for key in ("samples", "kinds", "buckets", "splits", "problems")}
    facts = {"folder": str(target), **kept, "left_out": left_out, "seconds": round(seconds, 1), "rate": rate}
    result(told, facts, as_json)


def _size(text: str) -> tuple[int, int]:
    return parse_size(f"{text}x{text}" if text.strip().isdigit() else text)


def _between(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    if not (low.strip().isdigit() and high.strip().isdigit()):
        raise ConfigError(f"--resolutions {text!r} is not LOW-HIGH, for example 64-192")
    return int(low), int(high)


def _wishes(
    maps: list[str] | None, picture: str, caption: str, split: str, keypoints: Path | None, download: bool
) -> "Wishes":
    from underdraw.data.sources import Wishes

    places = {}
    for text in maps or ():
        kind, sign, where = text.partition("=")
        if not (sign and kind.strip() and where.strip()):
            raise ConfigError(f"--map {text!r} is not KIND=WHERE, for example segmentation=labels")
        places[kind.strip()] = where.strip()
    return Wishes(places, picture, caption, split, keypoints, download)


def _made(kinds: list[str], settings: list[str]) -> list[dict[str, Any]]:
    """Annotators with their knobs. Raises ConfigError for a knob of a kind that is not made, or an unknown one."""
    from underdraw.annotators import build
    from underdraw.registry import nearest

    knobs: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    for text in settings:
        kind, dot, rest = text.partition(".")
        if not dot or kind not in knobs:
            raise ConfigError(f"--set {text!r} is not KIND.KNOB=VALUE of an --annotator; {nearest(kind, kinds)}")
        knobs[kind] |= parse_settings([rest])
    for kind, values in knobs.items():
        build(kind, values)
    return [{"kind": kind, "knobs": values} for kind, values in knobs.items()]


def _workers(told: "Preparation") -> int:
    """One a core; one where a learned annotator would be held in memory by each."""
    if any(made.look().needs.weights for made in told.annotators):
        return 1
    return os.cpu_count() or 1


COMMANDS = (prepare, audit)
