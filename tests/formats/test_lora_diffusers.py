"""diffusers' loaders accept the LoRAs that are written here, and draw the same with them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.utils import convert_state_dict_to_diffusers
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from underdraw.formats.lora import load_lora, read_lora, write_lora
from underdraw.generation import draw, finish
from underdraw.generation.sampler import start
from underdraw.model import TARGETS, Backbone, Control, Lora, LoraConfig, attach, build_lora, load_control, predict
from underdraw.model.adapters import LowRank
from underdraw.model.lora import parts

from ..generation.conftest import TINY_TEXT, tiny_base, tiny_scheduler, tiny_tokenizer, tiny_vae

peft: Any = pytest.importorskip("peft")

PROMPTS, SEEDS, SIZE = ["a red mushroom", "红色蘑菇"], [3, 4], (32, 32)
PLAIN: dict[str, Any] = {"rank": 4, "alpha": 2.0, "targets": TARGETS.names()}
MIXED: dict[str, Any] = PLAIN | {"ranks": {"resnets": 2, "attn2": 3}, "alphas": {"attn1": 1.0, "self_attn": 6.0}}


@pytest.fixture(scope="module")
def folders(models: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    first, second = ({"projection_dim": 32, **TINY_TEXT, "hidden_size": width} for width in (32, 64))
    StableDiffusionXLPipeline(
        tiny_vae(),
        CLIPTextModel(CLIPTextConfig(**first)),
        CLIPTextModelWithProjection(CLIPTextConfig(**second)),
        tiny_tokenizer(),
        tiny_tokenizer(),
        models.unet("sdxl"),
        tiny_scheduler(),
        add_watermarker=False,
    ).save_pretrained(root / "xl")
    return {"sd": tiny_base(root / "sd"), "xl": root / "xl"}


def trained(backbone: Backbone, **config: Any) -> Lora:
    """A LoRA whose B is not zero, of the U-Net and all text encoders if not told otherwise."""
    torch.manual_seed(1)
    lora = build_lora(backbone, LoraConfig(**{"parts": [*parts(backbone)]} | config))
    for adapter in lora.adapters.values():
        nn.init.normal_(adapter.get_parameter("up"), std=0.2)
    return lora.requires_grad_(False)


def ours(backbone: Backbone) -> Tensor:
    return finish(backbone, draw(backbone, PROMPTS, SEEDS, SIZE, steps=3, scheduler="ddim", guidance=4.0))


def theirs(folder: Path, backbone: Backbone, path: Path, weight: float | None = None) -> Tensor:
    """The pictures of diffusers' pipeline under the LoRA in a file."""
    kind = StableDiffusionXLPipeline if folder.name == "xl" else StableDiffusionPipeline
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name="mine")
    if weight is not None:
        pipeline.set_adapters(["mine"], [weight])
    latents, generators = start(backbone, SIZE, SEEDS)
    size = {"width": SIZE[0], "height": SIZE[1]}
    shared: Any = {"num_inference_steps": 3, "guidance_scale": 4.0, "latents": latents, "generator": generators}
    negative = {} if folder.name == "xl" else {"negative_prompt": ["", ""]}
    pictures: Tensor = pipeline(PROMPTS, output_type="pt", **size, **shared, **negative).images
    return pictures


