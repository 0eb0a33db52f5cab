"""What A1111's clients ask, as they spell it, and what of it is not honoured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Img2Img", "Notes", "Txt2Img", "Unit", "unheard"]

EMPTY: tuple[Any, ...] = (None, "", False, 0, [], {})
"""Values that ask for nothing."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "do_not_save_grid": (True,),
    "do_not_save_samples": (True,),
    "eta": (1.0,),
    "hr_checkpoint_name": ("Use same checkpoint",),
    "hr_sampler_name": ("Use same sampler",),
    "hr_scheduler": ("Use same scheduler",),
    "include_init_images": (True,),
    "initial_noise_multiplier": (1.0,),
    "mask_round": (True,),
    "override_settings_restore_afterwards": (True,),
    "refiner_switch_at": (1.0,),
    "s_noise": (1.0,),
    "seed_resize_from_h": (-1,),
    "seed_resize_from_w": (-1,),
    "hr_option": ("Both",),
    "union_control_type": ("Unknown",),
}
"""Further values of fields that we do not honour at which nothing is lost: they are what clients always send."""


@dataclass
class Notes:
    """What was asked for and is not done, by field; `told` are our own words on what was changed."""

    unheard: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def leave(self, name: str) -> None:
        """A field is not honoured."""
        if name not in self.unheard:
            self.unheard.append(name)


class Foreign(BaseModel):
    """Unknown fields are kept, to be named; null is what was not said."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, told: Any) -> Any:
        return {name: value for name, value in told.items() if value is not None} if isinstance(told, dict) else told


class Txt2Img(Foreign):
    """The fields of `/sdapi/v1/txt2img` that are honoured; the others are named in the answer's `info`."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = []
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = Field(0.0, ge=0, le=1)
    sampler_name: str = ""
    sampler_index: str = ""
    scheduler: str = ""
    batch_size: int = Field(1, ge=1, le=64)
    n_iter: int = Field(1, ge=1, le=64)
    steps: int = 20
    cfg_scale: float = 7.0
    width: int | None = Field(None, ge=8, le=4096)
    height: int | None = Field(None, ge=8, le=4096)
    denoising_strength: float | None = None
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str = ""
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    send_images: bool = True
    override_settings: dict[str, Any] = {}
    alwayson_scripts: dict[str, Any] = {}
    controlnet_units: list[dict[str, Any]] = []


class Img2Img(Txt2Img):
    """Those of `/sdapi/v1/img2img`."""

    init_images: list[str] = []
    resize_mode: int = Field(0, ge=0, le=3)
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur: int = 4
    inpainting_mask_invert: int = 0
    inpainting_fill: int = Field(0, ge=0, le=3)
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = Field(0, ge=0, le=4096)

    @property
    def content(self) -> str:
        """What stands in the mask at first, in words."""
        return ("fill", "original", "latent noise", "latent nothing")[self.inpainting_fill]

    @property
    def padding(self) -> int | None:
        """Pixels beside the mask that are drawn with it; None where all of the picture is."""
        return self.inpaint_full_res_padding if self.inpaint_full_res else None


class Unit(Foreign):
    """A unit of the ControlNet extension, with its older names."""

    enabled: bool = True
    module: str = "none"
    model: str = "None"
    weight: float = 1.0
    image: Any = None
    mask: str | None = None
    effective_region_mask: str | None = None
    resize_mode: int | str = 1
    processor_res: int = -1
    threshold_a: float = -1
    threshold_b: float = -1
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    pixel_perfect: bool = False
    control_mode: int | str = 0
    save_detected_map: bool = True
    inpaint_crop_input_image: bool = True
    advanced_weighting: list[float] = []

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        named = {OLDER.get(str(name), str(name)): value for name, value in told.items() if value is not None}
        if named.pop("guessmode", False) and "control_mode" not in named:
            named["control_mode"] = "guess mode"
        return named


OLDER = {"input_image": "image", "mask_image": "mask", "lowvram": "low_vram", "guidance": "guidance_end"}


def unheard(asked: Foreign, notes: Notes, before: str = "") -> None:
    """Note the fields that are not ours and ask for something."""
    for name, value in (asked.model_extra or {}).items():
        if not any(value == empty for empty in (*EMPTY, *NEUTRAL.get(name, ()))):
            notes.leave(before + name[:64])
