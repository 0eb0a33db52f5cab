"""One training step of a ControlNet: ours beside that of diffusers' example `train_controlnet.py`.

    python -m bench.step                       this one as well, at a fifth of Stable Diffusion's width
    python -m bench.step --real                at its real width (1.5, 256 px, batch 1: 12 GB of memory)

The example itself cannot be imported (it wants torchvision); `Script.step` does what its loop does, call by call: VAE
and text encoder at every step, channels first, the plain AdamW. Ours has moments and text states kept, channels
last and the fused AdamW. Both hold the same weights and see the same noise, so that their gradients can be compared.
"""

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from underdraw.model import Control, Moments, Process, Text, build, predict
from underdraw.training.precision import channels_last, use_float32_attention
from underdraw.training.probe import Probe

TOKENS = 77


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
        for part in (self.unet, self.vae, self.text):
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

    @torch.no_grad()
    def __init__(self, script: Script, seen: Inputs) -> None:
        moments = script.vae.encode(seen.pictures.to(script.dtype)).latent_dist
        scale = script.vae.config.scaling_factor
        self.moments = Moments(moments.mean.float() * scale, moments.std.float() * scale)
        self.states = Text(script.text(seen.tokens)[0].float())
        self.process = Process.from_config(script.scheduler.config)
        self.half = script.dtype == torch.bfloat16
        self.unet = copy.deepcopy(script.unet).float()
        self.net = build(self.unet, 8)
        self.net.branch.load_state_dict(script.net.state_dict())
        for part in (self.unet, self.net):
            if self.half:
                use_float32_attention(part)
            channels_last(part)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=5e-6, weight_decay=1e-2, fused=True)

    def gradients(self, seen: Inputs) -> None:
        """Everything of a step before the optimizer."""
        noisy = self.process.add_noise(self.moments.sample(seen.spread), seen.noise, seen.timestep)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            prediction = predict(self.unet, noisy, seen.timestep, self.states, (Control(self.net, seen.maps),))
        functional.mse_loss(prediction.float(), seen.noise).backward()

    def step(self, seen: Inputs) -> None:
        """A whole one."""
        self.gradients(seen)
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def compare(real: bool, dtype: torch.dtype, rounds: int) -> None:
    """Print both sides' seconds and bytes, the ratio, and how far their gradients are apart."""
    shape = REAL if real else REDUCED
    seen = Inputs(shape)
    script = Script(shape, dtype)
    ours = Ours(script, seen)
    apart = _apart(script, ours, seen)
    sides: dict[str, Any] = {"train_controlnet.py": script, "underdraw": ours}
    bytes_held = {name: _most(lambda side=side: side.step(seen)) for name, side in sides.items()}  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            begun = time.perf_counter()
            sides[name].step(seen)
            seconds[name].append(time.perf_counter() - begun)
    _report(shape, dtype, seconds, bytes_held)
    print(f"the gradients differ by {apart:.1e} of the largest")


def _apart(script: Script, ours: Ours, seen: Inputs) -> float:
    """The largest difference between the first step's gradients, as a share of the largest gradient."""
    script.gradients(seen)
    ours.gradients(seen)
    pairs = [(each.grad, ours.net.get_parameter(f"branch.{name}").grad) for name, each in script.net.named_parameters()]
    found = [(one, two) for one, two in pairs if one is not None and two is not None]
    largest = max(float(one.abs().max()) for one, _ in found)
    difference = max(float((one - two).abs().max()) for one, two in found)
    script.optimizer.zero_grad()
    ours.optimizer.zero_grad()
    return difference / largest


def _most(step: Callable[[], None]) -> int:
    """Bytes that a step makes and holds at most beside the weights; optimizer states are there from the first on."""
    step()
    probe = Probe()
    with probe, probe.peaking() as peak:
        step()
    return peak()


def _report(shape: Shape, dtype: torch.dtype, seconds: Mapping[str, list[float]], held: Mapping[str, int]) -> None:
    kind = str(dtype).removeprefix("torch.")
    table = Table(title=f"a training step: {shape.unet[0]} channels, {shape.side} px, batch {shape.batch}, {kind}")
    for column in ("step", "ms", "faster", "MB beside weights", "of it"):
        table.add_column(column, justify="left" if column == "step" else "right")
    theirs, most = statistics.median(seconds["train_controlnet.py"]), held["train_controlnet.py"]
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        row = (f"{1e3 * middle:.0f}", f"{theirs / middle:.2f} ×", f"{held[name] / 1e6:.0f}", f"{held[name] / most:.2f}")
        table.add_row(name, *row)
    Console(width=100).print(table)
