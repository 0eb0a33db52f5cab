"""Units of the ControlNet extension, as controls."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from underdraw import images
from underdraw.annotators import ANNOTATORS, build, knobs, masked
from underdraw.apps.server.foreign import Notes, Unit, unheard
from underdraw.apps.server.limits import Limits, picture_of
from underdraw.errors import InputError
from underdraw.generation import ControlRequest, Cutout, Studio, control_kinds
from underdraw.registry import nearest

__all__ = ["Requested", "control_of", "fitted", "kind_of_model", "model_name", "own_sliders", "settings_of", "units_of"]

MODES = ("balanced", "my prompt is more important", "controlnet is more important")
STRETCH, CROP, FILL = range(3)
RESIZE_MODES = {
    "just resize": STRETCH,
    "crop and resize": CROP,
    "inner fit (scale to fit)": CROP,
    "scale to fit (inner fit)": CROP,
    "resize and fill": FILL,
    "outer fit (shrink to fit)": FILL,
    "envelope (outer fit)": FILL,
}
UNITS = 16
"""At most."""
Requested = tuple[ControlRequest, Unit]


def units_of(scripts: dict[str, Any], legacy: Sequence[Any], notes: Notes) -> list[Unit]:
    """The units that are switched on. Other scripts are noted. Raises InputError for what is none."""
    found: list[Any] = list(legacy)
    for name, script in scripts.items():
        told = script.get("args") if isinstance(script, dict) else script
        if name.lower() == "controlnet":
            found += told if isinstance(told, list) else []
        elif told not in ([], [False], None):
            notes.leave(f"alwayson_scripts.{name[:64]}")
    if len(found) > UNITS:
        raise InputError(f"{len(found)} ControlNet units are too many; at most {UNITS} are taken")
    try:
        units = [Unit.model_validate(each) for each in found if not isinstance(each, bool)]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"a ControlNet unit's {place}: {first['msg'].lower()}") from error
    return [unit for unit in units if unit.enabled]


def control_of(
    studio: Studio,
    unit: Unit,
    size: tuple[int, int],
    before: Tensor | None,
    part: Cutout | None,
    limits: Limits,
    notes: Notes,
) -> ControlRequest:
    """A unit as a control of a drawing of `size`, with its map made.

    before: the picture 1×3×H×W that a unit without one looks at; part: which part of it is drawn, None is all of it.
    Raises InputError or ConfigError.
    """
    unheard(unit, notes, "controlnet.")
    picture, mask = _pictures(unit, limits, notes)
    picture = before if picture is None else picture
    if picture is None:
        raise InputError("a ControlNet unit has no image; send one in base64")
    module = unit.module.strip().lower()
    plain = module in ("none", "") or module.startswith("invert")
    kind = _kind(studio, unit, None if plain else module)
    mode = _resize_mode(unit.resize_mode)
    part = part if unit.inpaint_crop_input_image else None

    def placed(source: Tensor) -> Tensor:
        return fitted(source, size, mode) if part is None else part.of(fitted(source, part.whole, mode))

    shown = placed(1 - picture if module.startswith("invert") else picture)
    cut = not plain and ANNOTATORS[module].kind == "inpaint" and mask is not None
    if cut and mask is not None:
        shown, mask = masked(shown, placed(mask)), None
    elif not plain:
        shown = build(module, settings_of(module, unit, min(size), notes)).map(shown, size)
    if mask is not None:
        notes.leave("controlnet.mask")
    region = unit.effective_region_mask
    return ControlRequest(
        kind,
        shown,
        weight=unit.weight,
        start=unit.guidance_start,
        end=unit.guidance_end,
        is_map=not cut,
        mask=None if region is None else placed(picture_of(region, limits, "a unit's region")),
        preset=_preset(unit.control_mode),
        curve=tuple(unit.advanced_weighting) or None,
        is_cut=True,
    )


def model_name(kind: str, net: str) -> str:
    """What a ControlNet beside the base is called among A1111's models."""
    return f"controlnet-{kind} [{net[:8]}]"


def kind_of_model(studio: Studio, model: str) -> str:
    """The kind of a net by a model's name, with or without its hash. Raises InputError naming those that exist."""
    kinds = control_kinds(studio.folder)
    bare = model.partition(" [")[0].strip().lower()
    found = [kind for kind in kinds if bare in (kind, f"controlnet-{kind}")]
    found = found or [kind for kind in kinds if kind in bare.replace("-", "_").split("_")]  # control_v11p_sd15_canny
    if not found:
        told = nearest(bare, [f"controlnet-{kind}" for kind in kinds])
        raise InputError(f"no ControlNet model is called {model[:80]!r}; {told}")
    return found[0]


