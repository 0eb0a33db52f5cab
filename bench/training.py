"""One training step of a ControlNet: ours beside that of diffusers' example `train_controlnet.py`, and beside tuning.

    python -m bench.step                       this one as well, at a fifth of Stable Diffusion's width
    python -m bench.step --real                at its real width (1.5, 256 px, batch 1: 12 GB of memory)

The example itself cannot be imported (it wants torchvision); `Script.step` does what its loop does, call by call: VAE
and text encoder at every step, channels first, the plain AdamW. Ours has moments and text states kept, channels
last and the fused AdamW. Both hold the same weights and see the same noise, so that their gradients can be compared.
`Alone` is our step without a control, in which all of the base learns: what the paper states its overheads against.
"""

import copy
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from underdraw.model import Control, Moments, Process, Text, build, predict
from underdraw.training.precision import channels_last, use_float32_attention
from underdraw.training.probe import Probe

TOKENS = 77
THEIRS, OURS, TUNING = "train_controlnet.py", "underdraw", "the base alone, tuned"


@dataclass(frozen=True)
class Shape:
    """Widths of U-Net, VAE and text encoder, the picture's side and the batch."""

    unet: tuple[int, ...]
    vae: tuple[int, ...]
    text: int
    layers: int
    side: int
    batch: int


REDUCED = Shape((64, 128, 256, 256), (32, 64, 128, 128), 256, 4, 128, 2)
REAL = Shape((320, 640, 1280, 1280), (128, 256, 512, 512), 768, 12, 256, 1)


@dataclass(frozen=True)
class Bytes:
    """Held at most within a step: beside weights and optimizer states, and with them."""

    beside: int
    all: int


class Inputs:
    """What both sides see."""

    def __init__(self, shape: Shape) -> None:
        torch.manual_seed(0)
        latent = (shape.batch, 4, shape.side // 8, shape.side // 8)
        self.pictures = 2 * torch.rand(shape.batch, 3, shape.side, shape.side) - 1
        self.maps = torch.rand(shape.batch, 3, shape.side, shape.side)
        self.tokens = torch.randint(0, 1000, (shape.batch, TOKENS))
        self.timestep = torch.randint(0, 1000, (shape.batch,))
        self.noise, self.spread = torch.randn(latent), torch.randn(latent)


class Script:
    """The loop of diffusers' example."""

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        torch.manual_seed(1)
        blocks = {"layers_per_block": 2, "block_out_channels": shape.unet, "cross_attention_dim": shape.text}
        self.unet = UNet2DConditionModel(sample_size=shape.side // 8, attention_head_dim=8, **blocks)
        self.vae = AutoencoderKL(
            block_out_channels=shape.vae,
            layers_per_block=2,
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            scaling_factor=0.18215,
        )
        width = {"hidden_size": shape.text, "intermediate_size": 4 * shape.text, "num_hidden_layers": shape.layers}
        ends = {"bos_token_id": 1001, "eos_token_id": 1002}  # beyond what `Inputs` draws
        self.text = CLIPTextModel(CLIPTextConfig(num_attention_heads=8, vocab_size=49408, **width, **ends))
        self.net = ControlNetModel.from_unet(self.unet)
        self.dtype = dtype
        locked = [self.unet, self.vae, self.text]
        self.parts = [*locked, self.net]
        for part in locked:
            nn.Module.to(part.requires_grad_(False).eval(), dtype)
        self.scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=5e-6, weight_decay=1e-2)

    def gradients(self, seen: Inputs) -> None:
        """Everything of a step before the optimizer."""
        moments = self.vae.encode(seen.pictures.to(self.dtype)).latent_dist
        latents = (moments.mean + moments.std * seen.spread) * self.vae.config.scaling_factor
        noisy = self.scheduler.add_noise(latents.float(), seen.noise, seen.timestep).to(self.dtype)
        states = self.text(seen.tokens)[0]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            down, middle = self.net(noisy, seen.timestep, states, seen.maps.to(self.dtype), return_dict=False)
            prediction = self.unet(
                noisy,
                seen.timestep,
                states,
                down_block_additional_residuals=[each.to(self.dtype) for each in down],
                mid_block_additional_residual=middle.to(self.dtype),
            ).sample
        functional.mse_loss(prediction.float(), seen.noise.float()).backward()

    def step(self, seen: Inputs) -> None:
        """A whole one."""
        self.gradients(seen)
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)


