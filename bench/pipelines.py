"""Whole drawings in one run: ours beside diffusers' `StableDiffusionControlNetPipeline`, OpenVINO, and approximations.

    python -m bench.pipelines                                the shape of Stable Diffusion 1.5 (5 GB for each side)
    python -m bench.pipelines --width 32 --sizes 64          the same, ten times narrower: a minute
    python -m bench.pipelines --sizes 256 512 --dtypes bfloat16 --sides exact --controls 2 --chart curves.png

All sides hold the same random weights and draw from the same noise, prompt states and maps, by DDIM; they take turns in
one process, each round beginning with another of them. The autoencoder and CLIP are left out: they are the same on all
sides. What a picture costs once (embedding maps, packing weights) is inside; what a process costs once (OpenVINO's
graphs) is not. Beside the medians stands how far the latents are from diffusers', and the best rate that the machine
reaches in a product or a convolution, measured in the same run.
"""

import argparse
import copy
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionControlNetPipeline, UNet2DConditionModel
from diffusers import ControlNetModel as Theirs
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.step import MODELS, Step, interleaved, limit
from underdraw.generation import Reuse, denoise
from underdraw.generation.guidance import Guidance
from underdraw.generation.parts import Whole
from underdraw.model import Backbone, Control, Process, Text, build

SIDES: dict[str, dict[str, Any]] = {
    "exact": {},
    "openvino": {"backend": "openvino"},
    "quick": {"reuse": Reuse(control=3, encoder=2)},
    "openvino + quick": {"backend": "openvino", "reuse": Reuse(control=3, encoder=2)},
    "openvino-int8": {"backend": "openvino-int8"},
    "openvino-int8 + quick": {"backend": "openvino-int8", "reuse": Reuse(control=3, encoder=2)},
    "merge": {"reuse": Reuse(merge=0.5)},
    "compile": {"backend": "compile"},
}
INTERVAL = (0.0, 0.8)
"""Of guidance, where it is quick: `--preset quick` of `underdraw generate`."""
PLAIN = "openvino, plain"
USUAL = ("exact", "openvino", "quick", "openvino + quick", PLAIN)
"""What is drawn where nothing is said of sides."""
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
GUIDANCE, LOUD = 7.5, 0.8


@dataclass(frozen=True)
class Case:
    """Pictures of size × size pixels in a precision, under some controls, in some steps."""

    size: int
    dtype: str
    controls: int
    steps: int