@pytest.fixture(params=["sd", "xl"])
def family(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_load_lora_weights_draws_the_same(folders: dict[str, Path], family: str, layout: str, tmp_path: Path) -> None:
    folder = folders[family]
    backbone = Backbone.load(folder)
    silent, path = ours(backbone), tmp_path / "lora.safetensors"
    write_lora(trained(backbone, **PLAIN), path, layout)
    with attach(backbone, load_lora(path, backbone)):
        drawn = ours(backbone)
    assert (drawn - silent).abs().mean() > 1e-2, "the LoRA must be heard"
    assert (drawn - theirs(folder, backbone, path)).abs().max() < 1e-4


def test_a_weight_is_a_weight(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    folder = folders[family]
    backbone, path = Backbone.load(folder), tmp_path / "lora.safetensors"
    write_lora(trained(backbone, **PLAIN), path, "diffusers")
    with attach(backbone, load_lora(path, backbone), 0.4):
        drawn = ours(backbone)
    assert (drawn - theirs(folder, backbone, path, 0.4)).abs().max() < 1e-4


def test_ranks_and_alphas_by_layer(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    """diffusers' layout tells it every α; from kohya's it only takes the commonest one (its own limit)."""
    folder = folders[family]
    backbone, path = Backbone.load(folder), tmp_path / "lora.safetensors"
    lora = trained(backbone, **MIXED)
    write_lora(lora, path, "diffusers")
    with attach(backbone, lora):
        drawn = ours(backbone)
    with attach(backbone, load_lora(path, backbone)):
        assert torch.equal(ours(backbone), drawn)
    assert (drawn - theirs(folder, backbone, path)).abs().max() < 1e-4


def test_dora(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    """In the U-Net; transformers' loader for text encoders (5.23) does not know magnitudes by the name they have."""
    folder = folders[family]
    backbone, path = Backbone.load(folder), tmp_path / "lora.safetensors"
    plain = trained(backbone, parts=["unet"], rank=4, targets=["attention", "convolutions"])
    draws = torch.Generator().manual_seed(0)
    adapters = {}
    for address, adapter in plain.adapters.items():
        out, *inner = adapter.shape()
        magnitude = 0.5 + torch.rand(out, *[1] * len(inner), generator=draws)
        adapters[address] = LowRank(adapter.factors() | {"magnitude": magnitude})
    write_lora(Lora(adapters), path, "diffusers")
    with attach(backbone, load_lora(path, backbone)):
        drawn = ours(backbone)
    assert (drawn - theirs(folder, backbone, path)).abs().max() < 1e-4


def test_what_diffusers_writes_is_read(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    """`save_lora_weights` of peft's adapters, with their metadata; and its own way to kohya's names."""
    folder = folders[family]
    kind = StableDiffusionXLPipeline if family == "xl" else StableDiffusionPipeline
    pipeline = kind.from_pretrained(folder)
    torch.manual_seed(2)
    targets = ["to_k", "to_q", "to_v", "to_out.0", "conv1"]
    settings: dict[str, Any] = {"init_lora_weights": False, "lora_alpha": 3}
    pipeline.unet.add_adapter(peft.LoraConfig(r=4, target_modules=targets, alpha_pattern={"to_q": 8}, **settings))
    pipeline.text_encoder.add_adapter(peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **settings))
    kind.save_lora_weights(
        tmp_path,
        unet_lora_layers=peft.get_peft_model_state_dict(pipeline.unet),
        text_encoder_lora_layers=convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(pipeline.text_encoder)),
        **{
            f"{part}_lora_adapter_metadata": vars(getattr(pipeline, part).peft_config["default"])
            | {"peft_type": "LORA", "runtime_config": None}
            for part in ("unet", "text_encoder")
        },
    )
    path = tmp_path / "pytorch_lora_weights.safetensors"
    backbone = Backbone.load(folder)
    with attach(backbone, load_lora(path, backbone)):
        drawn = ours(backbone)
    pipeline.set_progress_bar_config(disable=True)
    latents, generators = start(backbone, SIZE, SEEDS)
    negative = {} if family == "xl" else {"negative_prompt": ["", ""]}
    shared: Any = {"num_inference_steps": 3, "guidance_scale": 4.0, "latents": latents, "generator": generators}
    expected = pipeline(PROMPTS, output_type="pt", width=SIZE[0], height=SIZE[1], **shared, **negative).images
    assert (drawn - expected).abs().max() < 1e-4


def test_kohya_from_diffusers_own_converter(folders: dict[str, Path], tmp_path: Path) -> None:
    backbone = Backbone.load(folders["sd"])
    lora = trained(backbone, rank=4)
    write_lora(lora, tmp_path / "a.safetensors", "diffusers")
    converted = convert_state_dict_to_kohya(load_file(tmp_path / "a.safetensors"))
    save_file({key: tensor.contiguous() for key, tensor in converted.items()}, tmp_path / "b.safetensors")
    read = read_lora(tmp_path / "b.safetensors").lora
    assert {name: each.scale for name, each in read.adapters.items()} == dict.fromkeys(lora.adapters, 1.0)


def test_a_lora_inside_a_controlnet(folders: dict[str, Path], tmp_path: Path) -> None:
    folder, path = folders["sd"] / "controlnet-canny", tmp_path / "lora.safetensors"
    backbone = Backbone.load(folders["sd"])
    net = load_control(folder, backbone.unet)
    torch.manual_seed(1)
    lora = build_lora(net, LoraConfig(parts=["control"], targets=["attention", "convolutions"], alpha=4.0))
    for adapter in lora.adapters.values():
        nn.init.normal_(adapter.get_parameter("up"), std=0.2)
    write_lora(lora, path, "diffusers")
    model = ControlNetModel.from_pretrained(folder)
    model.load_lora_adapter(path.parent, weight_name=path.name, prefix="control")
    generator = torch.Generator().manual_seed(0)
    sample, condition = torch.randn(2, 4, 8, 8, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)
    text, timestep = backbone.encode_text(PROMPTS), torch.tensor([5, 700])
    with torch.no_grad(), attach(net, load_lora(path, net)):
        signals = net.branch(net.embed(condition), sample, timestep, text)
        down, middle = model(sample, timestep, text.states, condition, return_dict=False)
        for mine, expected in zip(signals.values(), [*down, middle], strict=True):
            assert (mine - expected).abs().max() < 1e-5
        heard = predict(backbone.unet, sample, timestep, text, [Control(net, condition)])
    with torch.no_grad():
        assert (heard - predict(backbone.unet, sample, timestep, text, [Control(net, condition)])).abs().max() > 1e-4
