"""The sampler: a generator of frames. The bar, the preview and the probe are all `for frame in denoise(…)`.

Noise is made on the CPU in float32 by one generator a picture, keyed by its seed alone: a picture is the same noise in
any batch and on any device.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from underdraw.errors import InputError, UnderdrawError
from underdraw.generation.engines import ENGINES
from underdraw.generation.guidance import Guidance
from underdraw.generation.prompts import Reading
from underdraw.generation.reuse import Recall, Reuse
from underdraw.generation.schedulers import build_scheduler, noise_share
from underdraw.generation.sizes import check_size
from underdraw.generation.tasks import Task, latent_channels, make_task
from underdraw.generation.tiles import Tiles, decode, tiled
from underdraw.model import Backbone, Control, Process, Text, alike, projected_once, speaking, through

__all__ = ["Frame", "decode_frame", "denoise", "draw", "encode_prompts", "finish", "slerp", "start"]

FROM_NOISE = Task()
LITERAL = Reading()
EXACT = Reuse()


@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a drawing, done.

    step: from 0, of `steps`; timestep: where it began. Tensors are B×C×h×w float32: noisy is the x_t that the model
    saw, clean the x0 that its prediction implied, latents what the step left (x0 itself after the last one).
    `decode_frame` makes pictures of any of them.
    """

    step: int
    steps: int
    timestep: float
    noisy: Tensor
    clean: Tensor
    latents: Tensor


def draw(
    backbone: Backbone,
    prompts: Sequence[str],
    seeds: Sequence[int],
    size: tuple[int, int],
    *,
    controls: Sequence[Control] = (),
    negative: str | Sequence[str] = "",
    guidance: float = 4.0,
    steps: int = 20,
    scheduler: str = "dpm++ 2m",
    task: Task | None = None,
    tiles: Tiles | None = None,
    reading: Reading = LITERAL,
) -> Iterator[Frame]:
    """Draw B pictures of size = (width, height), one a prompt and seed, as one batch; `decode_frame` the last frame.

    reading: as in `encode_prompts`.
    Raises InputError for sizes that the base cannot draw, ConfigError for an unknown scheduler or number of steps.
    """
    check_size(backbone, size)
    pull = encode_prompts(backbone, prompts, size, guidance, negative, reading=reading)
    noise, generators = start(backbone, size, seeds)
    yield from denoise(
        backbone,
        pull,
        noise,
        generators,
        steps=steps,
        scheduler=scheduler,
        controls=controls,
        task=make_task(backbone, size) if task is None else task,
        tiles=tiles,
    )


@torch.no_grad()
def denoise(
    backbone: Backbone,
    guidance: Guidance,
    noise: Tensor,
    generators: Sequence[torch.Generator] = (),
    *,
    steps: int = 20,
    scheduler: str = "dpm++ 2m",
    controls: Sequence[Control] = (),
    task: Task = FROM_NOISE,
    tiles: Tiles | None = None,
    reuse: Reuse = EXACT,
    backend: str = "torch",
) -> Iterator[Frame]:
    """Walk from noise to picture, one frame a step.

    noise: B×C×h×w, standard normal; generators: one a picture, for schedulers that add noise on the way (both from
    `start`). controls: each is asked only at the steps of its span, a silent one never. task: how it starts, what is
    kept, what is seen beside. tiles: the windows in which a large sample is looked at. reuse: what of earlier steps is
    taken for this one, which is approximate. backend: who computes, one of `ENGINES`.
    Raises ConfigError for an unknown scheduler or number of steps, UnderdrawError naming the step that overflows.
    """
    path = build_scheduler(scheduler, backbone.scheduler, steps)
    first = task.first(path)
    if hasattr(path, "set_begin_index"):
        path.set_begin_index(first)
    extra = {"generator": list(generators)} if generators and "generator" in signature(path.step).parameters else {}
    audible = [control.prepared() for control in controls if not control.silent]
    noise = noise.float().to(backbone.device)
    latents = task.start(path, noise, first)
    timesteps = path.timesteps[first:]
    told = timesteps.float() if timesteps.is_floating_point() else timesteps  # not every device knows float64
    count, nets = len(timesteps), [control.net for control in audible]
    engine = ENGINES[backend](backbone, nets, told)
    recall = Recall(reuse, engine.waist, backbone.unet, nets)
    network = tiled(partial(through, recall), tiles, backbone.factor)
    with projected_once(backbone.unet, *nets):
        for step, timestep in enumerate(timesteps):
            noisy = path.scale_model_input(latents, timestep)
            heard = speaking(audible, step, count)
            with engine.at(step), recall.at(step, count, heard):
                prediction = guidance.at(step, count)(
                    network, noisy.to(backbone.dtype), told[step].to(backbone.device), heard, task.beside
                )
            _refuse_overflow(prediction, backbone, f"step {step + 1} of {count}")
            clean = _clean(backbone, prediction, noisy, noise_share(path, first + step))
            latents = path.step(prediction, timestep, latents, **extra).prev_sample
            latents = task.keep(path, latents, noise, first + step + 1)
            yield Frame(step, count, float(timestep), noisy, clean, latents)