class Bench:
    """The sides with the same weights and inputs. width: of the U-Net's first block (320 in Stable Diffusion 1.5)."""

    def __init__(self, case: Case, width: int) -> None:
        torch.manual_seed(0)
        self.case, self.dtype = case, getattr(torch, case.dtype)
        shape = dict(MODELS["sd15"].unet) | {"block_out_channels": (width, 2 * width, 4 * width, 4 * width)}
        self.unet = self._made(UNet2DConditionModel(**shape))
        self.nets = [self._made(_awake(Theirs.from_unet(self.unet))) for _ in range(case.controls)]
        self.states = torch.randn(2, 77, 768).to(self.dtype)
        self.maps = [torch.rand(1, 3, case.size, case.size).to(self.dtype) for _ in self.nets]
        self.noise = torch.randn(1, 4, case.size // 8, case.size // 8)
        # U-Nets over the same weights, so that what is remembered of a text or laid on one does not touch the others.
        self.pipeline = self._pipeline(self.unet, self.nets)
        self.ours = {name: self._ours() for name in SIDES}

    def _made(self, module: Any) -> Any:
        return nn.Module.to(module.requires_grad_(False).eval(), self.dtype)

    def _ours(self) -> tuple[Backbone, list[Control]]:
        unet = _twin(self.unet)
        controls = []
        for net, condition in zip(self.nets, self.maps, strict=True):
            control = build(unet, 8)
            control.branch.load_state_dict(net.state_dict(), assign=True)
            controls.append(Control(control.requires_grad_(False).eval(), condition, weight=LOUD))
        process = Process.from_config(SCHEDULER | {"num_train_timesteps": 1000})
        return Backbone(unet, process, scheduler=SCHEDULER | {"_class_name": "DDIMScheduler"}), controls

    def _pipeline(self, unet: Any, nets: Sequence[Any]) -> Any:
        blocks = ["DownEncoderBlock2D"] * 4
        vae = AutoencoderKL(
            down_block_types=blocks, up_block_types=["UpDecoderBlock2D"] * 4, block_out_channels=[32] * 4
        )
        parts = {"vae": self._made(vae), "unet": unet, "controlnet": list(nets) if len(nets) > 1 else nets[0]}
        nothing = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
        scheduler = DDIMScheduler(**SCHEDULER)
        made = StableDiffusionControlNetPipeline(**parts, **nothing, scheduler=scheduler, requires_safety_checker=False)
        made.set_progress_bar_config(disable=True)
        return made

    def diffusers(self, pipeline: Any = None) -> Tensor:
        """What its pipeline leaves."""
        one = len(self.maps) == 1
        latents: Tensor = (pipeline or self.pipeline)(
            prompt_embeds=self.states[1:],
            negative_prompt_embeds=self.states[:1],
            image=self.maps[0] if one else self.maps,
            controlnet_conditioning_scale=LOUD if one else [LOUD] * len(self.maps),
            latents=self.noise.to(self.dtype),
            num_inference_steps=self.case.steps,
            guidance_scale=GUIDANCE,
            output_type="latent",
        ).images
        return latents.float()

    def underdraw(self, side: str) -> Tensor:
        """What our sampler leaves."""
        backbone, controls = self.ours[side]
        interval = INTERVAL if "quick" in side else (0.0, 1.0)
        pull = Guidance(Text(self.states[1:]), Text(self.states[:1]), GUIDANCE, interval=interval)
        return list(
            denoise(
                backbone, pull, self.noise, steps=self.case.steps, scheduler="ddim", controls=controls, **SIDES[side]
            )
        )[-1].latents

    def plain(self) -> Step:
        """OpenVINO as people use it: diffusers' pipeline over two converted models, both asked at every step."""
        from underdraw.generation.openvino import Converted

        unet = Converted(_wide(self.unet), THEIR_UNET, self.dtype)
        net = Converted(_wide(self.nets[0]), THEIR_NET, self.dtype)
        twins = self._pipeline(_twin(self.unet), [_twin(self.nets[0])])

        def control(sample: Tensor, time: Tensor, **named: Any) -> Any:
            told = net(sample, time.reshape(1), named["encoder_hidden_states"], named["controlnet_cond"])
            scaled = [named["conditioning_scale"] * each for each in told]
            return scaled[:-1], scaled[-1]

        def base(sample: Tensor, time: Tensor, **named: Any) -> Any:
            residuals = (*named["down_block_additional_residuals"], named["mid_block_additional_residual"])
            return unet(sample, time.reshape(1), named["encoder_hidden_states"], *residuals)

        twins.controlnet.forward, twins.unet.forward = control, base
        return lambda: self.diffusers(twins)

    def steps(self, sides: Sequence[str]) -> dict[str, Step]:
        """The drawings to compare."""
        chosen: dict[str, Step] = {"diffusers": self.diffusers}
        for side in sides:
            chosen[side] = self.plain() if side == PLAIN else lambda side=side: self.underdraw(side)  # type: ignore[misc]
        return chosen


def _wide(module: Any) -> Any:
    return module if module.dtype == torch.float32 else copy.deepcopy(module).float()


def _their_unet(unet: Any, sample: Tensor, time: Tensor, states: Tensor, *residuals: Tensor) -> tuple[Tensor, ...]:
    extra = {"down_block_additional_residuals": residuals[:-1], "mid_block_additional_residual": residuals[-1]}
    prediction: tuple[Tensor, ...] = unet(sample, time, states, **extra, return_dict=False)
    return prediction


def _their_net(net: Any, sample: Tensor, time: Tensor, states: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
    down, middle = net(sample, time, states, condition, return_dict=False)
    return (*down, middle)


def _residuals(unet: Any) -> tuple[Tensor, ...]:
    return (*_asked(), *_their_net(Theirs.from_unet(unet), *_asked(), torch.rand(2, 3, 128, 128)))


THEIR_UNET = Whole(_their_unet, _residuals)
THEIR_NET = Whole(_their_net, lambda net: (*_asked(), torch.rand(2, 3, 128, 128)))


def _asked() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(2, 4, 16, 16), torch.tensor([500.0]), torch.randn(2, 77, 768)


def _twin(module: Any) -> Any:
    """The same module over the same weights."""
    return copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})


