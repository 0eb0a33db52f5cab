"""A1111's API, the half that draws: `/sdapi/v1/txt2img`, `img2img`, `progress`, `interrupt`, `png-info`."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel
from torch import Tensor

import underdraw
from underdraw.apps.server.checking import texts_in
from underdraw.apps.server.foreign import Img2Img, Notes, Txt2Img, Unit, unheard
from underdraw.apps.server.jobs import Job
from underdraw.apps.server.limits import check_text, decode_text, picture_of
from underdraw.apps.server.service import Service, Shared, as_text, client_of
from underdraw.apps.server.units import control_of, fitted, units_of
from underdraw.errors import ConfigError, InputError
from underdraw.generation import (
    SCHEDULERS,
    Drawing,
    PictureRequest,
    Variation,
    Wish,
    find_scheduler,
    fitting_size,
    native_size,
    nearest_size,
    plan_each,
)
from underdraw.generation.plan import seeds_for
from underdraw.generation.styles import STYLES, styled

__all__ = ["routes", "title"]

routes = APIRouter(tags=["a1111"])
ANY_SCHEDULE = ("", "automatic", "use same scheduler")
CLIP_SKIP = "CLIP_stop_at_last_layers"
STARTED = time.strftime("%Y%m%d%H%M%S")


@routes.post("/sdapi/v1/txt2img")
@routes.post("/controlnet/txt2img", include_in_schema=False)
async def txt2img(asked: Txt2Img, request: Request, service: Shared) -> dict[str, Any]:
    """Draw; `info` names under `not_honoured` what was asked for in vain."""
    return await _drawn(Errand(service, asked, Notes()), request)


@routes.post("/sdapi/v1/img2img")
@routes.post("/controlnet/img2img", include_in_schema=False)
async def img2img(asked: Img2Img, request: Request, service: Shared) -> dict[str, Any]:
    """Draw from a picture."""
    if not asked.init_images:
        raise HTTPException(404, "init_images holds no picture; send one in base64")
    return await _drawn(Errand(service, asked, Notes()), request)


@dataclass(eq=False)
class Errand:
    """One request on its way to recipes."""

    service: Service
    asked: Txt2Img
    notes: Notes
    units: tuple[Unit, ...] = ()

    @property
    def count(self) -> int:
        """Pictures asked for."""
        return self.asked.batch_size * self.asked.n_iter

    def drawings(self, tell: Callable[[str], None]) -> list[Drawing]:
        """The recipes. Raises InputError or ConfigError."""
        asked, studio, limits = self.asked, self.service.studio, self.service.limits
        if self.count > limits.count:
            raise InputError(f"{self.count} pictures are too many; at most {limits.count} are drawn at once here")
        unheard(asked, self.notes)
        self._check_overrides()
        before = self._before()
        size = self._size(before)
        picture = None if before is None else self._picture(before, size)
        part = None if picture is None else picture.cutout(picture.tensors()[1], size)
        self.units = tuple(units_of(asked.alwayson_scripts, asked.controlnet_units, self.notes))
        controls = [control_of(studio, unit, size, before, part, limits, self.notes) for unit in self.units]
        prompt, negative = styled(asked.prompt, asked.negative_prompt, self._styles())
        wish = Wish(
            prompts=(check_text(prompt, limits),),
            controls=tuple(controls),
            size=size,
            picture=picture,
            settings=self._settings() | {"negative": negative},
        )
        first = seeds_for(None if asked.seed < 0 else asked.seed, 1)[0]
        turned = asked.subseed_strength > 0
        seeds = [first if turned else first + place for place in range(self.count)]
        made = plan_each(studio, wish, seeds, tell)
        return [self._varied(drawing, place) for place, drawing in enumerate(made)] if turned else made

    def _settings(self) -> dict[str, Any]:
        asked = self.asked
        told: dict[str, Any] = {"steps": asked.steps, "guidance": asked.cfg_scale, "clip_skip": self._clip_skip()}
        told["scheduler"] = self._scheduler()
        if asked.enable_hr and not isinstance(asked, Img2Img):
            how = "latent" if asked.hr_upscaler.lower().startswith("latent") else "picture"
            across = (asked.width or 0) and asked.hr_resize_x / (asked.width or 1)
            strength = 0.7 if asked.denoising_strength is None else asked.denoising_strength
            told["hires"] = {
                "scale": across or asked.hr_scale,
                "strength": strength,
                "steps": asked.hr_second_pass_steps,
                "how": how,
            }
            if asked.hr_upscaler.lower() not in ("", "none") and how == "picture":
                self.notes.leave("hr_upscaler")
        return told

    def _scheduler(self) -> str:
        sampler = self.asked.sampler_name or self.asked.sampler_index or "DPM++ 2M"
        plain = find_scheduler(sampler)
        schedule = self.asked.scheduler.strip()
        if schedule.lower() in ANY_SCHEDULE:
            return plain.name
        try:
            return find_scheduler(f"{plain.name} {schedule}").name
        except ConfigError:
            self.notes.leave("scheduler")
            return plain.name

    def _before(self) -> Tensor | None:
        """The picture 1×3×H×W that is there already."""
        if not isinstance(self.asked, Img2Img):
            return None
        if len(self.asked.init_images) > 1:
            self.notes.leave("init_images[1:]")
        return picture_of(self.asked.init_images[0], self.service.limits, "init_images[0]")

    def _size(self, before: Tensor | None) -> tuple[int, int]:
        backbone, asked = self.service.studio.backbone, self.asked
        if asked.width is not None and asked.height is not None:
            return nearest_size(backbone, (asked.width, asked.height))
        if before is not None:
            return fitting_size(backbone, (before.shape[-1], before.shape[-2]))
        return native_size(backbone)

    def _picture(self, before: Tensor, size: tuple[int, int]) -> PictureRequest:
        asked = self.asked
        assert isinstance(asked, Img2Img), "only img2img starts from a picture"
        mode = 0 if asked.resize_mode == 3 else asked.resize_mode
        told: dict[str, Any] = {} if asked.image_cfg_scale is None else {"guidance": asked.image_cfg_scale}
        if asked.mask is not None:
            mask = picture_of(asked.mask, self.service.limits, "mask").mean(1, keepdim=True)
            told["mask"] = 1 - mask if asked.inpainting_mask_invert else mask
            told |= {"content": asked.content, "padding": asked.padding}
        if told.get("padding") is None:  # what is cut out keeps its proportions
            before = fitted(before, size, mode)
            told |= {"mask": fitted(told["mask"], size, mode)} if "mask" in told else {}
        strength = 0.75 if asked.denoising_strength is None else asked.denoising_strength
        return PictureRequest(before, strength, softness=max(0, min(256, asked.mask_blur)), **told)

    def _check_overrides(self) -> None:
        for name, value in self.asked.override_settings.items():
            known = name == "sd_model_checkpoint" and str(value) in (self.service.studio.name, title(self.service))
            if not known and name != CLIP_SKIP:
                self.notes.leave(f"override_settings.{name[:64]}")

    def _clip_skip(self) -> Any:
        """A1111's count, as ours: 1 is the last layer."""
        return self.asked.override_settings.get(CLIP_SKIP, 1)

    def _styles(self) -> list[str]:
        """Those that we have; the others are noted."""
        for name in self.asked.styles:
            if name not in STYLES:
                self.notes.leave(f"styles.{name[:64]}")
        return [name for name in self.asked.styles if name in STYLES]

    def _varied(self, drawing: Drawing, place: int) -> Drawing:
        subseed = seeds_for(None, 1)[0] if self.asked.subseed < 0 else self.asked.subseed + place
        return drawing.model_copy(update={"variation": Variation(seed=subseed, strength=self.asked.subseed_strength)})


