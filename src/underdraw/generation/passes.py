"""One pass of a drawing, or two: what recipes say, handed to the sampler."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from underdraw import images
from underdraw.generation.company import given_tensors
from underdraw.generation.prompts import Reading
from underdraw.generation.recipe import Drawing
from underdraw.generation.sampler import Frame, decode_frame, denoise, encode_prompts, start
from underdraw.generation.sizes import check_size, reduced
from underdraw.generation.tasks import Content, Task, make_task, sees_pictures
from underdraw.generation.tiles import Tiles, encode
from underdraw.model import Backbone

if TYPE_CHECKING:
    from underdraw.generation.studio import Studio

__all__ = ["passes"]


def passes(studio: "Studio", drawings: Sequence[Drawing]) -> Iterator[Frame]:
    """The frames of a batch of recipes that are drawn in one way; those of a second pass follow those of the first."""
    first = drawings[0]
    if first.hires is None:
        yield from _one(studio, drawings, first.size)
        return
    last = None
    for last in _one(studio, drawings, reduced(studio.backbone, first.size, first.hires.scale)):
        yield last
    assert last is not None, "a drawing has at least one step"
    yield from _one(studio, drawings, first.size, last.latents)


def _one(
    studio: "Studio", drawings: Sequence[Drawing], size: tuple[int, int], before: Tensor | None = None
) -> Iterator[Frame]:
    """One pass at size = (width, height); a second one starts from what the first left, `before`."""
    first, backbone = drawings[0], studio.backbone
    check_size(backbone, size)
    tiles = None if first.tiling is None else first.tiling.tiles
    pull = encode_prompts(
        backbone,
        [drawing.prompt for drawing in drawings],
        size,
        first.guidance,
        [drawing.negative for drawing in drawings],
        first.given.guidance if first.given is not None and sees_pictures(backbone) else None,
        reading=_reading(studio, first),
        interval=first.interval,
        rescale=first.rescale,
        parallel=first.parallel,
    )
    turns = [
        (0, 0.0) if each.variation is None else (each.variation.seed, each.variation.strength) for each in drawings
    ]
    noise, generators = start(backbone, size, [drawing.seed for drawing in drawings], turns)
    yield from denoise(
        backbone,
        pull,
        noise,
        generators,
        steps=first.steps if before is None or first.hires is None else first.hires.steps or first.steps,
        scheduler=first.scheduler,
        controls=studio.controls([drawing.controls for drawing in drawings], size),
        task=_task(backbone, drawings, size, before, tiles),
        tiles=tiles,
        reuse=first.reuse,
        backend=first.backend,
    )


def _reading(studio: "Studio", drawing: Drawing) -> Reading:
    """How the prompts of a recipe are read. Raises as `Embeddings` for learned words that are not here."""
    learned = {each.name: studio.embeddings[each.name] for each in drawing.embeddings}
    return Reading(drawing.grammar, drawing.clip_skip, learned)


def _task(
    backbone: Backbone, drawings: Sequence[Drawing], size: tuple[int, int], before: Tensor | None, tiles: Tiles | None
) -> Task:
    """How a pass starts, what is kept, what is seen beside."""
    first = drawings[0]
    pictures, mask = given_tensors([drawing.given for drawing in drawings], size)
    content: Content = "original" if first.given is None else first.given.content
    strength = 1.0 if first.given is None else first.given.strength
    task = make_task(backbone, size, pictures, mask, strength, tiles, content)
    if before is None or first.hires is None:
        return task
    larger = _larger(backbone, before, size, first.hires.how, tiles)
    return replace(task, clean=larger, strength=first.hires.strength, kept=task.clean, content="original")


def _larger(backbone: Backbone, latents: Tensor, size: tuple[int, int], how: str, tiles: Tiles | None) -> Tensor:
    """Latents for pictures of size = (width, height), enlarged as they are or as pictures."""
    if how == "latent":
        sides = [size[1] // backbone.factor, size[0] // backbone.factor]
        return functional.interpolate(latents, sides, mode="bicubic", antialias=True)
    return encode(backbone, images.resize(decode_frame(backbone, latents, tiles), size, "bicubic"), tiles)