def start(
    backbone: Backbone,
    size: tuple[int, int],
    seeds: Sequence[int],
    variations: Sequence[tuple[int, float]] = (),
) -> tuple[Tensor, list[torch.Generator]]:
    """The noise B×C×h×w that pictures of size = (width, height) with these seeds begin at, and their generators.

    variations: for each picture another seed and how far its noise is turned towards that one's, from 0 to 1.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (1, latent_channels(backbone), size[1] // backbone.factor, size[0] // backbone.factor)
    noise = torch.cat([torch.randn(shape, generator=each) for each in generators])
    for place, (seed, share) in enumerate(variations):
        if share:
            other = torch.randn(shape, generator=torch.Generator().manual_seed(seed))[0]
            noise[place] = slerp(noise[place], other, share)
    return noise, generators


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """From one noise to another along the sphere, so that what lies between is as loud as noise is."""
    cosine = (first * second).sum() / (first.norm() * second.norm())
    angle = cosine.clamp(-1, 1).acos()
    if angle < 1e-4:
        return torch.lerp(first, second, share)
    turned: Tensor = (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / angle.sin()
    return turned


@torch.no_grad()
def encode_prompts(
    backbone: Backbone,
    prompts: Sequence[str],
    size: tuple[int, int],
    guidance: float = 1.0,
    negative: str | Sequence[str] = "",
    picture: float | None = None,
    reading: Reading = LITERAL,
    **more: Any,
) -> Guidance:
    """What pulls B pictures of size = (width, height) towards their prompts and away from `negative` (one, or B).

    picture, more: as in `Guidance`. reading: what the prompts mean; usually their very words, and what is too long is
    cut off. A base without text takes empty prompts only. Raises InputError otherwise.
    """
    negatives = [negative] * len(prompts) if isinstance(negative, str) else list(negative)
    if not backbone.text_encoders:
        if any(negatives) or any(prompts):
            raise InputError("this base knows no text; leave the prompt and the negative prompt empty")
        return Guidance(None, picture=picture)
    text = backbone.hear([reading(prompt) for prompt in prompts], reading.clip_skip)
    if guidance == 1 and picture in (None, 1):
        return Guidance(_sized(text, size))
    text, empty = alike(text, _empty(backbone, negatives, reading))
    return Guidance(_sized(text, size), _sized(empty, size), guidance, picture, **more)


def _empty(backbone: Backbone, negatives: Sequence[str], reading: Reading) -> Text:
    """The negative prompts; where there is none, what the base was trained with for no prompt."""
    if all(negatives):
        return backbone.hear([reading(negative) for negative in negatives], reading.clip_skip)
    # What a base trained with zeros hears for no prompt has no layers to skip.
    empty = [reading("")] * len(negatives)
    zeros = backbone.zero_empty
    nothing = backbone.empty_text(len(empty)) if zeros else backbone.hear(empty, reading.clip_skip)
    if not any(negatives):
        return nothing
    text, nothing = alike(backbone.hear([reading(negative) for negative in negatives], reading.clip_skip), nothing)
    return text.where(torch.tensor([bool(negative) for negative in negatives]), nothing)


@torch.no_grad()
def decode_frame(backbone: Backbone, latents: Tensor, tiles: Tiles | None = None) -> Tensor:
    """The pictures B×3×H×W float32 in [0, 1] on the CPU of a frame's `latents`, `clean` or `noisy`.

    Raises UnderdrawError when numbers have overflown, which half precision does to some models.
    """
    pictures = decode(backbone, latents, tiles).float().cpu()
    _refuse_overflow(latents, backbone, "the drawing")
    _refuse_overflow(pictures, backbone, "the decoded drawing")
    return pictures


def finish(backbone: Backbone, frames: Iterable[Frame], tell: Callable[[Frame], None] = lambda frame: None) -> Tensor:
    """The pictures B×3×H×W in [0, 1] that a drawing ends with; `tell` hears of each frame as it passes."""
    last = None
    for last in frames:
        tell(last)
    assert last is not None, "a drawing has at least one step"
    return decode_frame(backbone, last.latents)


def _clean(backbone: Backbone, prediction: Tensor, noisy: Tensor, noise: float) -> Tensor:
    """The x0 that a prediction implies, where `noise` is the noise's share of the variance."""
    here = Process(torch.tensor([1.0 - noise]), backbone.process.prediction)
    return here.clean_from(prediction, noisy, 0)


def _refuse_overflow(numbers: Tensor, backbone: Backbone, where: str) -> None:
    """Raises UnderdrawError for numbers that are none, and says what helps."""
    if bool(numbers.isfinite().all()):
        return
    dtype = str(backbone.dtype).removeprefix("torch.")
    remedy = "the weights are broken, or a weight is far too large" if dtype == "float32" else "draw with dtype float32"
    raise UnderdrawError(f"{where} overflowed in {dtype}; {remedy}")


def _sized(text: Text, size: tuple[int, int]) -> Text:
    """Models that want to know sizes (SDXL) are told."""
    return text if text.pooled is None else text.sized(*size)