class Ours:
    """The same weights in our loop; VAE and text encoder have had their say before the first step."""

    controls: tuple[Control, ...] = ()

    @torch.no_grad()
    def __init__(self, script: Script, seen: Inputs) -> None:
        moments = script.vae.encode(seen.pictures.to(script.dtype)).latent_dist
        scale = script.vae.config.scaling_factor
        self.moments = Moments(moments.mean.float() * scale, moments.std.float() * scale)
        self.states = Text(script.text(seen.tokens)[0].float())
        self.process = Process.from_config(script.scheduler.config)
        self.half = script.dtype == torch.bfloat16
        self.unet = copy.deepcopy(script.unet).float()
        self.learner = self.made(script, seen)
        self.parts = list(dict.fromkeys((self.unet, self.learner)))
        for part in self.parts:
            if self.half:
                use_float32_attention(part)
            channels_last(part)
        self.optimizer = torch.optim.AdamW(self.learner.parameters(), lr=5e-6, weight_decay=1e-2, fused=True)

    def made(self, script: Script, seen: Inputs) -> nn.Module:
        """What learns."""
        net = build(self.unet, 8)
        net.branch.load_state_dict(script.net.state_dict())
        self.controls = (Control(net, seen.maps),)
        return net

    def gradients(self, seen: Inputs) -> None:
        """Everything of a step before the optimizer."""
        noisy = self.process.add_noise(self.moments.sample(seen.spread), seen.noise, seen.timestep)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            prediction = predict(self.unet, noisy, seen.timestep, self.states, self.controls)
        functional.mse_loss(prediction.float(), seen.noise).backward()

    def step(self, seen: Inputs) -> None:
        """A whole one."""
        self.gradients(seen)
        nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


class Alone(Ours):
    """The base itself learns, all of it, and there is no control."""

    def made(self, script: Script, seen: Inputs) -> nn.Module:
        """The U-Net."""
        unet: nn.Module = self.unet.requires_grad_(True)
        return unet


def compare(real: bool, dtype: torch.dtype, rounds: int) -> None:
    """Print all sides' seconds and bytes, the ratios, and how far the gradients of the two controls are apart."""
    shape = REAL if real else REDUCED
    seen = Inputs(shape)
    script = Script(shape, dtype)
    ours = Ours(script, seen)
    apart = _apart(script, ours, seen)
    sides: dict[str, Any] = {THEIRS: script, OURS: ours, TUNING: Alone(script, seen)}
    most = {name: _most(side, seen) for name, side in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for _ in range(rounds):
        names = [*names[1:], names[0]]
        for name in names:
            begun = time.perf_counter()
            sides[name].step(seen)
            seconds[name].append(time.perf_counter() - begun)
    _report(shape, dtype, seconds, most)
    print(f"the gradients differ by {apart:.1e} of the largest")


def _apart(script: Script, ours: Ours, seen: Inputs) -> float:
    """The largest difference between the first step's gradients, as a share of the largest gradient."""
    script.gradients(seen)
    ours.gradients(seen)
    own = dict(ours.learner.named_parameters())
    pairs = [(each.grad, own[f"branch.{name}"].grad) for name, each in script.net.named_parameters()]
    found = [(one, two) for one, two in pairs if one is not None and two is not None]
    largest = max(float(one.abs().max()) for one, _ in found)
    difference = max(float((one - two).abs().max()) for one, two in found)
    script.optimizer.zero_grad()
    ours.optimizer.zero_grad()
    return difference / largest


def _most(side: Script | Ours, seen: Inputs) -> Bytes:
    """What a step holds at most. Optimizer states are there from the first step on; the example's gradients as well."""
    side.step(seen)
    states = [each for kept in side.optimizer.state.values() for each in kept.values() if isinstance(each, Tensor)]
    weights = [each for part in side.parts for each in part.state_dict().values()]
    gradients = [each.grad for part in side.parts for each in part.parameters() if each.grad is not None]
    probe = Probe()
    with probe, probe.peaking() as peak:
        side.step(seen)
    return Bytes(peak(), peak() + sum(each.nbytes for each in (*states, *weights, *gradients)))


def _report(shape: Shape, dtype: torch.dtype, seconds: Mapping[str, list[float]], most: Mapping[str, Bytes]) -> None:
    kind = str(dtype).removeprefix("torch.")
    table = Table(title=f"a training step: {shape.unet[0]} channels, {shape.side} px, batch {shape.batch}, {kind}")
    for column in ("step", "ms", "faster", "MB beside weights", "of it", "MB in all", "of it"):
        table.add_column(column, justify="left" if column == "step" else "right")
    middle, first = {name: statistics.median(taken) for name, taken in seconds.items()}, most[THEIRS]
    for name, held in most.items():
        table.add_row(
            name,
            f"{1e3 * middle[name]:.0f}",
            f"{middle[THEIRS] / middle[name]:.2f} ×",
            f"{held.beside / 1e6:.0f}",
            f"{held.beside / first.beside:.2f}",
            f"{held.all / 1e6:.0f}",
            f"{held.all / first.all:.2f}",
        )
    Console(width=100).print(table)
    for name in (THEIRS, OURS):
        longer, more = middle[name] / middle[TUNING] - 1, most[name].all / most[TUNING].all - 1
        print(f"beside tuning the base alone, {name} takes {longer:+.0%} time and {more:+.0%} memory")
