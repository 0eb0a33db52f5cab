"""The one training loop: VAE, CLIP, denoiser and ControlNets are tasks of it."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from underdraw.errors import ConfigError, UnderdrawError
from underdraw.formats.checkpoint import Checkpoint, latest, optimizer_tensors, prune, restore_optimizer
from underdraw.training.optim import build_optimizer, learning_rate
from underdraw.training.pictures import WHOLE, Share
from underdraw.training.precision import computing
from underdraw.training.processes import (
    count,
    divide,
    divided,
    either,
    first,
    mean_figures,
    mean_gradients,
    parted,
    place,
    whole,
)
from underdraw.training.recipe import Recipe

__all__ = ["State", "Task", "Watcher", "resumed", "train"]


class Task(Protocol):
    """What one training learns. Everything in it is a function of the step, so that a resumed run sees the same."""

    module: nn.Module

    def losses(self, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """The named losses of one step's batch, or of a share of it; their sum is minimised."""

    def sheet(self) -> Tensor:
        """A picture 3×H×W in [0, 1] of what has been learnt so far (drawn with the averaged weights)."""

    def export(self, folder: Path) -> None:
        """Write what was learnt as a diffusers-layout folder."""


@dataclass
class State:
    """A run under way."""

    recipe: Recipe
    task: Task
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    scaler: torch.amp.GradScaler
    """Of the losses in fp16; in any other precision it does nothing."""
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Each loss summed over the steps since the last line of the log."""
    done: bool = False
    """A watcher's wish that the run ends here."""

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return Path(self.recipe.output)

    def save(self) -> None:
        """Write a checkpoint and forget all but the two newest; of several processes, which all call it, the first."""
        module, told = self.task.module, self.recipe.model_dump(mode="json")
        about = {"recipe": told, "sums": self.sums, "scaler": self.scaler.state_dict()}
        parts = (module.state_dict(), self.average, optimizer_tensors(self.optimizer, module))
        model, average, optimizer = ({name: whole(value) for name, value in part.items()} for part in parts)
        if first():
            Checkpoint(self.step, model, average, optimizer, about).save(self.folder / "checkpoints")
            prune(self.folder / "checkpoints", keep=2)

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        place = latest(self.folder / "checkpoints")
        if place is None:
            return
        checkpoint, module = Checkpoint.load(place), self.task.module
        module.load_state_dict(parted(checkpoint.model, module.state_dict()))
        parameters = dict(module.named_parameters())
        like = {name: parameters[name.partition("/")[2]] for name in checkpoint.optimizer}
        restore_optimizer(self.optimizer, module, parted(checkpoint.optimizer, like))
        for name, value in parted(checkpoint.average, self.average).items():
            self.average[name].copy_(value)
        self.step, self.sums = checkpoint.step, dict(checkpoint.about["sums"])
        if scaled := checkpoint.about.get("scaler"):
            self.scaler.load_state_dict(scaled)


Watcher = Callable[[State, dict[str, float]], None]


def train(task: Task, recipe: Recipe, watchers: Sequence[Watcher] = (), minutes: float = math.inf) -> State:
    """Train until `recipe.steps` or for `minutes`, then checkpoint; called again, it goes on where it stopped.

    An interrupt (Ctrl-C, SIGTERM) ends it after the step under way, with a checkpoint, as KeyboardInterrupt.
    Raises UnderdrawError when a loss or a gradient is no longer finite, naming the module where that began; the
    checkpoint before it stays.
    """
    accelerator = Accelerator(cpu=recipe.device == "cpu")
    if divided():
        divide(task.module)
    state = resumed(task, recipe)
    end = time.monotonic() + 60 * minutes
    with interrupts() as asked:
        while state.step < recipe.steps and not either(bool(asked) or state.done or time.monotonic() >= end):
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(recipe.optimizer, state.step, recipe.steps)
            figures = _gradients(state, accelerator)
            norm = whole(nn.utils.clip_grad_norm_(task.module.parameters(), recipe.optimizer.clip))
            if not all(map(math.isfinite, figures.values())) or not (norm.isfinite() or _scaled(state)):
                raise UnderdrawError(_lost(state))
            state.scaler.step(state.optimizer)
            state.scaler.update()
            state.optimizer.zero_grad()
            state.step += 1
            _average(state)
            for watch in watchers:
                if first() or getattr(watch, "together", False):
                    watch(state, figures)
        state.save()
    if asked:
        raise KeyboardInterrupt
    return state


