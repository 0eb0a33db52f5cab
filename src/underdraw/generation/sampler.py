"""The sampler: a generator of frames. The bar, the preview and the probe are all `for frame in denoise(…)`.

Noise is made on the CPU in float32 by one generator a picture, keyed by its seed alone: a picture is the same noise in
any batch and on any device.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor

from underdraw.errors import InputError, UnderdrawError
from underdraw.generation.guidance import Guidance
from underdraw.generation.schedulers import build_scheduler, noise_share
from underdraw.generation.sizes import check_size
from underdraw.model import Backbone, Control, Process, Text, projected_once, speaking

__all__ = ["Frame", "decode_frame", "denoise", "draw", "encode_prompts", "finish", "start"]


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
    negative: str = "",
    guidance: float = 4.0,
    steps: int = 20,
    scheduler: str = "dpm++ 2m",
) -> Iterator[Frame]:
    """Draw B pictures of size = (width, height), one a prompt and seed, as one batch; `decode_frame` the last frame.

    Raises InputError for sizes that the base cannot draw, ConfigError for an unknown scheduler or number of steps.
    """
    check_size(backbone, size)
    pull = encode_prompts(backbone, prompts, size, guidance, negative)
    latents, generators = start(backbone, size, seeds)
    yield from denoise(backbone, pull, latents, generators, steps=steps, scheduler=scheduler, controls=controls)


@torch.no_grad()
def denoise(
    backbone: Backbone,
    guidance: Guidance,
    latents: Tensor,
    generators: Sequence[torch.Generator] = (),
    *,
    steps: int = 20,
    scheduler: str = "dpm++ 2m",
    controls: Sequence[Control] = (),
) -> Iterator[Frame]:
    """Walk from noise to picture, one frame a step.

    latents: B×C×h×w standard normal noise; generators: one a picture, for schedulers that add noise on the way (both
    from `start`). controls: each is asked only at the steps of its span, a silent one never.
    Raises ConfigError for an unknown scheduler or number of steps.
    """
    path = build_scheduler(scheduler, backbone.scheduler, steps)
    extra = {"generator": list(generators)} if generators and "generator" in signature(path.step).parameters else {}
    audible = [control.prepared() for control in controls if not control.silent]
    latents = latents.float().to(backbone.device) * path.init_noise_sigma
    count = len(path.timesteps)
    with projected_once(backbone.unet, *(control.net for control in audible)):
        for step, timestep in enumerate(path.timesteps):
            noisy = path.scale_model_input(latents, timestep)
            prediction = guidance(
                backbone.unet,
                noisy.to(backbone.dtype),
                timestep.to(backbone.device),
                speaking(audible, step, count),
                speaking(audible, step, count, conditional=False),
            )
            clean = _clean(backbone, prediction, noisy, noise_share(path, step))
            latents = path.step(prediction, timestep, latents, **extra).prev_sample
            yield Frame(step, count, float(timestep), noisy, clean, latents)


def start(backbone: Backbone, size: tuple[int, int], seeds: Sequence[int]) -> tuple[Tensor, list[torch.Generator]]:
    """The noise B×C×h×w that pictures of size = (width, height) with these seeds begin at, and their generators."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (1, backbone.unet.config["in_channels"], size[1] // backbone.factor, size[0] // backbone.factor)
    return torch.cat([torch.randn(shape, generator=each) for each in generators]), generators


@torch.no_grad()
def encode_prompts(
    backbone: Backbone, prompts: Sequence[str], size: tuple[int, int], guidance: float = 1.0, negative: str = ""
) -> Guidance:
    """What pulls B pictures of size = (width, height) towards their prompts and away from `negative`.

    A base without text takes empty prompts only. Raises InputError otherwise.
    """
    if not backbone.text_encoders:
        if negative or any(prompts):
            raise InputError("this base knows no text; leave the prompt and the negative prompt empty")
        return Guidance(None)
    text = backbone.encode_text(prompts)
    if guidance == 1:
        return Guidance(_sized(text, size))
    empty = backbone.encode_text([negative] * len(prompts)) if negative else backbone.empty_text(len(prompts))
    return Guidance(_sized(text, size), _sized(empty, size), guidance)


@torch.no_grad()
def decode_frame(backbone: Backbone, latents: Tensor) -> Tensor:
    """The pictures B×3×H×W float32 in [0, 1] on the CPU of a frame's `latents`, `clean` or `noisy`.

    Raises UnderdrawError when numbers have overflown, which half precision does to some models.
    """
    pictures = backbone.decode_latents(latents).float().cpu()
    if not bool(latents.isfinite().all() and pictures.isfinite().all()):
        raise UnderdrawError(f"the drawing overflowed in {str(backbone.dtype)[6:]}; draw it with dtype float32")
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


def _sized(text: Text, size: tuple[int, int]) -> Text:
    """Models that want to know sizes (SDXL) are told."""
    return text if text.pooled is None else text.sized(*size)
