"""The backbone: folders in diffusers layout, text, and pictures in [0, 1]."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMPipeline, DDPMScheduler
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.models.clip.tokenization_clip import CLIPTokenizer as Tokenizer

from underdraw.errors import CheckpointError, ConfigError, InputError
from underdraw.model import Backbone, predict

PROMPTS = ["a red mushroom, 3d sticker", "", "a lamp " * 40]
WIDTHS = {"sd15": (48,), "sdxl": (32, 64)}


def tokenizer() -> Any:
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return Tokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77)


def text_encoder(width: int, projected: bool, length: int = 77) -> Any:
    torch.manual_seed(width)
    config = CLIPTextConfig(
        vocab_size=190,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=length,
        projection_dim=32,
        bos_token_id=188,
        eos_token_id=189,
        pad_token_id=189,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def vae(**settings: Any) -> Any:
    torch.manual_seed(3)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(block_out_channels=(8, 8, 8, 8), norm_num_groups=4, **kinds, **settings).eval()


def write_folder(models: Any, root: Path, family: str, **vae_settings: Any) -> Path:
    """A whole model as diffusers' save_pretrained lays it out."""
    index: dict[str, Any] = {"_class_name": "AnyPipeline", "safety_checker": [None, None], "unet": ["diffusers", "x"]}
    models.unet(family).save_pretrained(root / "unet")
    (DDPMScheduler if family == "pixels" else DDIMScheduler)().save_pretrained(root / "scheduler")
    if family != "pixels":
        vae(**vae_settings).save_pretrained(root / "vae")
        index["vae"] = ["diffusers", "AutoencoderKL"]
    for number, width in enumerate(WIDTHS.get(family, ())):
        mark = "_2" if number else ""
        text_encoder(width, projected=number > 0).save_pretrained(root / f"text_encoder{mark}")
        tokenizer().save_pretrained(root / f"tokenizer{mark}")
        index |= {f"text_encoder{mark}": ["transformers", "x"], f"tokenizer{mark}": ["transformers", "x"]}
    index["force_zeros_for_empty_prompt"] = family == "sdxl"
    (root / "model_index.json").write_text(json.dumps(index))
    return root


@pytest.fixture(scope="module")
def folder(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(models, tmp_path_factory.mktemp("base") / "sd15", "sd15")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folder_is_read_locked(folder: Path, models: Any, dtype: torch.dtype) -> None:
    backbone = Backbone.load(folder, dtype=dtype)
    stock = models.unet("sd15")
    assert all(
        torch.equal(ours, stock.state_dict()[name].to(dtype)) for name, ours in backbone.unet.state_dict().items()
    )
    for module in (backbone.unet, backbone.vae, *backbone.text_encoders):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert {parameter.dtype for parameter in module.parameters()} == {dtype}
    assert (backbone.factor, backbone.dtype, backbone.device.type) == (8, dtype, "cpu")
    assert backbone.process.prediction == "epsilon"
    assert backbone.scheduler["num_train_timesteps"] == 1000


def test_text_is_that_of_stable_diffusion(folder: Path) -> None:
    backbone = Backbone.load(folder)
    text = backbone.encode_text(PROMPTS)
    tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer")(
        PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    assert text.states.shape == (3, 77, 48)
    assert_close(text.states, text_encoder(48, projected=False)(tokens.input_ids)[0])
    assert text.pooled is None
    assert torch.equal(backbone.empty_text(2).states, backbone.encode_text(["", ""]).states)
    assert predict(backbone.unet, torch.randn(3, 4, 8, 8), 10, text).isfinite().all()


def test_text_is_that_of_stable_diffusion_xl(models: Any, tmp_path: Path) -> None:
    backbone = Backbone.load(write_folder(models, tmp_path / "sdxl", "sdxl"))
    text = backbone.encode_text(PROMPTS)
    ids = backbone.tokenizers[0](PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    first, second = (
        text_encoder(width, projected)(ids.input_ids, output_hidden_states=True)
        for width, projected in ((32, False), (64, True))
    )
    assert_close(text.states, torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1))
    assert text.pooled is not None
    assert_close(text.pooled, second.text_embeds)
    empty = backbone.empty_text(2)
    assert empty.pooled is not None
    assert not empty.states.any()
    assert not empty.pooled.any()
    prediction = predict(backbone.unet, torch.randn(3, 4, 8, 8), 10, text.sized(64, 64))
    assert prediction.isfinite().all()


def test_an_encoder_in_the_layout_of_old_files_is_read(copied: Path) -> None:
    """SD 1.5's published text encoder: keys under `text_model.`, and position_ids that no model needs."""
    expected = Backbone.load(copied).encode_text(PROMPTS).states
    path = copied / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, path, metadata={"format": "pt"})
    assert torch.equal(Backbone.load(copied).encode_text(PROMPTS).states, expected)


