"""Small models of the real shapes, for the tests of the heart and of its laws."""

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from underdraw.model import Text

# The models are tiny: a second thread would only wait for the first, and long where the machine is busy.
torch.set_num_threads(1)

SD15 = {"attention_head_dim": 8}
SD21 = {"use_linear_projection": True, "upcast_attention": True}
SDXL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}
PIXELS = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
}

NARROW: dict[str, dict[str, Any]] = {
    "sd15": SD15 | {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 48},
    "sd21": SD21
    | {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 64, "attention_head_dim": (2, 4, 4, 4)},
    "sdxl": SDXL
    | {
        "block_out_channels": (32, 64, 64),
        "cross_attention_dim": 96,
        "attention_head_dim": (2, 4, 4),
        "transformer_layers_per_block": (1, 1, 2),
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 32,
    },
    "pixels": PIXELS | {"block_out_channels": (32, 64)},
}
REAL: dict[str, dict[str, Any]] = {
    "sd15": SD15 | {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768},
    "sd21": SD21
    | {
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
    },
    "sdxl": SDXL
    | {
        "block_out_channels": (320, 640, 1280),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


class Models:
    """Randomly initialised U-Nets by family (sd15, sd21, sdxl, pixels), and inputs that fit them."""

    def config(self, family: str, real: bool = False) -> dict[str, Any]:
        return dict((REAL if real else NARROW)[family])

    def unet(self, family: str, seed: int = 0, real: bool = False) -> Any:
        torch.manual_seed(seed)
        kind = UNet2DModel if family == "pixels" else UNet2DConditionModel
        return kind(**self.config(family, real)).requires_grad_(False).eval()

    def factor(self, family: str) -> int:
        return 1 if family == "pixels" else 8

    def inputs(
        self, unet: Any, batch: int = 2, size: tuple[int, int] = (16, 8), seed: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor, Text | None]:
        """(sample, timestep, text)."""
        generator = torch.Generator().manual_seed(seed)
        sample = torch.randn(batch, unet.config.in_channels, *size, generator=generator)
        timestep = torch.randint(0, 1000, (batch,), generator=generator)
        if not isinstance(unet, UNet2DConditionModel):
            return sample, timestep, None
        text = Text(torch.randn(batch, 11, unet.config.cross_attention_dim, generator=generator))
        if unet.config.addition_embed_type is not None:
            width = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
            pooled = torch.randn(batch, width, generator=generator)
            text = Text(text.states, pooled).sized(8 * size[1], 8 * size[0])
        return sample, timestep, text

    def stock(self, unet: Any, sample: torch.Tensor, timestep: Any, text: Text | None, **extra: Any) -> torch.Tensor:
        """What diffusers' own forward gives."""
        if text is not None:
            extra |= {"encoder_hidden_states": text.states, "added_cond_kwargs": self.added(text)}
        prediction: torch.Tensor = unet(sample, timestep, **extra).sample
        return prediction

    def added(self, text: Text) -> dict[str, torch.Tensor] | None:
        if text.pooled is None or text.time_ids is None:
            return None
        return {"text_embeds": text.pooled, "time_ids": text.time_ids}

    def condition(self, family: str, batch: int = 2, size: tuple[int, int] = (16, 8), seed: int = 2) -> torch.Tensor:
        """Condition maps for samples of this size."""
        factor = self.factor(family)
        shape = (batch, 3, factor * size[0], factor * size[1])
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed))

    def awaken(self, net: torch.nn.Module, seed: int = 3) -> None:
        """Give every silent (all-zero) parameter some random values, as training would."""
        generator = torch.Generator().manual_seed(seed)
        for parameter in net.parameters():
            if not parameter.any():
                parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(scope="session")
def models() -> Models:
    return Models()