async def _drawn(errand: Errand, request: Request) -> dict[str, Any]:
    service, asked = errand.service, errand.asked
    order = await service.order(request, errand.count, errand.drawings)
    errand.notes.told = list(order.notes)
    found, _ = await service.wait(request, order)
    shown = []
    for place, drawn in found.items():
        data = await service.encoded(drawn, f"{order.job.id}-{place}")
        shown.append(as_text(data))
    recipes = [drawn.drawing for drawn in found.values()]
    for guide, unit in zip(order.job.drawings[0].controls, errand.units, strict=True):
        shown += [guide.map] if unit.save_detected_map else []
    info = _info(errand, recipes or list(order.job.drawings[:1]))
    return {"images": shown if asked.send_images else [], "parameters": _echo(asked), "info": json.dumps(info)}


def title(service: Service) -> str:
    """What the base is called among A1111's models."""
    return f"{service.studio.name} [{service.studio.hash[:10]}]"


def _echo(asked: Txt2Img) -> dict[str, Any]:
    """What was asked, without its pictures."""
    told = asked.model_dump(mode="json", exclude={"init_images", "mask", "alwayson_scripts", "controlnet_units"})
    return told | {"init_images": None, "mask": None, "alwayson_scripts": {name: {} for name in asked.alwayson_scripts}}


