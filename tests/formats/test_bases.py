"""Bases: one file or a folder, the same tensors; nothing unaccounted for; what is broken is named in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from underdraw.errors import CheckpointError, ConfigError
from underdraw.formats.base_writing import write_base_file, write_base_folder
from underdraw.formats.bases import read_base
from underdraw.formats.families import FAMILIES, UNET, VAE, pipeline_name
from underdraw.formats.opening import open_base, predicts_noise
from underdraw.formats.places import locate_base
from underdraw.formats.reading import open_tensors
from underdraw.formats.vae_names import vae_to_original
from underdraw.model import Backbone, predict

from .tiny import HOME, base, parts, same, vae

KINDS = list(FAMILIES)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each family a single file, and beside it a folder of the same name."""
    root = tmp_path_factory.mktemp("bases")
    for family in KINDS:
        write_base_file(parts(family), root / f"{family}.safetensors")
        write_base_folder(parts(family), root / family)
    return {family: root / f"{family}.safetensors" for family in KINDS}


def modules(backbone: Backbone) -> tuple[Any, ...]:
    return backbone.unet, backbone.vae, *backbone.text_encoders


def changed(path: Path, target: Path, change: Callable[[dict[str, Tensor]], Any], metadata: bool = True) -> Path:
    """The file with its tensors changed in place; without metadata it is a stranger's."""
    tensors = load_file(path)
    change(tensors)
    told = dict(open_tensors(path).metadata) if metadata else None
    save_file({name: each.contiguous() for name, each in tensors.items()}, target, told)
    return target


@pytest.mark.parametrize("family", KINDS)
def test_file_and_folder_are_one_model(files: dict[str, Path], family: str) -> None:
    """The same tensors, the same text, the same prediction, to the bit."""
    single, folder, stock = open_base(files[family]), open_base(files[family].with_suffix("")), base(family)
    for one, other, original in zip(modules(single), modules(folder), modules(stock), strict=True):
        assert same(one, other) and same(one, original)
        assert not any(parameter.requires_grad for parameter in one.parameters())
        assert not one.training
    heard = [each.encode_text(["a cat, 3d sticker", ""]) for each in (single, folder, stock)]
    assert all(torch.equal(heard[0].states, text.states) for text in heard)
    sample = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    texts = [text.sized(128, 128) if family == "sdxl" else text for text in heard]
    drawn = [predict(each.unet, sample, 10, text) for each, text in zip((single, folder, stock), texts, strict=True)]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    assert torch.equal(single.decode_latents(sample), folder.decode_latents(sample))
    assert single.zero_empty == folder.zero_empty == (family == "sdxl")
    assert single.vae.config.scaling_factor == stock.vae.config.scaling_factor
    assert single.tokenizers[-1].pad_token_id == folder.tokenizers[-1].pad_token_id == {"sd1": 49407}.get(family, 0)


