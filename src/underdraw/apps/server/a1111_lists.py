"""A1111's API: what there is here, in its words."""

import os
from typing import Any

from fastapi import APIRouter

from underdraw.apps.server.a1111 import title
from underdraw.apps.server.service import Service, Shared
from underdraw.errors import InputError
from underdraw.generation import SCHEDULERS
from underdraw.generation.styles import STYLES

__all__ = ["routes"]

routes = APIRouter(prefix="/sdapi/v1", tags=["a1111"])
SCRIPTS = ["controlnet", "controlnet m2m"]
"""By the second webuiapi sees that there are ControlNets."""
SCHEDULES = {
    "automatic": "Automatic",
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
    "sgm_uniform": "SGM Uniform",
}
SPACED = (" karras", " exponential", " beta", " trailing")


@routes.get("/samplers")
def samplers() -> list[dict[str, Any]]:
    """Samplers, each once; how the steps are spaced is a scheduler's."""
    names = [name for name in SCHEDULERS.names() if not name.endswith(SPACED)]
    aliases = SCHEDULERS.aliases().items()
    return [
        {
            "name": SCHEDULERS[name].label,
            "aliases": [also for also, meant in aliases if meant == name],
            "options": {},
        }
        for name in names
    ]


@routes.get("/schedulers")
def schedulers() -> list[dict[str, Any]]:
    """How steps are spaced."""
    return [
        {"name": name, "label": label, "aliases": None, "default_rho": -1, "need_inner_model": False}
        for name, label in SCHEDULES.items()
    ]


@routes.get("/sd-models")
def sd_models(service: Shared) -> list[dict[str, Any]]:
    """The base that draws here."""
    studio = service.studio
    return [
        {
            "title": title(service),
            "model_name": studio.name,
            "hash": studio.hash[:10],
            "sha256": studio.hash,
            "filename": studio.name,
            "config": None,
        }
    ]


def _options(service: Service) -> dict[str, Any]:
    return {
        "sd_model_checkpoint": title(service),
        "sd_checkpoint_hash": service.studio.hash,
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
        "samples_format": "png",
        "control_net_unit_count": 3,
    }


@routes.get("/options")
def options(service: Shared) -> dict[str, Any]:
    """Settings of the server."""
    return _options(service)


@routes.post("/options")
def set_options(asked: dict[str, Any], service: Shared) -> None:
    """Accepts what is so already; clients do not change the server."""
    known = _options(service) | {"sd_checkpoint_hash": service.studio.hash}
    for name, value in asked.items():
        same = value == known.get(name, "") or (name == "sd_model_checkpoint" and value == service.studio.name)
        if not same:
            raise InputError(f"option {name[:64]!r} is not changed from here; start the server as it is wanted")


@routes.get("/scripts")
def scripts() -> dict[str, list[str]]:
    """What clients look for to see that there are ControlNets."""
    return {"txt2img": SCRIPTS, "img2img": SCRIPTS}


@routes.get("/script-info")
def script_info() -> list[dict[str, Any]]:
    """The scripts that are always on."""
    return [
        {"name": "controlnet", "is_alwayson": True, "is_img2img": is_img2img, "args": []}
        for is_img2img in (False, True)
    ]


@routes.get("/sd-vae")
@routes.get("/sd-modules")
@routes.get("/hypernetworks")
@routes.get("/face-restorers")
@routes.get("/realesrgan-models")
def nothing() -> list[Any]:
    """There are none here."""
    return []


@routes.get("/loras")
def loras(service: Shared) -> list[dict[str, Any]]:
    """Those that prompts may call: <lora:NAME:WEIGHT>."""
    return [{"name": name, "alias": name, "path": name, "metadata": {}} for name in service.limits.loras]


@routes.get("/prompt-styles")
def prompt_styles() -> list[dict[str, str]]:
    """Words that are added to prompts, by name."""
    return [
        {"name": name, "prompt": STYLES[name].prompt, "negative_prompt": STYLES[name].negative}
        for name in STYLES.names()
    ]


@routes.get("/upscalers")
def upscalers() -> list[dict[str, Any]]:
    """What enlarges a picture before a second pass."""
    return [{"name": "None", "model_name": None, "model_path": None, "model_url": None, "scale": 4.0}]


@routes.get("/latent-upscale-modes")
def latent_upscale_modes() -> list[dict[str, str]]:
    """What enlarges latents before a second pass."""
    return [{"name": "Latent"}]


@routes.get("/embeddings")
def embeddings() -> dict[str, Any]:
    """There are none here."""
    return {"loaded": {}, "skipped": {}}


@routes.get("/cmd-flags")
def cmd_flags() -> dict[str, bool]:
    """How the server was started, as far as it is anybody's business."""
    return {"api": True}


@routes.get("/memory")
def memory() -> dict[str, Any]:
    """Of the machine, in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    return {"ram": {"free": free, "used": total - free, "total": total}, "cuda": {"error": "not told"}}


@routes.post("/refresh-checkpoints")
@routes.post("/refresh-loras")
def refresh() -> None:
    """Nothing changes while the server runs."""
