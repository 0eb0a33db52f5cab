"""The locked text-to-image model as one frozen value: VAE, U-Net, text encoders, and the noise process.

Pictures are B×3×H×W, RGB, float, in [0, 1]; [-1, 1] exists only in here, around the VAE. Samples (latents) are in the
U-Net's units: the VAE's scaling factor is applied here and nowhere else. In pixel space there is no VAE and the factor
is 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor

from underdraw.errors import CheckpointError, ConfigError, InputError
from underdraw.model.folders import load_model, load_tokenizer, read_json
from underdraw.model.process import Process
from underdraw.model.prompts import Prompt, encode
from underdraw.model.text import Text
from underdraw.model.trunk import check


@dataclass(frozen=True, eq=False)
class Moments:
    """What the VAE says of a picture: a mean and a deviation for each latent value, B×C×h×w, in the U-Net's units."""

    mean: Tensor
    deviation: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """A latent drawn with standard normal `noise` of the same shape; `mean` is the most likely one."""
        return self.mean + self.deviation * noise


@dataclass(frozen=True, eq=False)
class Backbone:
    """A locked model: `Backbone.load` reads one.

    unet: any U-Net that `trunk` understands. vae: None in pixel space. text_encoders, tokenizers: none, one (SD 1.x,
    2.x) or two (SDXL). scheduler: the scheduler's config as diffusers writes it. zero_empty: whether this model was
    trained with zeros for "no prompt" (SDXL) instead of the encoded empty string.
    """

    unet: Any
    process: Process
    vae: Any = None
    text_encoders: tuple[Any, ...] = ()
    tokenizers: tuple[Any, ...] = ()
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    zero_empty: bool = False

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Self:
        """The model in a diffusers-layout folder (SD 1.x, 2.x, SDXL, pixel-space DDPM), all of it locked.

        Reads safetensors only. Raises CheckpointError naming the file at fault, ConfigError for what does not fit.
        """
        root = Path(folder)
        index = _index(root)
        scheduler = read_json(root / "scheduler" / "scheduler_config.json")
        encoders = [name for name in ("text_encoder", "text_encoder_2") if name in index]
        backbone = cls(
            unet=_load(root / "unet", "diffusion_pytorch_model", dtype).to(device),
            process=Process.from_config(scheduler),
            vae=_load(root / "vae", "diffusion_pytorch_model", dtype).to(device) if "vae" in index else None,
            text_encoders=tuple(_load(root / name, "model", dtype).to(device) for name in encoders),
            tokenizers=tuple(load_tokenizer(root / name.replace("text_encoder", "tokenizer")) for name in encoders),
            scheduler=scheduler,
            zero_empty=bool(index.get("force_zeros_for_empty_prompt", False)),
        )
        check(backbone.unet)
        return backbone

    @property
    def factor(self) -> int:
        """How many pixels, each way, one latent value stands for: 8 in Stable Diffusion, 1 in pixel space."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def device(self) -> torch.device:
        """Where the U-Net is."""
        return cast(torch.device, self.unet.conv_in.weight.device)

    @property
    def dtype(self) -> torch.dtype:
        """The U-Net's precision."""
        return cast(torch.dtype, self.unet.conv_in.weight.dtype)

    def encode_text(self, prompts: Sequence[str]) -> Text:
        """The prompts, word for word, as the U-Net hears them; what goes beyond the encoder's length is cut off.

        That is 77 tokens in CLIP, its first and last included. For SDXL tell sizes with `text.sized(width, height)`.
        """
        return self.hear([Prompt.literal(prompt) for prompt in prompts])

    def hear(self, prompts: Sequence[Prompt], clip_skip: int = 1) -> Text:
        """Prompts with weights, learned words and any length; see `prompts.encode` for `clip_skip`, layers and errors.

        Raises ConfigError for a base without a text encoder, InputError where there is no prompt.
        """
        if not self.text_encoders:
            raise ConfigError("this base has no text encoder; leave the prompt out")
        if not prompts:
            raise InputError("there is no prompt to encode; give at least one (it may be empty)")
        return encode(self.text_encoders, self.tokenizers, prompts, clip_skip)

    def empty_text(self, count: int = 1) -> Text:
        """`count` times no prompt, as guidance and prompt dropout want it."""
        text = self.encode_text([""] * count)
        if not self.zero_empty:
            return text
        return Text(torch.zeros_like(text.states), None if text.pooled is None else torch.zeros_like(text.pooled))

    def encode_picture(self, pictures: Tensor) -> Moments:
        """The latent moments of pictures B×3×H×W in [0, 1]; H and W are multiples of the factor.

        In pixel space the mean is the picture in [-1, 1] and the deviation 0.
        """
        if any(side % self.factor for side in pictures.shape[2:]):
            height, width = pictures.shape[2:]
            raise InputError(f"a picture of {width}×{height} does not divide by {self.factor}; crop or resize it")
        if self.vae is None:
            return Moments(2 * pictures - 1, torch.zeros_like(pictures))
        shift, scale = self._latent_units()
        latent = self.vae.encode((2 * pictures - 1).to(self.vae.dtype)).latent_dist
        return Moments((latent.mean - shift) * scale, latent.std * scale)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """The pictures B×3×H×W in [0, 1] of samples B×C×h×w; differentiable."""
        if self.vae is not None:
            shift, scale = self._latent_units()
            latents = self.vae.decode(latents.to(self.vae.dtype) / scale + shift).sample
        return (latents * 0.5 + 0.5).clamp(0, 1)

    def _latent_units(self) -> tuple[Tensor | float, Tensor | float]:
        """Shift and scale between what the VAE gives and what the U-Net takes: (z - shift) · scale."""
        config = self.vae.config
        mean, deviation = config.get("latents_mean"), config.get("latents_std")
        if mean is None or deviation is None:
            return config.get("shift_factor") or 0.0, config.scaling_factor
        each = {"device": self.vae.device, "dtype": self.vae.dtype}
        mean, deviation = (torch.tensor(values, **each).reshape(1, -1, 1, 1) for values in (mean, deviation))
        return mean, config.scaling_factor / deviation


