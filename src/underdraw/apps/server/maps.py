"""Our API: maps of pictures, skeletons of poses."""

import threading
import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from torch import Tensor

from underdraw import images
from underdraw.annotators import ANNOTATORS, build, decode
from underdraw.annotators.keypoint_files import from_openpose, to_openpose
from underdraw.apps.server.asking import Picture
from underdraw.apps.server.limits import Limits, picture_of
from underdraw.apps.server.service import Shared, as_text
from underdraw.config import Config
from underdraw.errors import InputError

__all__ = ["annotated", "routes", "skeletons"]

routes = APIRouter(prefix="/v1", tags=["maps"])
ALONE = threading.Lock()
"""Networks that annotate are one thread's at a time."""
CROWD = 64
"""People at most on one map."""
Side = Annotated[int, Field(ge=images.MIN_SIDE, le=4096)]


class ExtractAsked(Config):
    """A map of a picture, by an annotator with its knobs; for a drawing of that size, or of the picture's own."""

    kind: str
    picture: Picture
    knobs: dict[str, Any] = {}
    width: Side | None = None
    height: Side | None = None


@routes.post("/extract")
async def extract(asked: ExtractAsked, service: Shared) -> dict[str, Any]:
    """The condition map of a picture."""
    return await service.aside(_extracted, asked, service.limits)


def _extracted(asked: ExtractAsked, limits: Limits) -> dict[str, Any]:
    picture = picture_of(asked.picture, limits)
    return _told(lambda: annotated(asked.kind, asked.knobs, picture, _size(asked.width, asked.height)))


def annotated(kind: str, settings: Mapping[str, Any], picture: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """The map C×h×w of a picture 1×3×H×W as a PNG shows it. Raises ConfigError or InputError."""
    look = build(kind, settings)
    if look.needs.weights:
        with ALONE:
            return look.show(look.map(picture, size))[0]
    return look.show(look.map(picture, size))[0]


class PoseAsked(Config):
    """OpenPose's JSON: {"people": [{"pose_keypoints_2d": […]}], "canvas_width", "canvas_height"}."""

    poses: dict[str, Any]
    width: Side | None = None
    height: Side | None = None


@routes.post("/pose")
async def pose(asked: PoseAsked, service: Shared) -> dict[str, Any]:
    """The skeletons of poses, as the annotator `pose` draws them."""
    return await service.aside(lambda: _told(lambda: skeletons(asked.poses, _size(asked.width, asked.height))))


def skeletons(poses: dict[str, Any], size: tuple[int, int] | None = None) -> Tensor:
    """The map 3×h×w of OpenPose's JSON. Raises InputError."""
    (found,) = from_openpose(poses, "poses")
    size = size or found.extent
    if len(found.people) > CROWD or max(size) > 4096:
        raise InputError(f"at most {CROWD} people on 4096 pixels are drawn")
    return ANNOTATORS["pose"]().map(found, size)[0]


class ReadAsked(Config):
    """A drawn skeleton."""

    picture: Picture


@routes.post("/pose/read")
async def read_pose(asked: ReadAsked, service: Shared) -> dict[str, Any]:
    """The bodies in a drawn skeleton, as OpenPose's JSON."""
    return await service.aside(_read, asked, service.limits)


def _read(asked: ReadAsked, limits: Limits) -> dict[str, Any]:
    return {"poses": to_openpose(decode(images.to_uint8(picture_of(asked.picture, limits)[0])))}


def _size(width: int | None, height: int | None) -> tuple[int, int] | None:
    if (width is None) != (height is None):
        raise InputError("width and height go together; give both or neither")
    return None if width is None or height is None else (width, height)


def _told(make: Any) -> dict[str, Any]:
    begun = time.monotonic()
    made = make()
    seconds = round(time.monotonic() - begun, 4)
    return {"map": as_text(made), "width": made.shape[-1], "height": made.shape[-2], "seconds": seconds}
