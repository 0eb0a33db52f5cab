"""The ControlNet extension's own API: `/controlnet/version`, lists, `detect`."""

import importlib.util
from functools import cache
from typing import Any

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, Field

from underdraw.annotators import ANNOTATORS
from underdraw.annotators.inpaint import masked
from underdraw.apps.server.foreign import Notes, Unit
from underdraw.apps.server.limits import Limits, picture_of
from underdraw.apps.server.lists import nets
from underdraw.apps.server.maps import annotated, skeletons
from underdraw.apps.server.service import Shared, as_text
from underdraw.apps.server.units import model_name, own_sliders, settings_of
from underdraw.errors import InputError

__all__ = ["routes"]

routes = APIRouter(prefix="/controlnet", tags=["controlnet"])
PICTURES = 16
"""At most in one request."""


@routes.get("/version")
def version() -> dict[str, int]:
    """Of the extension's API that is spoken."""
    return {"version": 3}


@routes.get("/model_list")
def model_list(service: Shared, update: bool = True) -> dict[str, list[str]]:
    """The ControlNets beside the base."""
    return {"model_list": [model_name(kind, net) for kind, net in nets(service.studio)]}


@routes.get("/module_list")
def module_list(alias_names: bool = False) -> dict[str, Any]:
    """The annotators, by our names and by those of other tools."""
    names = _modules()
    return {"module_list": names, "module_detail": {name: _detail(name) for name in names}}


@cache
def _modules() -> list[str]:
    """Those whose packages are here."""
    here = [
        kind
        for kind in ANNOTATORS
        if all(importlib.util.find_spec(name) is not None for name in ANNOTATORS[kind].needs.packages)
    ]
    return ["none", *here, *(name for name, kind in ANNOTATORS.aliases().items() if kind in here)]


def _detail(name: str) -> dict[str, Any]:
    if name == "none":
        return {"model_free": False, "sliders": []}
    size = {"name": "Preprocessor Resolution", "value": 512, "min": 64, "max": 2048, "step": 8}
    more = [
        {"name": knob, "value": setting.default, "min": setting.low, "max": setting.high}
        | ({"step": 1} if isinstance(setting.default, int) else {"step": 0.01})
        for knob, setting in own_sliders(name)[:2]
    ]
    return {"model_free": False, "sliders": [size, *more]}


@routes.get("/control_types")
def control_types(service: Shared) -> dict[str, Any]:
    """Annotators and ControlNets by what their maps are maps of."""
    models = {kind: model_name(kind, net) for kind, net in nets(service.studio)}
    names = _modules()
    everything = {"module_list": names, "model_list": ["None", *models.values()]}
    types = {"All": everything | {"default_option": "none", "default_model": "None"}}
    for kind, model in models.items():
        makers = [name for name in names if name != "none" and ANNOTATORS[name].condition == kind]
        types[kind.capitalize()] = {
            "module_list": ["none", *makers],
            "model_list": ["None", model],
            "default_option": kind if kind in makers else "none",
            "default_model": model,
        }
    return {"control_types": types}


@routes.get("/settings")
def settings() -> dict[str, int]:
    """Units that a client's window shows."""
    return {"control_net_unit_count": 3}


class DetectAsked(BaseModel):
    """Pictures to annotate; `controlnet_images` is what webuiapi calls them."""

    controlnet_module: str = "none"
    controlnet_input_images: list[str] = Field(
        [], validation_alias=AliasChoices("controlnet_input_images", "controlnet_images")
    )
    controlnet_masks: list[str] = []
    controlnet_processor_res: int = -1
    controlnet_threshold_a: float = -1
    controlnet_threshold_b: float = -1


@routes.post("/detect")
async def detect(asked: DetectAsked, service: Shared) -> dict[str, Any]:
    """The maps of pictures."""
    notes = Notes()
    shown = await service.aside(_detected, asked, service.limits, notes)
    return {"images": shown, "info": "Success", "not_honoured": notes.unheard}


def _detected(asked: DetectAsked, limits: Limits, notes: Notes) -> list[str]:
    pictures, module = asked.controlnet_input_images, asked.controlnet_module.strip().lower()
    if not pictures or len(pictures) > PICTURES:
        raise InputError(f"{len(pictures)} pictures in controlnet_input_images; send 1 to {PICTURES} in base64")
    unit = Unit(
        processor_res=asked.controlnet_processor_res,
        threshold_a=asked.controlnet_threshold_a,
        threshold_b=asked.controlnet_threshold_b,
    )
    shown = []
    for place, text in enumerate(pictures):
        picture = picture_of(text, limits, f"picture {place + 1}")
        if module == "none":
            shown.append(as_text(picture[0]))
            continue
        if ANNOTATORS[module].kind == "inpaint":
            if place >= len(asked.controlnet_masks):
                raise InputError("controlnet_masks holds no mask for a picture; send one for each")
            picture = masked(picture, picture_of(asked.controlnet_masks[place], limits, f"mask {place + 1}"))
        told = settings_of(module, unit, max(picture.shape[-2:]), notes)
        shown.append(as_text(annotated(module, told, picture)))
    return shown


@routes.post("/render_openpose_json")
async def render(asked: list[dict[str, Any]], service: Shared) -> dict[str, Any]:
    """Skeletons of OpenPose's JSON, a picture each."""
    if not 1 <= len(asked) <= PICTURES:
        raise InputError(f"{len(asked)} documents; send 1 to {PICTURES}")
    shown = [as_text(await service.aside(skeletons, each)) for each in asked]
    return {"images": shown, "info": "Success"}