def _info(errand: Errand, recipes: list[Drawing]) -> dict[str, Any]:
    """A1111's `info`, and two keys of ours: `not_honoured` and `notes`."""
    first, studio = recipes[0], errand.service.studio
    subseeds = [0 if each.variation is None else each.variation.seed for each in recipes]
    return {
        "prompt": first.prompt,
        "all_prompts": [each.prompt for each in recipes],
        "negative_prompt": first.negative,
        "all_negative_prompts": [each.negative for each in recipes],
        "seed": first.seed,
        "all_seeds": [each.seed for each in recipes],
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": errand.asked.subseed_strength,
        "width": first.width,
        "height": first.height,
        "sampler_name": SCHEDULERS[first.scheduler].label,
        "cfg_scale": first.guidance,
        "steps": first.steps,
        "batch_size": errand.asked.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": studio.name,
        "sd_model_hash": studio.hash[:10],
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": None if first.given is None else first.given.strength,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [each.parameters() for each in recipes],
        "styles": [],
        "job_timestamp": STARTED,
        "clip_skip": first.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"underdraw {underdraw.__version__}",
        "not_honoured": errand.notes.unheard,
        "notes": errand.notes.told,
    }


@routes.get("/sdapi/v1/progress")
async def progress(request: Request, service: Shared) -> dict[str, Any]:
    """How far the client's own drawings are; what can be seen so far is not shown."""
    jobs = service.queue.of(client_of(request))
    running: Job | None = next((job for job in jobs if job.step), None)
    share = running.step / max(1, running.steps) if running else 0.0
    state = {
        "skipped": False,
        "interrupted": any(job.keep for job in jobs),
        "stopping_generation": False,
        "job": running.id if running else "",
        "job_count": sum(job.owed for job in jobs),
        "job_timestamp": STARTED,
        "job_no": len(running.drawings) - running.owed if running else 0,
        "sampling_step": running.step if running else 0,
        "sampling_steps": running.steps if running else 0,
    }
    left = service.queue.pace * sum(job.owed for job in jobs)
    return {"progress": share, "eta_relative": left, "state": state, "current_image": None, "textinfo": None}


@routes.post("/sdapi/v1/interrupt")
@routes.post("/sdapi/v1/skip")
async def interrupt(request: Request, service: Shared) -> dict[str, Any]:
    """Break off the client's own drawings; what there is of them is what it gets."""
    for job in service.queue.of(client_of(request)):
        service.queue.cancel(job, keep=True)
    return {}


class PngAsked(BaseModel):
    """A picture."""

    image: str


@routes.post("/sdapi/v1/png-info")
async def png_info(asked: PngAsked, service: Shared) -> dict[str, Any]:
    """The texts in a picture file; the one that A1111's tools read is `info`."""
    texts = await service.aside(partial(_texts, asked.image, service))
    return {"info": texts.get("parameters", ""), "items": texts, "parameters": {}}


def _texts(image: str, service: Service) -> dict[str, str]:
    texts = texts_in(decode_text(image, service.limits, "image"))
    return {name: text for name, text in texts.items() if len(text) <= 2**20}
