"""`underdraw inspect`, `convert`, `models` and `doctor`: what files are, what they can become, what is here."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from underdraw.apps.terminal import result
from underdraw.errors import UnderdrawError

if TYPE_CHECKING:
    from underdraw.formats.detect import Facts
    from underdraw.formats.merging import Loud

__all__ = ["COMMANDS", "convert", "doctor", "inspect", "models"]


def inspect(
    path: Annotated[Path, Argument(metavar="FILE", help="A file of weights, or a folder in diffusers layout.")],
    as_json: Annotated[bool, Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say what a file of weights is: kind, family, layout, precision, shapes, and what it says of itself."""
    from underdraw.formats.convert import FORMS
    from underdraw.formats.detect import detect
    from underdraw.formats.foreign import FOREIGN

    facts = detect(path)
    told = _plain(facts) | {"becomes": list(FORMS.get(facts.kind, ())), "notes": _notes(facts)}
    if facts.kind in FOREIGN:
        told["notes"].append(f"it is {FOREIGN[facts.kind]}; it is not supported")
    result("\n".join(_lines(facts, told)), told, as_json)


def convert(
    source: Annotated[Path, Argument(metavar="IN", help="A file of weights, or a folder in diffusers layout.")],
    target: Annotated[Path, Argument(metavar="OUT", help="A .safetensors file, or a folder for diffusers layout.")],
    to: Annotated[str, Option("--to", help="original, diffusers, control-lora or kohya (see: underdraw inspect IN).")],
    dtype: Annotated[str | None, Option(help="fp32, fp16 or bf16; default: every tensor as it is.")] = None,
    base: Annotated[str | None, Option(help="The base that a control was made for: a name, file or folder.")] = None,
    onto: Annotated[str | None, Option(help="Another base of its family, to which the control is moved.")] = None,
    rank: Annotated[int, Option(min=1, max=4096, help="Of a Control-LoRA.")] = 128,
    lora: Annotated[
        list[str] | None, Option(metavar="NAME[:WEIGHT]", help="Put this LoRA into a base's weights; several times.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Write a base, ControlNet, VAE, T2I-Adapter or LoRA in another form, for other tools, or in another precision."""
    from underdraw.formats.convert import Job
    from underdraw.formats.convert import convert as run
    from underdraw.formats.writing import parse_dtype

    loras = tuple(map(_loud, lora or ()))
    facts, notes = run(Job(source, target, to, parse_dtype(dtype), base, onto, rank, loras))
    lines = [f"{target}  {facts.kind} → {to}", *(f"  {note}" for note in notes)]
    told = {"file": str(target), "kind": facts.kind, "family": facts.family, "to": to, "notes": notes}
    result("\n".join(lines), told, as_json)


def models(
    as_json: Annotated[bool, Option("--json", help="One JSON object a model on stdout.")] = False,
) -> None:
    """What models are here: in the package, in the folder of models (UNDERDRAW_MODELS; A1111's or ComfyUI's root will
    do), and in the hub's cache."""
    from underdraw.files import models_folder
    from underdraw.formats.hub import cached, hub_cache
    from underdraw.formats.places import EMBEDDED, KINDS, listed, locate_base

    seen: dict[Path, str] = {locate_base(EMBEDDED): EMBEDDED}
    for kind in KINDS:
        seen |= {path: path.name for path in listed(kind) if path not in seen}
    seen |= {path: name for name, path in cached()}
    if not as_json:
        result(f"folder of models: {models_folder()}\nhub cache: {hub_cache()}\n", {}, as_json)
    for path, name in seen.items():
        told = {"name": name} | _looked_at(path)
        result(f"{name:44} {told['kind']:18} {told.get('family') or '-':5} {told['gigabytes']:7.2f} GB", told, as_json)


def doctor(
    as_json: Annotated[bool, Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Versions, devices, memory, optional packages, and where models lie: what a report of a fault should say."""
    from underdraw.apps.health import health

    told = health()
    width = max(map(len, told))
    result("\n".join(f"{name:{width}}  {_words(value)}" for name, value in told.items()), told, as_json)


def _loud(text: str) -> "Loud":
    """A LoRA by its name, and how loud it is. Raises ConfigError or InputError for what makes no sense."""
    from underdraw.formats.merging import Loud
    from underdraw.formats.places import locate_lora
    from underdraw.generation import LoraRequest

    asked = LoraRequest.parse(text)
    text_weight = asked.weight if asked.text_weight is None else asked.text_weight
    return Loud(locate_lora(asked.name), asked.weight, text_weight, asked.blocks)


def _looked_at(path: Path) -> dict[str, Any]:
    """What a file or folder is, or why it can't be told."""
    from underdraw.formats.detect import detect

    try:
        facts = detect(path)
    except UnderdrawError as error:
        return {"kind": "unreadable", "path": str(path), "gigabytes": 0.0, "error": str(error)}
    return _plain(facts) | {"gigabytes": facts.size / 1e9}


def _plain(facts: "Facts") -> dict[str, Any]:
    return asdict(facts) | {"path": str(facts.path)}


def _lines(facts: "Facts", told: Mapping[str, Any]) -> list[str]:
    from underdraw.formats.families import FAMILIES

    family = FAMILIES[facts.family].title if facts.family else ""
    about = {
        "kind": facts.kind,
        "layout": facts.layout,
        "family": family,
        "precision": ", ".join(f"{count:,} {kind}" for kind, count in facts.dtypes.items()),
        "size": f"{facts.size / 1e6:,.1f} MB" + (f" in {facts.tensors:,} tensors" if facts.tensors else ""),
        **facts.details,
        "can become": ", ".join(told["becomes"]),
        "says": "; ".join(f"{key}: {_short(value)}" for key, value in facts.said.items() if key != "underdraw"),
    }
    return [f"{facts.path}", *(f"  {key:16} {value}" for key, value in about.items() if value not in ("", None))] + [
        f"  {note}" for note in told["notes"]
    ]


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"


def _notes(facts: "Facts") -> list[str]:
    """What else there is to say of a base, or of a control."""
    from underdraw.formats.bases import read_base
    from underdraw.formats.conditions import about_control, about_folder
    from underdraw.formats.convert import report_lines
    from underdraw.formats.reading import open_tensors

    if facts.kind == "base" and facts.layout == "original":
        try:
            return list(report_lines(read_base(facts.path).report))
        except UnderdrawError as error:
            return [str(error)]
    if facts.kind not in ("controlnet", "control-lora", "t2i-adapter"):
        return []
    said = about_folder(facts.path) if facts.path.is_dir() else open_tensors(facts.path).said()
    about = about_control(facts.path, said)
    return [f"{key}: {_words(value)}" for key, value in about.said().items()]


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


COMMANDS = (inspect, convert, models, doctor)