def _awake(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return module


@torch.no_grad()
def measured(case: Case, width: int, sides: Sequence[str], rounds: int) -> dict[str, dict[str, float]]:
    """By side: seconds a drawing, half the middle range, speed over diffusers, largest and mean distance from it."""
    bench = Bench(case, width)
    steps = bench.steps([side for side in sides if side != PLAIN or case.controls == 1])
    with FlopCounterMode(display=False) as counter:
        wanted = steps["diffusers"]()
    apart = {name: (step() - wanted).abs() / wanted.std() for name, step in steps.items()}
    work = counter.get_total_flops()
    seconds = interleaved(steps, rounds)
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {
        name: {
            "seconds": middle[name],
            "spread": (max(taken) - min(taken)) / 2,
            "ratio": middle["diffusers"] / middle[name],
            "largest": float(apart[name].max()),
            "mean": float(apart[name].mean()),
            "rate": work / middle["diffusers"] if name == "diffusers" else 0.0,
        }
        for name, taken in seconds.items()
    }


def report(case: Case, found: Mapping[str, Mapping[str, float]], best: float) -> None:
    """Print the table of a case."""
    title = f"{case.size} px, {case.dtype}, {case.controls} control{'s' * (case.controls > 1)}, {case.steps} steps"
    share = found["diffusers"]["rate"] / best
    told = f"{title}; {torch.get_num_threads()} threads, limit {best / 1e9:.0f} GFLOP/s, diffusers at {share:.0%} of it"
    table = Table(title=told)
    for column in ("side", "s a drawing", "±", "× diffusers", "largest apart / σ", "mean apart / σ"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for name, row in found.items():
        apart = (f"{row['largest']:.1e}", f"{row['mean']:.1e}")
        table.add_row(name, f"{row['seconds']:.2f}", f"{row['spread']:.2f}", f"{row['ratio']:.2f}", *apart)
    Console(width=120).print(table)


def chart(found: Mapping[Case, Mapping[str, Mapping[str, float]]], path: Path) -> None:
    """Speed over diffusers against the picture's size: a panel for each precision and number of controls."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = sorted({(case.dtype, case.controls) for case in found})
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.8), sharey=True, squeeze=False)
    for axis, (dtype, controls) in zip(axes[0], panels, strict=True):
        cases = sorted((case for case in found if (case.dtype, case.controls) == (dtype, controls)), key=_size)
        for side in found[cases[0]]:
            points = [(case.size, found[case][side]["ratio"]) for case in cases]
            axis.plot(*zip(*points, strict=True), marker="o", label=side, linewidth=2 if side == "exact" else 1.2)
        axis.set(title=f"{dtype}, {controls} control{'s' * (controls > 1)}", xlabel="side of the picture, pixels")
        axis.set_xticks([case.size for case in cases])
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("speed, diffusers = 1")
    axes[0][0].set_ylim(bottom=0)
    axes[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _size(case: Case) -> int:
    return case.size


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="whole drawings: ours against diffusers'")
    parser.add_argument("--width", type=int, default=320, help="of the first block; 320 is Stable Diffusion 1.5")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--controls", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sides", nargs="+", choices=(*SIDES, PLAIN), default=USUAL)
    parser.add_argument("--steps", type=int, default=6, help="of a drawing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="torch's own number if left out")
    parser.add_argument("--chart", type=Path, help="a PNG with the curves")
    return parser.parse_args()


def main() -> None:
    """Time, compare and print."""
    chosen = arguments()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    found: dict[Case, dict[str, dict[str, float]]] = {}
    for dtype in chosen.dtypes:
        cases = [Case(size, dtype, controls, chosen.steps) for controls in chosen.controls for size in chosen.sizes]
        before = limit(getattr(torch, dtype))
        found |= {case: measured(case, chosen.width, chosen.sides, chosen.rounds) for case in cases}
        best = max(before, limit(getattr(torch, dtype)))
        for case in cases:
            report(case, found[case], best)
    if chosen.chart:
        chart(found, chosen.chart)


if __name__ == "__main__":
    main()