def test_pictures_are_in_0_1_and_latents_in_the_units_of_the_unet(folder: Path) -> None:
    backbone, stock = Backbone.load(folder), vae()
    pictures = torch.rand(2, 3, 32, 48)
    moments = backbone.encode_picture(pictures)
    latent = stock.encode(2 * pictures - 1).latent_dist
    noise = torch.randn(2, 4, 4, 6)
    assert_close(moments.mean, latent.mean * 0.18215)
    assert_close(moments.sample(noise), (latent.mean + latent.std * noise) * 0.18215)
    decoded = backbone.decode_latents(moments.mean)
    assert_close(decoded, (stock.decode(latent.mean).sample / 2 + 0.5).clamp(0, 1))
    assert decoded.dtype == torch.float32
    assert 0 <= decoded.min() <= decoded.max() <= 1


def test_latents_with_a_mean_and_deviation_of_their_own(models: Any, tmp_path: Path) -> None:
    settings = {"latents_mean": (0.1, 0.2, 0.3, 0.4), "latents_std": (1.0, 2.0, 3.0, 4.0), "scaling_factor": 0.5}
    backbone = Backbone.load(write_folder(models, tmp_path, "sd15", **settings))
    pictures = torch.rand(1, 3, 16, 16)
    mean, deviation = (torch.tensor(settings[name]).reshape(1, 4, 1, 1) for name in ("latents_mean", "latents_std"))
    raw = vae().encode(2 * pictures - 1).latent_dist.mean
    latents = backbone.encode_picture(pictures).mean
    assert_close(latents, (raw - mean) * 0.5 / deviation)
    assert_close(backbone.decode_latents(latents), (vae().decode(raw).sample / 2 + 0.5).clamp(0, 1))


def test_decoding_is_differentiable(folder: Path) -> None:
    latents = torch.zeros(1, 4, 4, 4, requires_grad=True)
    torch.autograd.backward(Backbone.load(folder).decode_latents(latents).sum())
    assert latents.grad is not None
    assert latents.grad.any()


def test_pixel_space_has_no_vae_and_no_text(models: Any, tmp_path: Path) -> None:
    DDPMPipeline(models.unet("pixels"), DDPMScheduler(beta_schedule="squaredcos_cap_v2")).save_pretrained(tmp_path)
    backbone, pictures = Backbone.load(tmp_path), torch.rand(2, 3, 16, 16)
    moments = backbone.encode_picture(pictures)
    assert (backbone.factor, backbone.vae, len(backbone.process)) == (1, None, 1000)
    assert torch.equal(moments.mean, 2 * pictures - 1)
    assert_close(backbone.decode_latents(moments.sample(torch.randn(2, 3, 16, 16))), pictures)
    with pytest.raises(ConfigError, match="no text encoder"):
        backbone.encode_text(["a cat"])