def _index(root: Path) -> dict[str, Any]:
    """The components that model_index.json lists. Raises CheckpointError for models that aren't a U-Net with CLIP."""
    if root.is_file():
        raise CheckpointError(f"{root} is a file; give a folder in diffusers layout (model_index.json, unet/, vae/, …)")
    index = {name: entry for name, entry in read_json(root / "model_index.json").items() if entry != [None, None]}
    for name in ("transformer", "text_encoder_3"):
        if name in index:
            raise CheckpointError(f"{root} has a {name}, which is not supported; use a Stable Diffusion 1.x, 2.x or XL")
    if "unet" not in index:
        raise CheckpointError(f"{root / 'model_index.json'} lists no unet; use a Stable Diffusion 1.x, 2.x or XL")
    return index


def _load(folder: Path, stem: str, dtype: torch.dtype) -> Any:
    config = read_json(folder / "config.json")
    name = config.get("_class_name") or next(iter(config.get("architectures") or ()), None)
    known = _classes()
    if name not in known:
        raise CheckpointError(f"{folder} holds a {name}, which is not supported; there is {', '.join(sorted(known))}")
    for key in ("scaling_factor", "shift_factor", "sample_size"):
        if not isinstance(config.get(key), int | float | list | None):
            raise CheckpointError(f"{folder / 'config.json'}: {key} = {config[key]!r} is no number; copy it again")
    # Many VAEs overflow in half precision and draw black pictures; those that say so stay in float32.
    upcast = name == "AutoencoderKL" and dtype == torch.float16 and config.get("force_upcast", True)
    return load_model(known[name], folder, stem, torch.float32 if upcast else dtype)


def _classes() -> dict[str, Any]:
    from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    kinds = (AutoencoderKL, UNet2DConditionModel, UNet2DModel, CLIPTextModel, CLIPTextModelWithProjection)
    return {kind.__name__: kind for kind in kinds}
