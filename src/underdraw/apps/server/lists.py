"""Our API: what there is here. Knobs, presets and names come from the parts themselves."""

import importlib.util
import inspect
from dataclasses import asdict
from functools import cache
from typing import Any

from fastapi import APIRouter

import underdraw
from underdraw.annotators import ANNOTATORS, PALETTES, Annotator, knobs
from underdraw.apps.server.service import Shared
from underdraw.evaluation.judges import sees_pictures
from underdraw.generation import (
    CURVES,
    DRAWING_PRESETS,
    PRESETS,
    SCHEDULERS,
    Studio,
    control_kinds,
    native_size,
    unit,
)

__all__ = ["nets", "routes"]

routes = APIRouter(prefix="/v1", tags=["lists"])


@routes.get("/models")
def models(service: Shared) -> dict[str, Any]:
    """The base that draws here, and what may be asked of it."""
    backbone = service.studio.backbone
    width, height = native_size(backbone)
    base = {
        "name": service.studio.name,
        "hash": service.studio.hash,
        "width": width,
        "height": height,
        "unit": unit(backbone),
        "device": backbone.device.type,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "text": bool(backbone.text_encoders),
    }
    return {
        "version": underdraw.__version__,
        "base": base,
        "bases": [service.studio.name],
        "loras": service.limits.loras,
        "limits": {name: value for name, value in asdict(service.limits).items() if name != "loras"},
        "rank": service.survey is not None,
    }


@routes.get("/controls")
def controls(service: Shared) -> dict[str, Any]:
    """The ControlNets beside the base, and whose maps each takes."""
    return {
        "controls": [{"kind": kind, "hash": net, "annotators": _makers(kind)} for kind, net in nets(service.studio)]
    }


def nets(studio: Studio) -> list[tuple[str, str]]:
    """The kinds of the ControlNets beside a base, with their hashes."""
    return [(kind, studio.net_hash(kind)) for kind in control_kinds(studio.folder)]


@cache
def _makers(wanted: str) -> list[str]:
    condition = ANNOTATORS[wanted].condition if wanted in ANNOTATORS else wanted
    found = [kind for kind in ANNOTATORS if ANNOTATORS[kind].condition == condition]
    return sorted(found, key=lambda kind: (kind != wanted, kind))


@routes.get("/annotators")
def annotators() -> dict[str, Any]:
    """All annotators with their knobs."""
    return {"annotators": [_told(kind) for kind in ANNOTATORS]}


@cache
def _told(kind: str) -> dict[str, Any]:
    part = ANNOTATORS[kind]
    about, _, rest = (inspect.getdoc(part) or "").partition("\n\n")
    meaning = part.meaning
    return {
        "kind": kind,
        "condition": part.condition,
        "about": " ".join(about.split()),
        "good_for": " ".join(rest.partition("\n\n")[0].split()),
        "also": [name for name, meant in ANNOTATORS.aliases().items() if meant == kind],
        "channels": meaning.channels,
        "binary": meaning.binary,
        "polarity": meaning.polarity,
        "palette": meaning.palette,
        "labels": _labels(part),
        "pictures": bool(part.needs.packages or part.needs.weights) or sees_pictures(kind),
        "needs": _lacks(part),
        "knobs": [_knob(name, setting) for name, setting in knobs(part).items()],
    }


def _lacks(part: type[Annotator]) -> str:
    """What is missing here, in words."""
    missing = [name for name in part.needs.packages if importlib.util.find_spec(name) is None]
    if missing:
        return f"pip install 'underdraw[{part.needs.extra}]'" if part.needs.extra else " ".join(missing)
    return part.needs.weights


def _labels(part: type[Annotator]) -> list[dict[str, Any]] | None:
    """The classes that can be painted, where a map is one of classes."""
    known = knobs(part).get("palette")
    if part.condition != "segmentation" and known is None:
        return None
    name = str(known.default) if known is not None and str(known.default) in PALETTES else "ade20k"
    palette = PALETTES[name]
    return [{"name": word, "colour": colour} for word, colour in zip(palette.names, palette.colours, strict=True)]


def _knob(name: str, setting: Any) -> dict[str, Any]:
    """A setting as a slider, a switch or a choice."""
    default = setting.default
    kind = "choice" if setting.choices else type(default).__name__
    span = setting.high - setting.low
    step = 1 if kind == "int" else next((step for step in (0.01, 0.05, 0.1, 0.5) if span / step <= 200), 1.0)
    return {
        "name": name,
        "type": kind,
        "default": default,
        "low": setting.low,
        "high": setting.high,
        "step": step,
        "choices": list(setting.choices),
        "help": setting.help,
    }


@routes.get("/presets")
def presets() -> dict[str, Any]:
    """Ways to draw in few steps, ways to hear a control, curves over the layers."""
    heard = {name: asdict(PRESETS[name]) for name in PRESETS.names()}
    return {
        "drawing": {name: dict(DRAWING_PRESETS[name]) for name in DRAWING_PRESETS.names()},
        "control": heard,
        "curves": CURVES.names(),
    }


@routes.get("/schedulers")
def schedulers() -> dict[str, Any]:
    """All schedulers."""
    return {"schedulers": [{"name": name, "label": SCHEDULERS[name].label} for name in SCHEDULERS.names()]}