def test_shards_and_variants(folder: Path, models: Any, tmp_path: Path) -> None:
    models.unet("sd15").save_pretrained(tmp_path / "unet", max_shard_size="1MB")
    vae().half().save_pretrained(tmp_path / "vae", variant="fp16")
    for name in ("scheduler", "text_encoder", "tokenizer"):
        shutil.copytree(folder / name, tmp_path / name)
    shutil.copy(folder / "model_index.json", tmp_path)
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 2
    backbone, whole = Backbone.load(tmp_path), Backbone.load(folder)
    assert all(torch.equal(backbone.unet.state_dict()[name], each) for name, each in whole.unet.state_dict().items())
    assert torch.equal(backbone.vae.encoder.conv_in.weight, whole.vae.half().float().encoder.conv_in.weight)
    sorted((tmp_path / "unet").glob("*.safetensors"))[1].unlink()
    with pytest.raises(CheckpointError, match=r"00002-of-.*safetensors is missing"):
        Backbone.load(tmp_path)


def test_a_vae_that_overflows_stays_in_float32(folder: Path) -> None:
    backbone = Backbone.load(folder, dtype=torch.float16)
    assert (backbone.vae.dtype, backbone.dtype) == (torch.float32, torch.float16)
    assert backbone.decode_latents(torch.zeros(1, 4, 2, 2, dtype=torch.float16)).dtype == torch.float32


def drop(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
        "text_encoder/model.safetensors",
        "tokenizer",
    ],
)
def test_what_is_missing_is_named(copied: Path, name: str) -> None:
    drop(copied / name)
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        Backbone.load(copied)


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_what_is_truncated_is_named(copied: Path, name: str) -> None:
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data[:-1000])
    with pytest.raises(CheckpointError, match=f"{name} is truncated"):
        Backbone.load(copied)


@pytest.mark.parametrize(
    ("component", "stem"),
    [("unet", "diffusion_pytorch_model"), ("text_encoder", "model"), ("vae", "diffusion_pytorch_model")],
)
def test_weights_of_another_model_are_refused(copied: Path, component: str, stem: str) -> None:
    path = copied / component / f"{stem}.safetensors"
    tensors = load_file(path)
    first = min(tensors)
    save_file({name: each for name, each in tensors.items() if name != first}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 tensors"):
        Backbone.load(copied)
    save_file(tensors | {first: torch.zeros(3, 3, 3)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=component):
        Backbone.load(copied)


def test_pickles_are_refused(copied: Path) -> None:
    (copied / "unet" / "diffusion_pytorch_model.safetensors").rename(copied / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickle"):
        Backbone.load(copied)


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values", "error", "message"),
    [
        ("model_index.json", {"transformer": ["diffusers", "FluxTransformer2DModel"]}, CheckpointError, "transformer"),
        ("model_index.json", {"unet": [None, None]}, CheckpointError, "no unet"),
        ("vae/config.json", {"_class_name": "AutoencoderTiny"}, CheckpointError, "AutoencoderTiny"),
        ("text_encoder/config.json", {"architectures": ["T5EncoderModel"]}, CheckpointError, "T5EncoderModel"),
        ("unet/config.json", {"center_input_sample": True}, ConfigError, "center_input_sample"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, ConfigError, "sigmoid"),
    ],
)
def test_what_does_not_fit_is_named(
    copied: Path, file: str, values: dict[str, Any], error: type[Exception], message: str
) -> None:
    edit(copied / file, **values)
    with pytest.raises(error, match=message):
        Backbone.load(copied)


def test_other_mistakes(folder: Path, tmp_path: Path) -> None:
    single = tmp_path / "model.safetensors"
    single.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a file"):
        Backbone.load(single)
    with pytest.raises(CheckpointError, match=r"nowhere/model_index\.json is missing"):
        Backbone.load(tmp_path / "nowhere")
    backbone = Backbone.load(folder)
    with pytest.raises(InputError, match="50×32 does not divide by 8"):
        backbone.encode_picture(torch.zeros(1, 3, 32, 50))
    with pytest.raises(InputError, match="at least one"):
        backbone.encode_text([])
