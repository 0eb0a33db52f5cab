"""One denoising step under one control: ours against diffusers' U-Net and ControlNet, in one process, interleaved.

Then one training step, beside that of diffusers' example (`bench.training`).

    python -m bench.step                       the shape of the embedded base (64 px, f = 4)
    python -m bench.step --real                both at Stable Diffusion 1.5's real width (12 GB of memory)
    python -m bench.step --model sd15          Stable Diffusion 1.5 at its real width (256 px; 5 GB of memory)

Both sides hold the same random weights, hear the same inputs and do what a drawing with guidance does at each step: a
batch of two, the empty prompt and the prompt. What depends on neither the step nor the noise (the hint of the map, the
projections of the texts) ours does once a picture, before the first step; diffusers does it at every step.
Medians of interleaved rounds, for processes drift by five to ten percent.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bench.training import compare
from underdraw.model import Control, Text, build, predict, projected_once

M = TypeVar("M", bound=nn.Module)
Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Model:
    """A shape to time: the U-Net's settings, the VAE's factor, the usual picture size and the prompt's length."""

    unet: Mapping[str, Any]
    factor: int
    size: int
    tokens: int


MODELS = {
    "embedded": Model(
        {
            "block_out_channels": (96, 160, 192),
            "layers_per_block": 1,
            "attention_head_dim": 4,
            "cross_attention_dim": 192,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        },
        factor=4,
        size=64,
        tokens=48,
    ),
    "sd15": Model(
        {
            "block_out_channels": (320, 640, 1280, 1280),
            "layers_per_block": 2,
            "attention_head_dim": 8,
            "cross_attention_dim": 768,
        },
        factor=8,
        size=256,
        tokens=77,
    ),
}


class Bench:
    """The two sides with the same weights and inputs."""

    def __init__(self, model: Model, size: int, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.unet = _locked(UNet2DConditionModel(**model.unet), dtype)
        widths = (16, 32, 96, 256)[: model.factor.bit_length()]
        self.theirs = _locked(ControlNetModel.from_unet(self.unet, conditioning_embedding_out_channels=widths), dtype)
        _awaken(self.theirs)
        # A second U-Net over the same weights, so that what ours remembers of a text does not quicken theirs.
        self.trunk = copy.deepcopy(self.unet, {id(parameter): parameter for parameter in self.unet.parameters()})
        self.ours = _locked(build(self.trunk, model.factor), dtype)
        self.ours.branch.load_state_dict(self.theirs.state_dict())
        self.sample = torch.randn(2, 4, size // model.factor, size // model.factor, dtype=dtype)
        self.timestep = torch.tensor(500)
        self.text = Text(torch.randn(2, model.tokens, model.unet["cross_attention_dim"], dtype=dtype))
        self.condition = torch.rand(1, 3, size, size, dtype=dtype)
        self.control = Control(self.ours, self.condition).prepared()

    def diffusers(self, weight: float = 1.0) -> Tensor:
        """What its pipeline does at a step: the map for both halves, embedded anew, and computed at any weight."""
        hint = torch.cat([self.condition] * 2)
        down, middle = self.theirs(self.sample, self.timestep, self.text.states, hint, weight, return_dict=False)
        prediction: Tensor = self.unet(
            self.sample,
            self.timestep,
            self.text.states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        return prediction

    def underdraw(self) -> Tensor:
        """The map was embedded before the first step, the texts are projected at the first."""
        return predict(self.trunk, self.sample, self.timestep, self.text, (self.control,))

    def silent(self) -> Tensor:
        """A control of weight 0: its branch does not run."""
        return predict(self.trunk, self.sample, self.timestep, self.text, (replace(self.control, weight=0.0),))


def _locked(module: M, dtype: torch.dtype) -> M:
    nn.Module.to(module.requires_grad_(False).eval(), dtype)  # diffusers' own `to` warns of modules it need not cast
    return module


def _awaken(module: nn.Module) -> None:
    """Some weight for the taps that start silent."""
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)


def interleaved(steps: Mapping[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round, after one round to warm up; each round begins with another step."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in range(-1, rounds):
        names = [*names[1:], names[0]]
        for name in names:
            begun = time.perf_counter()
            steps[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def operations(step: Step) -> int:
    """Floating-point operations of a step: matrix products, convolutions and attention."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def limit(dtype: torch.dtype, rounds: int = 20) -> float:
    """Operations a second that this machine reaches at its best: a large matrix product or a 3×3 convolution."""
    square = torch.randn(1536, 1536, dtype=dtype)
    features, kernel = torch.randn(2, 256, 64, 64, dtype=dtype), torch.randn(256, 256, 3, 3, dtype=dtype)
    tasks: dict[str, Step] = {
        "product": lambda: square @ square,
        "convolution": lambda: functional.conv2d(features, kernel, padding=1),
    }
    seconds = interleaved(tasks, rounds)
    return max(operations(task) / min(seconds[name]) for name, task in tasks.items())


def main() -> None:
    """Both steps."""
    chosen = arguments()
    denoising(chosen)
    compare(chosen.real, getattr(torch, chosen.dtype), max(3, chosen.rounds // 6))


@torch.inference_mode()
def denoising(chosen: argparse.Namespace) -> None:
    """Time, compare and print."""
    model, dtype = MODELS[chosen.model], getattr(torch, chosen.dtype)
    bench = Bench(model, chosen.size or model.size, dtype)
    steps: dict[str, Step] = {
        "diffusers": bench.diffusers,
        "underdraw": bench.underdraw,
        "diffusers, weight 0": lambda: bench.diffusers(0.0),
        "underdraw, weight 0": bench.silent,
    }
    with projected_once(bench.trunk, bench.ours):
        difference = float((bench.diffusers() - bench.underdraw()).abs().max())
        counted = {name: operations(step) for name, step in steps.items()}
        seconds = interleaved(steps, chosen.rounds)
    report(f"{chosen.model}, {chosen.size or model.size} px, {chosen.dtype}", seconds, counted, limit(dtype))
    print(f"the two differ by at most {difference:.1e}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="one step under one control: ours against diffusers'")
    parser.add_argument("--model", choices=MODELS, default="embedded")
    parser.add_argument("--size", type=int, help="picture size in pixels; the model's usual one if left out")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--real", action="store_true", help="both steps at Stable Diffusion 1.5's real width")
    chosen = parser.parse_args()
    chosen.model = "sd15" if chosen.real else chosen.model
    return chosen


def report(title: str, seconds: Mapping[str, list[float]], counted: Mapping[str, int], best: float) -> None:
    """Print the table: medians and half the middle range, their ratio to diffusers' step, the work, the limit."""
    table = Table(title=f"{title}: one step, {torch.get_num_threads()} threads, limit {best / 1e9:.0f} GFLOP/s")
    for column in ("step", "ms", "±", "ratio", "GFLOP", "at the limit, ms", "of the limit"):
        table.add_column(column, justify="left" if column == "step" else "right")
    theirs = statistics.median(seconds["diffusers"])
    for name, taken in seconds.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        ideal = counted[name] / best
        table.add_row(
            name,
            f"{1e3 * middle:.1f}",
            f"{1e3 * (high - low) / 2:.1f}",
            f"{middle / theirs:.2f}",
            f"{counted[name] / 1e9:.1f}",
            f"{1e3 * ideal:.1f}",
            f"{ideal / middle:.0%}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