def _gradients(state: State, accelerator: Accelerator) -> dict[str, float]:
    """Computes the gradients of a step's whole batch, share by share; gives the means of the losses."""
    recipe, figures = state.recipe, dict[str, float]()
    for share in _shares(recipe):
        # Not accelerate's own autocast: its precision could not change within a process.
        with computing(recipe, accelerator.device.type):
            losses = state.task.losses(state.step, share)
        accelerator.backward(state.scaler.scale(torch.stack([*losses.values()]).sum() / recipe.accumulate))
        for name, loss in losses.items():
            figures[name] = figures.get(name, 0.0) + float(loss.detach()) / recipe.accumulate
    mean_gradients(state.task.module.parameters())
    state.scaler.unscale_(state.optimizer)
    return mean_figures(figures)


def _scaled(state: State) -> bool:
    """Whether gradients in fp16 may have been scaled too far up: the step is left out then, and the scale is halved."""
    return state.scaler.is_enabled() and state.scaler.get_scale() > 1


def _shares(recipe: Recipe) -> list[Share]:
    """The parts of every batch that this process computes, one after the other."""
    each = recipe.accumulate
    return [Share(place() * each + part, count() * each) for part in range(each)]


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that fills when somebody asks to stop; a second time is not asked but done."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resumed(task: Task, recipe: Recipe) -> State:
    """A run at its newest checkpoint, or at its beginning."""
    optimizer = build_optimizer(task.module.parameters(), recipe)
    average = {name: _float32(value).clone() for name, value in task.module.state_dict().items()}
    half = recipe.precision == "fp16"
    if half and divided():
        raise ConfigError("precision = fp16 can't be divided among processes; use bf16, or FSDP for none")
    scaler = torch.amp.GradScaler(torch.device(recipe.device).type, enabled=half)
    state = State(recipe, task, optimizer, average, scaler)
    state.resume()
    return state


def _float32(value: Tensor) -> Tensor:
    """A weight as it is averaged: in half precision so small steps would be lost."""
    return value.detach().float() if value.is_floating_point() else value.detach()


def _average(state: State) -> None:
    """Exponential moving average of the weights; a short memory at first, so that the beginning does not linger."""
    decay = min(state.recipe.average, (1 + state.step) / (10 + state.step))
    for name, value in state.task.module.state_dict().items():
        if value.is_floating_point():
            state.average[name].lerp_(_float32(value), 1 - decay)
        else:
            state.average[name].copy_(value)


def _lost(state: State) -> str:
    """What is not finite at a step, and in which module it began: the step is computed again, and watched."""
    bad, wild, module = list[str](), dict[str, float](), state.task.module

    def hear(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, given: object, made: object) -> None:
            if isinstance(made, Tensor) and not bool(made.isfinite().all()):
                bad.append(name)

        return look

    hooks = [part.register_forward_hook(hear(name)) for name, part in module.named_modules() if name]
    with torch.no_grad():
        for share in _shares(state.recipe):
            losses = {name: float(loss) for name, loss in state.task.losses(state.step, share).items()}
            wild |= {name: loss for name, loss in losses.items() if not math.isfinite(loss)}
    for hook in hooks:
        hook.remove()
    grown = [name for name, each in module.named_parameters() if not bool(whole(each.isfinite().all()))]
    what = "a gradient is not finite"
    if wild:
        name, loss = next(iter(wild.items()))
        what = f"loss {name!r} is {loss}"
    where = f", first in {bad[0]}" if bad else f", weights of {grown[0]} are not finite" if grown else ""
    return (
        f"{what} at step {state.step}{where}; lower the learning rate, or train in fp32, and resume from the checkpoint"
    )