def _kind(studio: Studio, unit: Unit, module: str | None) -> str:
    """The kind of map: the annotator's where its net is the one asked for, else the net's."""
    if unit.model.strip().lower() in ("none", ""):
        if module is None:
            raise InputError("a ControlNet unit has neither a model nor a module; name one")
        return ANNOTATORS[module].condition
    return kind_of_model(studio, unit.model)


def settings_of(module: str, asked: Unit, side: int, notes: Notes) -> dict[str, Any]:
    """The knobs that a unit turns; what is out of a slider's range is left at its default, and noted, as there.

    side: the drawing's shorter one; nothing is looked at larger than it is drawn.
    """
    found: dict[str, Any] = {}
    if not asked.pixel_perfect and asked.processor_res > 0:
        if images.MIN_SIDE <= asked.processor_res <= side:
            found["resolution"] = asked.processor_res
        elif asked.processor_res != 512:  # what clients send that did not choose
            notes.leave("controlnet.processor_res")
    for name, value, knob in zip(
        ("threshold_a", "threshold_b"), (asked.threshold_a, asked.threshold_b), own_sliders(module), strict=False
    ):
        whole = isinstance(knob[1].default, int)
        if value >= 0 and knob[1].low <= value <= knob[1].high:
            found[knob[0]] = round(value) if whole else value
        elif value >= 0 and value != 64:  # as above
            notes.leave(f"controlnet.{name}")
    return found


def own_sliders(module: str) -> list[tuple[str, Any]]:
    """An annotator's own knobs that are numbers, in their order: the extension's threshold_a and threshold_b."""
    mine = knobs(ANNOTATORS[module]).items()
    return [
        (name, knob)
        for name, knob in mine
        if name != "resolution" and not knob.choices and not isinstance(knob.default, bool)
    ]


def _preset(mode: int | str) -> str:
    if isinstance(mode, int):
        if not 0 <= mode < len(MODES):
            raise InputError(f"control_mode = {mode} makes no sense; give 0, 1 or 2")
        return MODES[mode]
    return mode.lower()


def _resize_mode(mode: int | str) -> int:
    if isinstance(mode, int) and STRETCH <= mode <= FILL:
        return mode
    if str(mode).lower() not in RESIZE_MODES:
        raise InputError(
            f"resize_mode = {str(mode)[:40]!r} makes no sense; give Just Resize, Crop and Resize, Resize and Fill"
        )
    return RESIZE_MODES[str(mode).lower()]


def fitted(picture: Tensor, size: tuple[int, int], mode: int) -> Tensor:
    """A picture 1×C×H×W brought to the proportions of `size`: stretched, as it is (it is cropped later), or filled."""
    height, width = picture.shape[-2:]
    if mode == CROP or width * size[1] == height * size[0]:
        return picture
    if mode == STRETCH:
        return images.resize(picture, (max(images.MIN_SIDE, round(height * size[0] / size[1])), height))
    scale = max(width / size[0], height / size[1])
    across, down = max(width, round(size[0] * scale)), max(height, round(size[1] * scale))
    left, top = (across - width) // 2, (down - height) // 2
    ground = _border(picture)
    room = (left, across - width - left, top, down - height - top)
    return functional.pad(picture - ground, room) + ground


def _border(picture: Tensor) -> Tensor:
    """The median colour of a picture's border, 1×C×1×1."""
    sides = [picture[..., 0, :], picture[..., -1, :], picture[..., :, 0], picture[..., :, -1]]
    return torch.cat(sides, -1).median(-1).values[..., None, None]


def _pictures(unit: Unit, limits: Limits, notes: Notes) -> tuple[Tensor | None, Tensor | None]:
    """The picture 1×3×H×W and the mask of a unit, in whichever of the extension's forms they come."""
    image, mask = unit.image, unit.mask
    if isinstance(image, list | tuple):
        if image and isinstance(image[0], dict):
            if len(image) > 1:
                notes.leave("controlnet.image[1:]")
            image = image[0]
        else:
            image, mask = (*image, None, None)[0], (*image, None, None)[1] or mask
    if isinstance(image, dict):
        told: dict[str, Any] = image
        image, mask = told.get("image"), told.get("mask") or mask
    if not isinstance(image, str | None) or not isinstance(mask, str | None):
        raise InputError("a ControlNet unit's image is not base64; send the bytes of a PNG, JPEG or WebP in base64")
    return (
        picture_of(image, limits, "a ControlNet unit's image") if image else None,
        picture_of(mask, limits, "a ControlNet unit's mask") if mask else None,
    )
