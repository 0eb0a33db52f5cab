"""What our API is asked: models whose fields are those of recipes, so that limits, defaults and help are said once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, create_model
from pydantic.fields import FieldInfo
from torch import Tensor

from underdraw.annotators import build
from underdraw.apps.server.limits import Limits, check_text, picture_of
from underdraw.config import Config
from underdraw.errors import InputError
from underdraw.generation import (
    ControlRequest,
    Drawing,
    Given,
    Guide,
    PictureRequest,
    Studio,
    Wish,
    fitting_size,
    nearest_size,
    plan_each,
)
from underdraw.generation.plan import seeds_for
from underdraw.generation.recipe import LAST_SEED

__all__ = [
    "SETTINGS",
    "Asked",
    "ControlAsked",
    "Generate",
    "ImageAsked",
    "Picture",
    "drawings_of",
    "wish_of",
    "with_knobs",
]

Picture = Annotated[str, Field(description="A picture file's bytes in base64, or a data URL of them.")]
SETTINGS = (
    *("negative", "seed", "steps", "guidance", "scheduler"),
    *("variation", "hires", "tiling", "interval", "rescale", "parallel", "clip_skip"),
)
"""Fields of a drawing that can be asked for."""


def _unsaid(model: type[Config], *names: str) -> dict[str, Any]:
    """Fields of a model that may be left out: None is what was not said."""
    return {name: (_optional(model.model_fields[name]), None) for name in names}


def _optional(field: FieldInfo) -> Any:
    kind: Any = field.annotation
    return (Annotated[(kind, *field.metadata)] if field.metadata else kind) | None


class _Control(Config):
    kind: str
    picture: Picture
    is_map: bool = False
    knobs: dict[str, Any] = Field(default_factory=dict, description="Of the annotator, where the picture is no map.")
    mask: Picture | None = None
    preset: str = "balanced"


HEARD = ("weight", "start", "end", "curve", "side", "times", "scale")
ControlAsked: Any = create_model(
    "Control", __base__=_Control, __doc__="One control, as in recipes.", **_unsaid(Guide, *HEARD)
)


class _Image(Config):
    picture: Picture
    mask: Picture | None = None
    expand: tuple[int, int, int, int] = (0, 0, 0, 0)


ImageAsked: Any = create_model(
    "Image",
    __base__=_Image,
    __doc__="A picture to start from, as in recipes.",
    **_unsaid(Given, "strength", "softness", "guidance"),
)


class Asked(Config):
    """What both the page and programs ask for; fields of recipes are added below."""

    prompt: str = ""
    count: int = Field(1, ge=1, le=64)
    width: int | None = Field(None, ge=8, le=4096)
    height: int | None = Field(None, ge=8, le=4096)
    preset: str | None = None
    stream: bool = True
    previews: int = Field(5, ge=0, le=20)


Generate: Any = create_model(
    "Generate",
    __base__=Asked,
    __doc__="Pictures from a prompt, under controls.",
    controls=(tuple[ControlAsked, ...], Field((), max_length=16)),
    image=(ImageAsked | None, None),
    **_unsaid(Drawing, *SETTINGS),
)


def drawings_of(studio: Studio, asked: Any, limits: Limits, tell: Callable[[str], None]) -> list[Drawing]:
    """The recipes that are asked for. Raises InputError or ConfigError."""
    if asked.count > limits.count:
        raise InputError(f"count = {asked.count} is too many; at most {limits.count} pictures are drawn at once here")
    wish = wish_of(studio, asked, limits)
    first = seeds_for(wish.settings.pop("seed", None), 1)[0]
    if first + asked.count > LAST_SEED:
        raise InputError(f"seed = {first} leaves no room for {asked.count} pictures; give a smaller one")
    return plan_each(studio, wish, range(first, first + asked.count), tell)


def wish_of(studio: Studio, asked: Any, limits: Limits) -> Wish:
    """The wish; pictures are decoded, and maps made where an annotator's knobs were turned. Raises as `drawings_of`."""
    if (asked.width is None) != (asked.height is None):
        raise InputError("width and height go together; give both or neither")
    size = None if asked.width is None else (asked.width, asked.height)
    pictures = [picture_of(each.picture, limits, f"the picture of control {each.kind}") for each in asked.controls]
    settings = {name: getattr(asked, name) for name in SETTINGS if getattr(asked, name) is not None}
    return Wish(
        prompts=(check_text(asked.prompt, limits),),
        controls=tuple(
            _control(studio, each, picture, size, limits)
            for each, picture in zip(asked.controls, pictures, strict=True)
        ),
        size=size,
        picture=None if asked.image is None else _image(asked.image, limits),
        preset=asked.preset,
        settings={name: _plain(value) for name, value in settings.items()},
    )


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, Config) else value


def _control(
    studio: Studio, asked: Any, picture: Tensor, size: tuple[int, int] | None, limits: Limits
) -> ControlRequest:
    told = {name: getattr(asked, name) for name in HEARD if getattr(asked, name) is not None}
    mask = None if asked.mask is None else picture_of(asked.mask, limits, f"the mask of control {asked.kind}")
    request = ControlRequest(asked.kind, picture, is_map=asked.is_map, mask=mask, preset=asked.preset.lower(), **told)
    return with_knobs(studio, request, asked.knobs, size)


def with_knobs(
    studio: Studio, request: ControlRequest, knobs: dict[str, Any], size: tuple[int, int] | None
) -> ControlRequest:
    """The control; where knobs were turned, with the map that they make. size: the drawing's, None: what fits."""
    picture = request.picture
    if not knobs or request.is_map or not isinstance(picture, Tensor):
        return request
    extent = (picture.shape[-1], picture.shape[-2])
    target = fitting_size(studio.backbone, extent) if size is None else nearest_size(studio.backbone, size)
    return replace(request, picture=build(request.kind, knobs).map(picture, target), is_map=True)


def _image(asked: Any, limits: Limits) -> PictureRequest:
    told = {name: getattr(asked, name) for name in ("strength", "softness", "guidance")}
    return PictureRequest(
        picture_of(asked.picture, limits, "the image"),
        mask=None if asked.mask is None else picture_of(asked.mask, limits, "the image's mask"),
        expand=asked.expand,
        **{name: value for name, value in told.items() if value is not None},
    )
