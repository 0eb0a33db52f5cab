"""A tiny base with two ControlNets, a tiny CLIP, two tiny worlds and a tiny reader: all random, nothing trained."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from underdraw.annotators.readers import Reader, Shape, save_reader
from underdraw.data.folder import Record, write_folder
from underdraw.generation import Studio
from underdraw.training.clip import build_clip, learn_vocabulary
from underdraw.training.recipe import Clip

COLOURS = {"red": (0.8, 0.1, 0.1), "blue": (0.1, 0.2, 0.9), "green": (0.1, 0.7, 0.2), "yellow": (0.9, 0.8, 0.1)}
SIDE = 32
TOKENS = 48


def disc(place: int) -> Tensor:
    """1×H×W, white where a disc is."""
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    x, y, radius = 8 + 5 * place % 17, 9 + 3 * place % 13, 5 + place % 4
    return (((down - y) ** 2 + (across - x) ** 2) < radius**2)[None].float()


def records(kind: str, split: str, count: int) -> Iterator[Record]:
    """Coloured balls in a room with a depth map, or coloured stickers without."""
    for place in range(count):
        name = list(COLOURS)[place % 4]
        inside = disc(place)
        image = inside * torch.tensor(COLOURS[name]).view(3, 1, 1) + (1 - inside) * (0.2 + 0.03 * place)
        known: dict[str, object] = {"split": split}
        if kind == "rooms":
            known |= {"wall_colour": "grey", "objects": [{"kind": "ball", "colour": name}]}
            yield Record(f"room-{split}-{place}", image, f"a {name} ball in a room", {"depth": 0.8 * inside}, known)
        else:
            thing = ("mushroom", "fish", "house")[place % 3]
            known |= {"concept": thing, "name_en": thing, "colour": name}
            yield Record(f"sticker-{split}-{place}", image, f"a {name} {thing}, sticker", {}, known)


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders `rooms` and `stickers`, 12 pictures of the report split and 4 of train in each."""
    root = tmp_path_factory.mktemp("worlds")
    for kind in ("rooms", "stickers"):
        for _ in write_folder(root / kind, [*records(kind, "train", 4), *records(kind, "report", 12)]):
            pass
    return [root / "rooms", root / "stickers"]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained CLIP in its folder."""
    folder, config = tmp_path_factory.mktemp("models") / "clip", Clip(vocabulary=512, width=16, layers=1, heads=2)
    torch.manual_seed(0)
    tokenizer = learn_vocabulary(["a red ball in a room", "a blue fish, sticker"], config)
    build_clip(config, tokenizer, SIDE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """A base for 32×32 pictures with controlnet-canny and controlnet-depth."""
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(1)
    tokenizer = CLIPTokenizer.from_pretrained(str(clip))
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    widths = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=TOKENS, **widths, **ends)
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=[8, 8, 16],
        norm_num_groups=4,
        scaling_factor=1.0,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[16, 32],
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=16,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    parts = (vae, CLIPTextModel(text), tokenizer, unet, scheduler, None, None)
    StableDiffusionPipeline(*parts, requires_safety_checker=False).save_pretrained(folder)
    for kind in ("canny", "depth"):
        net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16))
        for parameter in net.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3)
        net.save_pretrained(folder / f"controlnet-{kind}")
    return folder


@pytest.fixture(scope="session")
def studio(base: Path) -> Studio:
    return Studio.open(str(base), device="cpu")


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader of depth that was never trained."""
    path = tmp_path_factory.mktemp("models") / "depth.safetensors"
    torch.manual_seed(2)
    save_reader(Reader(Shape("depth", channels=(8, 16))), path)
    return path