@pytest.mark.parametrize("family", KINDS)
def test_there_and_back_to_the_byte(files: dict[str, Path], family: str, tmp_path: Path) -> None:
    """file → parts → file; file → folder → file."""
    write_base_file(read_base(files[family]), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == files[family].read_bytes()
    write_base_folder(read_base(files[family]), tmp_path / "folder")
    write_base_file(read_base(tmp_path / "folder"), tmp_path / "third.safetensors")
    first, third = load_file(files[family]), load_file(tmp_path / "third.safetensors")
    assert first.keys() == third.keys()
    assert all(torch.equal(first[name], third[name]) for name in first)


@pytest.mark.parametrize("family", KINDS)
def test_diffusers_reads_both(files: dict[str, Path], family: str) -> None:
    folder = files[family].with_suffix("")
    kind = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    expected = open_base(files[family])
    told = {"config": str(folder), "local_files_only": True, "torch_dtype": torch.float32}
    if family != "sdxl":
        told["safety_checker"] = None
    for pipeline in (
        kind.from_pretrained(folder, local_files_only=True),
        kind.from_single_file(str(files[family]), **told),
    ):
        assert same(pipeline.unet, expected.unet)
        assert same(pipeline.vae, expected.vae)
        assert same(pipeline.text_encoder, expected.text_encoders[0])
        if family == "sdxl":
            assert same(pipeline.text_encoder_2, expected.text_encoders[1])
        assert pipeline.scheduler.config.beta_end == 0.012
    alone = UNet2DConditionModel.from_single_file(str(files[family]), config=str(folder / "unet"))
    assert same(alone, expected.unet)
    assert same(AutoencoderKL.from_single_file(str(files[family]), config=str(folder / "vae")), expected.vae)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_wanted_precision(files: dict[str, Path], dtype: torch.dtype) -> None:
    backbone, stock = open_base(files["sd1"], dtype=dtype), base("sd1")
    assert backbone.dtype == dtype
    assert torch.equal(backbone.unet.conv_in.weight, stock.unet.conv_in.weight.to(dtype))
    # Autoencoders overflow in half precision, so they stay as they are.
    assert backbone.vae.dtype == (torch.float32 if dtype == torch.float16 else dtype)


def test_a_file_in_another_precision(files: dict[str, Path], tmp_path: Path) -> None:
    write_base_file(read_base(files["sd1"]), tmp_path / "half.safetensors", torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * files["sd1"].stat().st_size
    assert {each.dtype for each in load_file(tmp_path / "half.safetensors").values()} == {torch.float16}
    stock = base("sd1")
    assert torch.equal(
        open_base(tmp_path / "half.safetensors").unet.conv_in.weight, stock.unet.conv_in.weight.half().float()
    )


def test_a_base_that_is_open_does_not_need_its_file(files: dict[str, Path], tmp_path: Path) -> None:
    path = changed(files["sd1"], tmp_path / "x.safetensors", lambda _: None)
    backbone = open_base(path)
    before = backbone.unet.conv_in.weight.clone()
    with path.open("r+b") as file:
        file.truncate(10)
    assert torch.equal(backbone.unet.conv_in.weight, before)


EXTRAS = {
    "model_ema.decay": torch.ones(1),
    "model_ema.diffusion_modelinput_blocks00weight": torch.ones(2),
    "alphas_cumprod": torch.ones(4),
    "betas": torch.ones(4),
    "sqrt_one_minus_alphas_cumprod": torch.ones(4),
    "first_stage_model.loss.logvar": torch.ones(1),
    "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
    "cond_stage_model.logit_scale": torch.ones(1),
    "control_model.zero_convs.0.0.weight": torch.ones(2),
    "cond_stage_model.transformer.text_projection.weight": torch.ones(2, 2),
    "cond_stage_model.transformer.text_model.something": torch.ones(2),
    "somebody.else": torch.ones(2),
    f"{UNET}input_blocks.1.9.weight": torch.ones(2),
}


def test_what_is_left_over_is_accounted_for(files: dict[str, Path], tmp_path: Path) -> None:
    """Every tensor of a base file is read, on the list of what nobody misses, or named as unknown."""
    path = changed(files["sd1"], tmp_path / "x.safetensors", lambda tensors: tensors.update(EXTRAS))
    report = read_base(path).report
    assert report.read == len(load_file(files["sd1"]))
    strange = "cond_stage_model.transformer.text_model.something"
    assert set(report.unknown) == {"somebody.else", f"{UNET}input_blocks.1.9.weight", strange}
    assert sum(report.ignored.values()) == len(EXTRAS) - 3
    assert report.read + sum(report.ignored.values()) + len(report.unknown) == len(load_file(path))
    assert report.ignored["a second copy of the weights (a moving average)"] == 2
    assert same(open_base(path).unet, base("sd1").unet)


def test_the_last_layer_that_nobody_hears(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SD 2's files have 24 layers of text encoder; what comes after the 23rd is left out, as everywhere."""
    tower = replace(FAMILIES["sd2"].towers[0], heard=2)
    monkeypatch.setitem(FAMILIES, "sd2", replace(FAMILIES["sd2"], towers=(tower,)))
    prefix = tower.prefix

    def change(tensors: dict[str, Tensor]) -> None:
        tensors[f"{prefix}text_projection"] = torch.ones(64, 64)
        tensors[f"{prefix}logit_scale"] = torch.ones(1)

    read = read_base(changed(files["sd2"], tmp_path / "x.safetensors", change))
    assert read.texts[0].config["num_hidden_layers"] == 2
    assert {name.split(".")[3] for name in read.texts[0].tensors if ".layers." in name} == {"0", "1"}
    assert read.report.ignored["a layer of the text encoder that nobody hears"] == 12
    assert not read.report.unknown


def test_clip_of_before_2023(files: dict[str, Path], tmp_path: Path) -> None:
    """Old leaks and merges leave out `text_model.`."""

    def shorten(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if ".text_model." in name]:
            tensors[name.replace(".text_model.", ".")] = tensors.pop(name)

    path = changed(files["sd1"], tmp_path / "x.safetensors", shorten)
    assert same(open_base(path).text_encoders[0], base("sd1").text_encoders[0])


@pytest.mark.parametrize(("family", "channels"), [("sd1", 9), ("sd1", 8), ("sd2", 9)])
def test_inpainting_and_instructing_bases(family: str, channels: int, tmp_path: Path) -> None:
    write_base_file(parts(family, in_channels=channels), tmp_path / "x.safetensors")
    opened = open_base(tmp_path / "x.safetensors")
    assert (opened.unet.config["in_channels"], opened.process.prediction) == (channels, "epsilon")
    kind = "Inpaint" if channels == 9 else "InstructPix2Pix"
    assert pipeline_name(FAMILIES[family], channels) == f"StableDiffusion{kind}Pipeline"
    assert pipeline_name(FAMILIES["sdxl"], channels) == f"StableDiffusionXL{kind}Pipeline"


def ask(path: Path) -> Any:
    return read_base(path).prediction


def test_what_a_base_predicts_is_told_by_its_file(files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    assert ask(files["sd2"]) == "epsilon"  # we wrote it
    strange = changed(files["sd1"], target, lambda _: None, metadata=False)
    assert ask(strange) == "epsilon"
    assert ask(changed(files["sd1"], target, lambda each: each.update(v_pred=torch.ones(0)))) == "v_prediction"
    save_file(load_file(files["sd1"]), target, {"modelspec.prediction_type": "v"})
    assert ask(target) == "v_prediction"
    strange = changed(files["sd1"], target, lambda _: None, metadata=False)
    (tmp_path / "x.yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert ask(strange) == "v_prediction"
    zero = changed(files["sd1"], target, lambda each: each.update(v_pred=torch.ones(0), ztsnr=torch.ones(0)))
    assert open_base(zero).process.alphas_cumprod[-1] == 0


def test_where_no_file_says_it_the_unet_is_asked() -> None:
    """A U-Net of SD 2's kind set up to give back its sample predicts noise; one that gives something else does not."""
    model = base("sd2")
    net, text = model.unet, model.empty_text()
    assert not predicts_noise(net, text)
    # Each channel goes in twice, once with the other sign; the first skip leads straight to the last convolution,
    # and there silu(x) - silu(-x) = x.
    sides = torch.cat([torch.eye(4), -torch.eye(4), torch.zeros(24, 4)])
    last, shortcut = net.up_blocks[-1].resnets[-1], net.up_blocks[-1].resnets[-1].conv_shortcut.weight
    silent = (last.conv2, net.up_blocks[-1].attentions[-1].proj_out, net.conv_in, net.conv_out)
    for module in (*silent, last.conv_shortcut):
        module.weight.zero_()
        module.bias.zero_()
    net.conv_in.weight[:, :, 1, 1] = sides
    shortcut[:, shortcut.shape[1] - 32 :, 0, 0] = torch.eye(32)
    net.conv_out.weight[:, :, 1, 1] = sides.T
    assert predicts_noise(net, text)
    net.conv_out.weight.neg_()
    assert not predicts_noise(net, text)


def test_a_stranger_of_sd2_is_asked_when_it_is_opened(files: dict[str, Path], tmp_path: Path) -> None:
    """Without metadata a narrow SD 2 can't say its heads, so its config is told here as a real one's would be."""
    said = {
        "unet": dict(read_base(files["sd2"]).unet.config),
        "vae": {"norm_num_groups": 4},
        "text_encoder_1": {"num_attention_heads": 4},
    }
    save_file(load_file(files["sd2"]), tmp_path / "x.safetensors", {"underdraw": json.dumps(said, default=list)})
    assert ask(tmp_path / "x.safetensors") is None
    assert open_base(tmp_path / "x.safetensors").process.prediction == "v_prediction"  # an untrained net echoes nothing
    assert open_base(tmp_path / "x.safetensors", prediction="epsilon").process.prediction == "epsilon"


def test_another_autoencoder(files: dict[str, Path], tmp_path: Path) -> None:
    """From a folder, a file of its own in either naming, with prefix or without, and from another base."""
    torch.manual_seed(9)
    other = vae()
    for parameter in other.parameters():
        parameter.data += 0.1
    other.save_pretrained(tmp_path / "folder")
    bare = vae_to_original(other.state_dict(), other.config, HOME)
    told = {"underdraw": '{"vae": {"norm_num_groups": 4}}'}
    save_file(bare | {"loss.x": torch.ones(1)}, tmp_path / "bare.safetensors", told)
    save_file({VAE + name: each for name, each in bare.items()}, tmp_path / "under.safetensors", told)
    save_file(other.state_dict(), tmp_path / "diffusers.safetensors", told)
    for name in ("folder", "bare.safetensors", "under.safetensors", "diffusers.safetensors"):
        backbone = open_base(files["sd1"], vae=tmp_path / name)
        assert same(backbone.vae, other), name
        assert same(backbone.unet, base("sd1").unet)
    assert same(open_base(files["sd1"], vae=files["sd2"]).vae, vae())
    assert open_base(files["sdxl"], vae=tmp_path / "bare.safetensors").vae.config.scaling_factor == 0.13025
    with pytest.raises(CheckpointError, match="holds no autoencoder"):
        write_only_unet = tmp_path / "unet.safetensors"
        save_file({name: each for name, each in load_file(files["sd1"]).items() if UNET in name}, write_only_unet)
        open_base(files["sd1"], vae=write_only_unet)


def test_the_embedded_base_has_words_of_its_own(tmp_path: Path) -> None:
    """A folder carries them; one file in the original layout can't."""
    read = read_base(locate_base("embedded"))
    write_base_folder(read, tmp_path / "copy")
    with pytest.raises(CheckpointError, match="a vocabulary of its own"):
        write_base_file(read, tmp_path / "x.safetensors")
    ours, copy = open_base("embedded"), open_base(tmp_path / "copy")
    assert all(same(one, other) for one, other in zip(modules(ours), modules(copy), strict=True))
    assert torch.equal(ours.encode_text(["一只猫 cat"]).states, copy.encode_text(["一只猫 cat"]).states)


def broken(files: dict[str, Path], tmp_path: Path, change: Callable[[dict[str, Tensor]], Any]) -> str:
    path = changed(files["sd1"], tmp_path / "broken.safetensors", change)
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        open_base(path)
    line = str(caught.value)
    assert "broken.safetensors" in line and "\n" not in line
    return line


CLIP = "cond_stage_model.transformer.text_model."
FIRST = f"{UNET}input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda each: each.update({FIRST: each[FIRST] * float("nan")}), "conv_in.weight holds NaN or infinity"),
        (lambda each: each.update({FIRST: each[FIRST] + float("inf")}), "conv_in.weight holds NaN or infinity"),
        (lambda each: each.update({FIRST: each[FIRST].to(torch.int8)}), "conv_in.weight is int8; quantised"),
        (lambda each: each.update({FIRST: torch.zeros(32, 4, 5, 5)}), "conv_in.weight has another shape"),
        (lambda each: each.pop(FIRST), f"lacks '{FIRST.removeprefix(UNET)}'"),
        (lambda each: each.pop(f"{UNET}input_blocks.2.1.norm.weight"), "lacks 1 tensors (down_blocks.0.attentions.1"),
        (lambda each: each.pop(f"{VAE}quant_conv.bias"), "lacks 1 tensors (quant_conv.bias)"),
        (lambda each: [each.pop(name) for name in list(each) if VAE in name], "has no autoencoder"),
        (lambda each: [each.pop(name) for name in list(each) if name.startswith("cond")], "has no text encoder"),
        (lambda each: each.pop(f"{CLIP}embeddings.token_embedding.weight"), "its text encoder (cond_stage_model"),
        (lambda each: each.pop(f"{CLIP}encoder.layers.0.mlp.fc1.weight"), "fc1.weight'"),
        (lambda each: each.pop(f"{CLIP}final_layer_norm.bias"), "lacks 1 tensors (final_layer_norm.bias)"),
        (lambda each: [each.pop(name) for name in list(each) if UNET in name], "is a vae, not a base"),
        (lambda each: each.update({FIRST: torch.zeros(32, 5, 3, 3)}), "the depth model"),
        (lambda each: each.update({FIRST: torch.zeros(32, 7, 3, 3)}), "the x4 upscaler"),
    ],
)
def test_broken_bases(files: dict[str, Path], tmp_path: Path, change: Any, words: str) -> None:
    assert words in broken(files, tmp_path, change)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"unet": [1]}, "unet in its metadata is no table"),
        ({"vae": "x"}, "vae in its metadata is no table"),
        ({"unet": {"norm_num_groups": 0}}, "its config does not make a UNet2DConditionModel"),
        ({"unet": {"attention_head_dim": 8, "act_fn": "bang"}}, "its config does not make a UNet2DConditionModel"),
        (
            {"unet": {"attention_head_dim": 8, "block_out_channels": [10**9]}},
            "its config does not make a AutoencoderKL",
        ),
    ],
)
def test_metadata_that_lie(files: dict[str, Path], tmp_path: Path, told: dict[str, Any], words: str) -> None:
    """Shapes overrule what a file says of itself; what they don't tell is looked at when the model is made."""
    save_file(load_file(files["sd1"]), tmp_path / "x.safetensors", {"underdraw": json.dumps(told)})
    with pytest.raises(CheckpointError) as caught:
        open_base(tmp_path / "x.safetensors")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_numbers_that_do_not_fit(files: dict[str, Path], tmp_path: Path) -> None:
    path = changed(files["sd1"], tmp_path / "x.safetensors", lambda each: each.update({FIRST: each[FIRST] + 1e6}))
    assert open_base(path).unet is not None
    with pytest.raises(CheckpointError, match=r"conv_in.weight does not fit into torch.float16; use a wider one"):
        open_base(path, dtype=torch.float16)
    with pytest.raises(CheckpointError, match="does not fit"):
        write_base_file(read_base(path), tmp_path / "half.safetensors", torch.float16)
    assert not (tmp_path / "half.safetensors").exists()


def test_relatives_are_refused_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    prefix = FAMILIES["sdxl"].towers[1].prefix

    def refine(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(prefix)]:
            tensors[name.replace("embedders.1", "embedders.0")] = tensors.pop(name)

    with pytest.raises(CheckpointError, match="the refiner of SDXL"):
        read_base(changed(files["sdxl"], tmp_path / "x.safetensors", refine))


def test_heads_of_strangers_can_not_be_guessed_at_odd_widths(files: dict[str, Path], tmp_path: Path) -> None:
    strange = changed(files["sd2"], tmp_path / "x.safetensors", lambda _: None, metadata=False)
    with pytest.raises(CheckpointError, match=r"no shape tells the size of its attention heads at widths of \[32, 64"):
        read_base(strange)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    whole = parts("sd1")
    whole.unet.tensors["conv_in.weight"].fill_(float("nan"))
    with pytest.raises(CheckpointError, match="holds NaN"):
        write_base_folder(whole, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_unet_of_another_make_is_refused(tmp_path: Path) -> None:
    """A U-Net that the trunk does not understand does not slip in by way of a file."""
    write_base_file(parts("sd1", center_input_sample=True), tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="center_input_sample"):
        open_base(tmp_path / "x.safetensors")
