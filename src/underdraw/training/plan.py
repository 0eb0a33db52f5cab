"""How much memory and time a run will take, found from its recipe before it starts.

Weights, gradients, the optimizer's states and all that lives for a moment within a step are counted byte by byte on
hollow tensors (`training.probe`); the time of a step is that of its operations, each different one done a few times.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.data.batches import PictureSet, generators
from underdraw.model import Moments, Process
from underdraw.training.census import Census, census
from underdraw.training.denoiser import LOOKED
from underdraw.training.dummies import Parts, latents, learning, loss, networks, predicted
from underdraw.training.hints import Hints
from underdraw.training.latents import PIXELS, LatentSet, one_shelf
from underdraw.training.objective import draw_batch
from underdraw.training.optim import build_optimizer
from underdraw.training.probe import Probe, hollow, probing
from underdraw.training.recipe import ControlRun, Recipe

__all__ = ["Plan", "foresee", "remedies"]

LIBRARIES = 75 * 2**20
"""What oneDNN keeps for itself once networks have run (its kernels and scratch), measured."""
GAPS = 1.15
"""How much more a process holds than its tensors live: what lies free between them, and layouts in passing. Fitted."""


@dataclass(frozen=True)
class Plan:
    """Bytes by what holds them all the time, and by stage what is held at most; the last is the peak of the run.

    start: what the process holds before. seconds, operations: of a step; None where they were not asked for.
    """

    held: dict[str, int]
    stages: dict[str, int]
    start: int
    seconds: float | None = None
    operations: int | None = None

    @property
    def peak(self) -> int:
        """The most memory that the run will take."""
        return self.start + max(self.stages.values())


def foresee(recipe: Recipe, start: int, timed: bool = True) -> Plan:
    """The plan of a ControlNet's, a denoiser's, a LoRA's or a fine-tuning's run.

    start: bytes that the process holds before it begins. Raises ConfigError for other tasks, InputError or
    CheckpointError for pictures and bases that are not there.
    """
    learn = learning(recipe)
    seen = census(recipe.data, recipe.output)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    with torch.device("meta"):
        parts = networks(recipe, learn, seen)
    with probing() as probe:
        for module in filter(None, (parts.unet, parts.vae, parts.text, parts.net, parts.module)):
            hollow(module)
        held, stages = _run(recipe, parts, seen, probe)
    data = _data(parts, seen)
    on_host = recipe.device == "cpu"
    if on_host:
        stages = {name: int(GAPS * most) + data + LIBRARIES for name, most in stages.items()}
    held = held | ({"pictures, latents and captions": data} if on_host else {})
    if not timed:
        return Plan(held, stages, start)
    seconds = probe.seconds() + _draws(recipe, parts, seen)
    return Plan(held, stages, start, seconds, probe.operations())


def _run(recipe: Recipe, parts: Parts, seen: Census, probe: Probe) -> tuple[dict[str, int], dict[str, int]]:
    """What is held all the time, and at most in each stage, on the device that the run learns on."""
    held = {"weights": probe.live}
    stages: dict[str, int] = {}
    with probe.peaking() as peak, torch.no_grad():
        if not seen.cached:
            _encode(parts, seen)
    stages["encoding the pictures"] = peak()
    weights = {name: value for name, value in parts.module.state_dict().items() if value.is_floating_point()}
    average = {name: torch.empty_like(value, dtype=torch.float32) for name, value in weights.items()}
    held["moving average"] = probe.live - held["weights"]
    take_step = _optimizer(recipe, [each for each in parts.module.parameters() if each.requires_grad])
    with probe.peaking() as peak:
        for turn in range(2):  # the optimizer's states are there from the second step on
            probe.weight = turn * recipe.accumulate
            before = probe.live
            for _ in range(min(2, recipe.accumulate)):
                loss(recipe, parts, seen).backward()
                probe.weight = 0
            gradients = probe.live - before
            probe.weight = turn
            nn.utils.clip_grad_norm_(parts.module.parameters(), recipe.optimizer.clip)
            take_step()
            parts.module.zero_grad()
            for name, value in weights.items():
                average[name].lerp_(value.detach().float(), 0.5)
            probe.weight = 0
    stages["a step"] = peak()
    held |= {"gradients": gradients, "optimizer": probe.live - held["weights"] - held["moving average"]}
    held["within a step"] = peak() - sum(held.values())
    model = sum(value.nbytes for value in parts.module.state_dict().values())
    with probe.peaking() as peak, torch.no_grad():
        _look(parts, seen)
    stages["drawing a sheet"] = peak() + model
    # A file is gathered whole before it is written, and once more as bytes.
    stages["writing a checkpoint"] = probe.live + 2 * max(model, held["optimizer"])
    return held, stages


def _optimizer(recipe: Recipe, parameters: list[nn.Parameter]) -> Callable[[], Any]:
    """What takes a step. Optimizers that look at numbers on their way only make their states."""
    kind, states = recipe.optimizer.kind, list[Tensor]()
    if kind not in ("adafactor", "adamw8bit"):
        return build_optimizer(parameters, recipe).step

    def step() -> None:
        for each in parameters if not states else ():
            shape = each.shape
            if kind == "adamw8bit":
                states.extend(torch.empty(shape, dtype=torch.uint8) for _ in range(2))
            elif each.ndim > 1:
                states.extend((torch.empty(shape[:-1]), torch.empty((*shape[:-2], shape[-1]))))
            else:
                states.append(torch.empty(shape))

    return step


def _encode(parts: Parts, seen: Census) -> None:
    """A chunk of pictures through the VAE."""
    count = min(seen.count, max(1, PIXELS // (seen.size[0] * seen.size[1])))
    parts.vae.encode(torch.empty(count, 3, seen.size[1], seen.size[0]))


def _look(parts: Parts, seen: Census) -> None:
    """As many pictures as are sketched at once, drawn and decoded."""
    count = max(1, min(24, LOOKED // (seen.size[0] * seen.size[1])))
    predicted(parts, seen, count)
    parts.vae.decode(latents(parts, seen, count))


def _data(parts: Parts, seen: Census) -> int:
    """Bytes of pictures and maps, of latents (means and deviations), and of captions in half precision."""
    words = int(parts.text.config.max_position_embeddings * parts.text.config.hidden_size)
    numbers = 2 * 4 * int(parts.unet.config.in_channels)
    area = seen.size[0] * seen.size[1] // parts.factor**2
    return seen.bytes + seen.count * numbers * area + 2 * words * seen.captions


def _draws(recipe: Recipe, parts: Parts, seen: Census) -> float:
    """Seconds a step for drawing noise, timesteps and maps: done, on noise."""
    learn, batch = learning(recipe), recipe.batch
    mean = torch.zeros_like(latents(parts, seen, batch))
    words = (parts.text.config.max_position_embeddings, parts.text.config.hidden_size)
    states = torch.zeros(1, *words, dtype=torch.bfloat16)
    kept = LatentSet([Moments(mean, mean)], one_shelf(batch), states, [[0]] * batch)
    noise = torch.randint(256, (batch, 3, seen.size[1], seen.size[0]), dtype=torch.uint8)
    maps = dict.fromkeys(recipe.data.maps, noise)
    has = dict.fromkeys(maps, torch.ones(batch, dtype=torch.bool))
    pictures = PictureSet(noise, [[""]] * batch, maps, has, [{}] * batch)
    rows, process = torch.arange(batch), Process.from_config({"beta_schedule": "scaled_linear"})

    def draw() -> None:
        sources = generators(0, 0, range(batch))
        draw_batch(kept, rows, sources, process, learn)
        if isinstance(learn, ControlRun):
            Hints(learn)(pictures, rows, sources)

    return parts.together * _quickest(draw)


def _quickest(work: Callable[[], None], rounds: int = 2) -> float:
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken) / torch.get_num_threads()


def remedies(recipe: Recipe, start: int, limit: int) -> tuple[list[str], int]:
    """What to lay over a recipe so that it fits into `limit` bytes, the gentlest first, and its peak then.

    The first ones change nothing of what is learnt. Where all of them are not enough the peak is still above the limit.
    """
    chosen: list[str] = []
    peak = foresee(recipe, start, timed=False).peak
    while recipe.batch % (2 * recipe.accumulate) == 0 and peak > limit:
        recipe = recipe.model_copy(update={"accumulate": 2 * recipe.accumulate})
        chosen = [f"accumulate={recipe.accumulate}"]
        peak = foresee(recipe, start, timed=False).peak
    for told, update in _savings(recipe):
        if peak <= limit:
            break
        recipe = recipe.model_copy(update=update)
        chosen.append(told)
        peak = foresee(recipe, start, timed=False).peak
    return chosen, peak


def _savings(recipe: Recipe) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    if not recipe.checkpointing:
        found.append(("checkpointing=true", {"checkpointing": True}))
    if recipe.precision == "fp32":
        found.append(("precision=bf16", {"precision": "bf16"}))
    if recipe.optimizer.kind == "adamw":
        found.append(("precision=bf16-weights", {"precision": "bf16-weights"}))
    elif recipe.optimizer.kind == "adam":
        found.append(
            ("optimizer.kind=adafactor", {"optimizer": recipe.optimizer.model_copy(update={"kind": "adafactor"})})
        )
    return found
