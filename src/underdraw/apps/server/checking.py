"""Our API: the recipe in a picture, and whether a picture obeys its maps."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from fastapi import APIRouter
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from underdraw import images
from underdraw.annotators import ANNOTATORS, build, given
from underdraw.annotators.measures import LESS_IS_BETTER, measures
from underdraw.apps.server.asking import Picture
from underdraw.apps.server.limits import Limits, decode_text, picture_of
from underdraw.apps.server.service import Shared, as_text
from underdraw.config import Config
from underdraw.errors import InputError, UnderdrawError
from underdraw.evaluation.judges import sees_pictures
from underdraw.generation import Drawing, Studio, read_drawing, stranger
from underdraw.generation.provenance import unpack_map

__all__ = ["overlay", "recipe_in", "routes", "texts_in"]

routes = APIRouter(prefix="/v1", tags=["check"])
ALONE = threading.Lock()
"""Pillow's limit of a text's length is one thread's at a time."""
T = TypeVar("T")
RED = (1.0, 0.1, 0.1)
NEAR = 1
"""Pixels that a line may lie beside where it was asked for."""


class RestoreAsked(Config):
    """A picture that was drawn here."""

    picture: Picture


@routes.post("/restore")
async def restore(asked: RestoreAsked, service: Shared) -> dict[str, Any]:
    """The whole recipe that a picture carries, maps included."""
    return await service.aside(_restored, service.studio, asked, service.limits)


def _restored(studio: Studio, asked: RestoreAsked, limits: Limits) -> dict[str, Any]:
    drawing = recipe_in(decode_text(asked.picture, limits))
    nets = [guide.net for guide in drawing.controls if guide.net]
    loras = [lora.name for lora in drawing.loras if lora.name not in limits.loras]
    if nets or loras:  # names from strangers are not looked for: they may be paths
        told = f"weights that are not here by name: {', '.join([*nets, *loras])[:80]}"
        return {"recipe": drawing.model_dump(mode="json"), "same_weights": False, "other": told}
    try:
        other = stranger(studio, drawing)
    except UnderdrawError as error:  # a kind for which there is no net here
        other = str(error)
    return {"recipe": drawing.model_dump(mode="json"), "same_weights": other is None, "other": other}


def recipe_in(data: bytes) -> Drawing:
    """The recipe in a picture file's bytes. Raises InputError."""
    return _from_file(data, read_drawing)


def texts_in(data: bytes) -> dict[str, str]:
    """The texts in a picture file's bytes. Raises InputError."""
    return _from_file(data, images.read_text)


def _from_file(data: bytes, read: Callable[[Path], T]) -> T:
    """What reads files, for bytes; the file is ours, and its name nobody's business."""
    suffix = ".webp" if data[8:12] == b"WEBP" else ".png"
    with ALONE, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{suffix}"
        path.write_bytes(data)
        try:
            return read(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), "the picture")) from None


class MapAsked(Config):
    """A map that a picture was drawn from."""

    kind: str
    map: Picture
    knobs: dict[str, Any] = {}


class ObedienceAsked(Config):
    """A picture, and the maps that it was drawn from; without them, those of the recipe that it carries."""

    picture: Picture
    controls: tuple[MapAsked, ...] | None = Field(None, max_length=16)


@routes.post("/obedience")
async def obedience(asked: ObedienceAsked, service: Shared) -> dict[str, Any]:
    """The picture annotated again and laid over its maps."""
    return {"controls": await service.aside(_obeyed, asked, service.limits)}


def _obeyed(asked: ObedienceAsked, limits: Limits) -> list[dict[str, Any]]:
    data = decode_text(asked.picture, limits)
    picture = images.decode(data, "the picture")
    if asked.controls is not None:
        wanted = [
            (each.kind, each.knobs, picture_of(each.map, limits, f"the {each.kind} map")) for each in asked.controls
        ]
    else:
        wanted = [(guide.kind, {}, unpack_map(guide, "the picture")) for guide in recipe_in(data).controls]
    return [_compared(picture, *each) for each in wanted]


@torch.no_grad()
def _compared(picture: Tensor, kind: str, settings: dict[str, Any], shown: Tensor) -> dict[str, Any]:
    if not sees_pictures(kind):
        why = f"{kind} cannot be seen in a picture here; it takes a learned annotator or a trained reader"
        none = ("measure", "score", "less_is_better", "scores", "drawn", "overlay")
        return {"kind": kind} | dict.fromkeys(none) | {"detail": why}
    size = (picture.shape[-1], picture.shape[-2])
    truth = given(kind, shown, size)
    drawn = build(kind, settings).map(picture, size)
    scores = {name: float(score(drawn, truth)[0]) for name, score in measures(ANNOTATORS[kind].condition).items()}
    first = next(iter(scores))
    return {
        "kind": ANNOTATORS[kind].kind,
        "measure": first,
        "score": scores[first],
        "less_is_better": first in LESS_IS_BETTER,
        "scores": scores,
        "drawn": as_text(drawn[0].clamp(0, 1)),
        "overlay": as_text(overlay(drawn, truth, ANNOTATORS[kind].meaning.binary)),
        "detail": None,
    }


def overlay(drawn: Tensor, truth: Tensor, lines: bool) -> Tensor:
    """Maps 1×C×H×W laid over each other as 3×H×W: where they agree grey to white, where they do not red.

    lines: a line may lie a pixel beside where it was asked for; one that was not asked for is a darker red.
    """
    red = torch.tensor(RED).view(3, 1, 1)
    if not lines:
        apart = (2 * (drawn - truth).abs().amax(1)).clamp(0, 1)
        return 0.8 * truth[0].mean(0, keepdim=True) * (1 - apart) + red * apart
    drawn, truth = (drawn > 0.5).float(), (truth > 0.5).float()
    missing = (truth * (1 - _widened(drawn)))[0]
    stray = (drawn * (1 - _widened(truth)))[0]
    agreed = (truth[0] - missing).clamp(min=0)
    return (agreed + red * missing + 0.6 * red * stray).clamp(0, 1)


def _widened(lines: Tensor) -> Tensor:
    return functional.max_pool2d(lines, 2 * NEAR + 1, stride=1, padding=NEAR)
