"""LoRAs in files: names as total tables, lossless round trips, and one clear line for what is no LoRA of ours."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from underdraw.errors import CheckpointError, ConfigError
from underdraw.formats.lora import LoraFile, load_lora, read_lora, write_lora
from underdraw.formats.lora_names import kohya_table, spoken_table
from underdraw.formats.tables import flip
from underdraw.model import TARGETS, Lora, LoraConfig, attach, build, build_lora
from underdraw.model.adapters import LowRank
from underdraw.model.lora import layers

Tensors = dict[str, Tensor]
Models = Any

DEEP = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
KOHYA = {
    "kohya": {
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q": DEEP,
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_out_0": (
            "unet.up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0"
        ),
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj": (
            "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"
        ),
        "lora_unet_down_blocks_0_resnets_0_time_emb_proj": "unet.down_blocks.0.resnets.0.time_emb_proj",
        "lora_te_text_model_encoder_layers_11_self_attn_out_proj": (
            "text_encoder.text_model.encoder.layers.11.self_attn.out_proj"
        ),
        "lora_te_text_model_encoder_layers_0_mlp_fc1": "text_encoder.text_model.encoder.layers.0.mlp.fc1",
    },
    "kohya-xl": {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": DEEP,
        "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_k": (
            "unet.down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k"
        ),
        "lora_unet_middle_block_1_proj_in": "unet.mid_block.attentions.0.proj_in",
        "lora_unet_middle_block_2_in_layers_2": "unet.mid_block.resnets.1.conv1",
        "lora_unet_output_blocks_2_2_conv": "unet.up_blocks.0.upsamplers.0.conv",
        "lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_2": (
            "unet.up_blocks.1.attentions.2.transformer_blocks.1.ff.net.2"
        ),
        "lora_unet_output_blocks_6_0_skip_connection": "unet.up_blocks.2.resnets.0.conv_shortcut",
        "lora_unet_input_blocks_3_0_op": "unet.down_blocks.0.downsamplers.0.conv",
        "lora_unet_label_emb_0_0": "unet.add_embedding.linear_1",
        "lora_te1_text_model_encoder_layers_0_mlp_fc2": "text_encoder.text_model.encoder.layers.0.mlp.fc2",
        "lora_te2_text_model_encoder_layers_31_self_attn_q_proj": (
            "text_encoder_2.text_model.encoder.layers.31.self_attn.q_proj"
        ),
        "lora_te2_text_projection": "text_encoder_2.text_projection",
    },
}


@pytest.mark.parametrize("layout", KOHYA)
def test_names_as_the_scripts_write_them(layout: str) -> None:
    assert {name: kohya_table(layout).get(name) for name in KOHYA[layout]} == KOHYA[layout]


@pytest.mark.parametrize(("family", "layout"), [("sd15", "kohya"), ("sd21", "kohya"), ("sdxl", "kohya-xl")])
def test_every_layer_of_a_real_model_has_a_name(models: Models, family: str, layout: str) -> None:
    """And a way back: no two have one name."""
    with torch.device("meta"):
        host = {"unet": UNet2DConditionModel(**models.config(family, real=True))}
    named = flip(kohya_table(layout))
    addresses = [address for address, layer in layers(host) if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert len(addresses) > 200
    assert [address for address in addresses if address not in named] == []
    assert {spoken_table()[named[address]] for address in addresses} == set(addresses)


def test_sdxl_s_names_are_diffusers_own(models: Models) -> None:
    """What diffusers' reader makes of kohya's SDXL names, block by block, is what our table says."""
    with torch.device("meta"):
        host = {"unet": UNet2DConditionModel(**models.config("sdxl", real=True))}
    named = flip(kohya_table("kohya-xl"))
    inside = [a for a, layer in layers(host) if isinstance(layer, nn.Linear | nn.Conv2d) and "_block" in a]
    keys = {f"{named[address]}.lora_down.weight": torch.tensor(index) for index, address in enumerate(inside)}
    theirs = _maybe_map_sgm_blocks_to_diffusers(keys, SimpleNamespace(layers_per_block=2))
    for key, index in theirs.items():
        # At this point diffusers has renumbered the blocks; their names and the layers of resnets still are the old.
        for original, new in (("input_blocks", "down_blocks"), ("middle_block", "mid_block"), ("output_", "up_")):
            key = key.replace(original, new)
        ours = f"lora_unet_{inside[int(index)].removeprefix('unet.').replace('.', '_')}"
        same = len(ours) if "attentions" in ours else ours.index("s_", len("lora_unet_down_blocks")) + 3
        assert key[:same] == ours[:same]


def trained(models: Models, family: str, text: bool = True, seed: int = 0, **config: Any) -> Lora:
    host: dict[str, nn.Module] = {"unet": models.unet(family)}
    if text:
        ends = {"bos_token_id": 38, "eos_token_id": 39}
        tiny = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
        for part in ("text_encoder", "text_encoder_2")[: 2 if family == "sdxl" else 1]:
            host[part] = CLIPTextModel(CLIPTextConfig(vocab_size=40, **tiny, **ends))
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"rank": 4, "alpha": 2.0, "targets": TARGETS.names(), "parts": [*host]} | config
    lora = build_lora(host, LoraConfig(**settings))
    for adapter in lora.adapters.values():
        nn.init.normal_(adapter.get_parameter("up"), std=0.2)
    return lora.requires_grad_(False)


def same(one: Lora, two: Lora) -> None:
    assert one.adapters.keys() == two.adapters.keys()
    for address, adapter in one.adapters.items():
        mine, other = adapter.factors(), two.adapters[address].factors()
        assert mine.keys() == other.keys()
        for name in mine:
            assert mine[name].dtype == other[name].dtype and torch.equal(mine[name], other[name]), (address, name)


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


MIXED: dict[str, Any] = {"ranks": {"resnets": 2}, "alphas": {"attn1": 1.0, "mlp": 5.0}}


@pytest.mark.parametrize(
    ("layout", "family", "dtype"),
    [
        ("kohya", "sd15", torch.float32),
        ("kohya", "sd21", torch.float16),
        ("kohya-xl", "sdxl", torch.bfloat16),
        ("diffusers", "sd15", torch.float16),
        ("diffusers", "sdxl", torch.float32),
    ],
)
def test_written_and_read_again(models: Models, layout: str, family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    lora = trained(models, family, **MIXED)
    write_lora(lora, tmp_path / "a.safetensors", layout, dtype=dtype)
    file = read_lora(tmp_path / "a.safetensors")
    assert file.layout == layout
    for address, adapter in lora.adapters.items():
        other = file.lora.adapters[address]
        assert other.scale == adapter.scale and other.rank == adapter.rank
        assert all(torch.equal(factor.to(dtype), other.factors()[name]) for name, factor in adapter.factors().items())


@pytest.mark.parametrize(("family", "kohya"), [("sd15", "kohya"), ("sdxl", "kohya-xl")])
def test_there_and_back_bit_for_bit(models: Models, family: str, kohya: str, tmp_path: Path) -> None:
    """kohya → diffusers → kohya → diffusers: the tensors, their precision and every α."""
    first = trained(models, family, **MIXED)
    write_lora(first, tmp_path / "0.safetensors", kohya, dtype=torch.float16)
    for step, layout in enumerate(("diffusers", kohya, "diffusers")):
        file = read_lora(tmp_path / f"{step}.safetensors")
        write_lora(file.lora, tmp_path / f"{step + 1}.safetensors", layout, file.metadata)
    for one, two in ((0, 2), (1, 3)):
        before, after = (load_file(tmp_path / f"{index}.safetensors") for index in (one, two))
        assert before.keys() == after.keys()
        assert all(
            torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before
        )
    assert metadata(tmp_path / "0.safetensors") == metadata(tmp_path / "2.safetensors")
    same(read_lora(tmp_path / "0.safetensors").lora, read_lora(tmp_path / "3.safetensors").lora)


def test_without_alpha_the_scale_is_one_and_stays_untold(models: Models, tmp_path: Path) -> None:
    """kohya's own rule; a file without α is written without."""
    write_lora(trained(models, "sd15"), tmp_path / "a.safetensors")
    tensors = {
        key: tensor for key, tensor in load_file(tmp_path / "a.safetensors").items() if not key.endswith("alpha")
    }
    save_file(tensors, tmp_path / "b.safetensors")
    file = read_lora(tmp_path / "b.safetensors")
    assert {adapter.scale for adapter in file.lora.adapters.values()} == {1.0}
    write_lora(file.lora, tmp_path / "c.safetensors")
    assert load_file(tmp_path / "c.safetensors").keys() == tensors.keys()


def test_whole_numbers_for_alpha(models: Models, tmp_path: Path) -> None:
    """As diffusers' converter writes them."""
    write_lora(trained(models, "sd15"), tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    save_file(
        {k: torch.tensor(4) if k.endswith("alpha") else t for k, t in tensors.items()}, tmp_path / "b.safetensors"
    )
    lora = read_lora(tmp_path / "b.safetensors").lora
    assert {adapter.scale for adapter in lora.adapters.values()} == {1.0}
    write_lora(lora, tmp_path / "c.safetensors")
    assert load_file(tmp_path / "c.safetensors")[next(k for k in tensors if k.endswith("alpha"))].dtype == torch.int64


KINDS: dict[str, Callable[[Tensor], Tensors]] = {
    "loha": lambda weight: {
        "hada_w1_a": torch.randn(len(weight), 3),
        "hada_w1_b": torch.randn(3, weight[0].numel()),
        "hada_w2_a": torch.randn(len(weight), 3),
        "hada_w2_b": torch.randn(3, weight[0].numel()),
        "alpha": torch.tensor(1.0),
    },
    "lokr": lambda weight: {
        "lokr_w1": torch.randn(4, 4),
        "lokr_w2_a": torch.randn(len(weight) // 4, 2),
        "lokr_w2_b": torch.randn(2, weight[0].numel() // 4),
        "alpha": torch.tensor(1.0),
    },
    "dora": lambda weight: {
        "lora_down.weight": torch.randn(2, *weight.shape[1:]),
        "lora_up.weight": torch.randn(len(weight), 2, *[1] * (weight.ndim - 2)),
        "dora_scale": torch.rand(1, weight.shape[1], *[1] * (weight.ndim - 2)),
        "alpha": torch.tensor(1.0),
    },
    "tucker": lambda weight: {
        "lora_down.weight": torch.randn(2, weight.shape[1], *[1] * (weight.ndim - 2)),
        "lora_up.weight": torch.randn(len(weight), 2, *[1] * (weight.ndim - 2)),
        "lora_mid.weight": torch.randn(2, 2, *weight.shape[2:]),
        "alpha": torch.tensor(1.0),
    },
}
CROSS = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
LAYERS = {
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k": CROSS,
    "lora_unet_down_blocks_1_resnets_0_conv1": "down_blocks.1.resnets.0.conv1",
    "lora_unet_down_blocks_1_attentions_0_proj_in": "down_blocks.1.attentions.0.proj_in",
}


@pytest.mark.parametrize("kind", KINDS)
def test_lycoris(models: Models, kind: str, tmp_path: Path) -> None:
    """LoHa, LoKr, DoRA by input and Tucker cores: drawn with, written back as they were, refused where no place is."""
    torch.manual_seed(0)
    unet = models.unet("sd15")
    tensors = {
        f"{name}.{ending}": factor
        for name, path in LAYERS.items()
        for ending, factor in KINDS[kind](unet.get_submodule(path).weight).items()
    }
    save_file(tensors, tmp_path / "a.safetensors")
    lora = load_lora(tmp_path / "a.safetensors", {"unet": unet})
    sample, timestep, text = models.inputs(unet)
    locked = models.stock(unet, sample, timestep, text)
    with torch.no_grad(), attach({"unet": unet}, lora):
        assert (models.stock(unet, sample, timestep, text) - locked).abs().max() > 1e-3
    write_lora(lora, tmp_path / "b.safetensors")
    again = load_file(tmp_path / "b.safetensors")
    assert again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in again)
    with pytest.raises(CheckpointError, match=r"the diffusers layout has no place for \d+ factors"):
        write_lora(lora, tmp_path / "c.safetensors", "diffusers")
    assert not (tmp_path / "c.safetensors").exists()


def test_magnitudes_by_output_go_everywhere(models: Models, tmp_path: Path) -> None:
    lora = trained(models, "sd15", text=False, targets=["attention", "convolutions"])
    magnitudes = {
        name: torch.rand(each.shape()[0], *[1] * (len(each.shape()) - 1)) for name, each in lora.adapters.items()
    }
    lora = Lora({n: LowRank(each.factors() | {"magnitude": magnitudes[n]}) for n, each in lora.adapters.items()})
    for layout in ("kohya", "diffusers"):
        write_lora(lora, tmp_path / "a.safetensors", layout)
        same(lora, read_lora(tmp_path / "a.safetensors").lora)
    shapes = {len(tensor.shape) for key, tensor in load_file(tmp_path / "a.safetensors").items() if "magnitude" in key}
    assert shapes == {1, 4}


OLD = {
    "processor": ("unet.{}.attn1.processor.to_q_lora.{}.weight", "{}.attn1.to_q"),
    "processor out": ("unet.{}.attn2.processor.to_out_lora.{}.weight", "{}.attn2.to_out.0"),
    "bare": ("{}.attn1.processor.to_k_lora.{}.weight", "{}.attn1.to_k"),
    "lora": ("unet.{}.ff.net.2.lora.{}.weight", "{}.ff.net.2"),
}


@pytest.mark.parametrize("form", OLD)
def test_older_forms_of_diffusers(models: Models, form: str, tmp_path: Path) -> None:
    unet, block = models.unet("sd15"), "down_blocks.1.attentions.0.transformer_blocks.0"
    key, path = OLD[form]
    weight = unet.get_submodule(path.format(block)).weight
    down, up = torch.randn(2, weight.shape[1]), torch.randn(len(weight), 2)
    save_file({key.format(block, "down"): down, key.format(block, "up"): up}, tmp_path / "old.safetensors")
    lora = load_lora(tmp_path / "old.safetensors", {"unet": unet})
    ((address, adapter),) = lora.adapters.items()
    assert address == f"unet.{path.format(block)}" and adapter.scale == 1
    assert torch.equal(adapter.factors()["up"], up) and torch.equal(adapter.factors()["down"], down)


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.{}.weight", "self_attn.q_proj"),
        ("text_encoder.text_model.encoder.layers.0.self_attn.k_proj.lora_linear_layer.{}.weight", "self_attn.k_proj"),
        ("text_encoder.encoder.layers.0.mlp.fc1.lora_linear_layer.{}.weight", "mlp.fc1"),
        ("base_model.model.text_model.encoder.layers.0.mlp.fc2.lora.{}.weight", "mlp.fc2"),
    ],
)
def test_older_forms_of_text_encoders(key: str, address: str, tmp_path: Path) -> None:
    tensors = {key.format("down"): torch.randn(2, 3), key.format("up"): torch.randn(4, 2)}
    save_file(tensors, tmp_path / "old.safetensors")
    assert [*read_lora(tmp_path / "old.safetensors").lora.adapters] == [
        f"text_encoder.text_model.encoder.layers.0.{address}"
    ]


def test_alpha_as_peft_tells_it(tmp_path: Path) -> None:
    """By part, by pattern (the end of a path), and rank-stabilised."""
    tensors: Tensors = {}
    for name in ("unet.a.to_q", "unet.b.to_q", "unet.a.to_v", "text_encoder.text_model.encoder.layers.0.mlp.fc1"):
        tensors |= {f"{name}.lora_A.weight": torch.randn(4, 3), f"{name}.lora_B.weight": torch.randn(3, 4)}
    told = {
        "unet.r": 4,
        "unet.lora_alpha": 2,
        "unet.alpha_pattern": {"to_v": 1, "b.to_q": 8},
        "text_encoder.lora_alpha": 4,
        "text_encoder.use_rslora": True,
    }
    save_file(tensors, tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": json.dumps(told)})
    scales = {
        name.rpartition(".")[0]: each.scale
        for name, each in read_lora(tmp_path / "a.safetensors").lora.adapters.items()
    }
    assert read_lora(tmp_path / "a.safetensors").lora.adapters["unet.b.to_q"].scale == 2
    assert read_lora(tmp_path / "a.safetensors").lora.adapters["unet.a.to_v"].scale == 1 / 4
    assert scales["text_encoder.text_model.encoder.layers.0.mlp"] == 4 / 4**0.5


def test_what_a_file_says_of_itself(models: Models, tmp_path: Path) -> None:
    """kohya's metadata: known facts, told ones over them, and hashes that don't change with what is told."""
    path = tmp_path / "a.safetensors"
    write_lora(trained(models, "sd15", **MIXED), path, metadata={"ss_output_name": "style"})
    told = metadata(path)
    assert told["ss_network_module"] == "networks.lora" and told["ss_output_name"] == "style"
    assert (told["ss_network_dim"], told["ss_network_alpha"]) == ("Dynamic", "Dynamic")
    write_lora(trained(models, "sd15"), path)
    again = metadata(path)
    assert (again["ss_network_dim"], again["ss_network_alpha"]) == ("4", "2.0")
    assert "ss_base_model_version" not in again, "a width of 48 is no family"
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert again["sshs_model_hash"] == hashlib.sha256(path.read_bytes()[8 + header :]).hexdigest()
    assert len(again["sshs_legacy_hash"]) == 8


@pytest.mark.parametrize(
    ("width", "version", "layout"),
    [(768, "sd_v1", "kohya"), (1024, "sd_v2", "kohya"), (2048, "sdxl_base_v1-0", "kohya-xl")],
)
def test_the_base_by_its_width(width: int, version: str, layout: str, tmp_path: Path) -> None:
    address = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    write_lora(Lora({address: LowRank.fresh(nn.Linear(width, 640), 2)}), tmp_path / "a.safetensors")
    assert metadata(tmp_path / "a.safetensors")["ss_base_model_version"] == version
    assert read_lora(tmp_path / "a.safetensors").layout == layout


def test_ready_for_its_host(models: Models, tmp_path: Path) -> None:
    """A file in half precision for a base in full: as the base is. The file's own precision is what `read_lora` has."""
    unet = models.unet("sd15")
    write_lora(trained(models, "sd15", text=False), tmp_path / "a.safetensors", dtype=torch.float16)
    ready, raw = load_lora(tmp_path / "a.safetensors", {"unet": unet}), read_lora(tmp_path / "a.safetensors").lora
    assert {parameter.dtype for parameter in ready.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in raw.parameters()} == {torch.float16}
    assert not any(parameter.requires_grad for parameter in ready.parameters())


def test_inside_a_branch_only_diffusers_has_names(models: Models, tmp_path: Path) -> None:
    net = build(models.unet("sd15"), 8)
    lora = build_lora(net, LoraConfig(parts=["control"]))
    write_lora(lora, tmp_path / "a.safetensors", "diffusers")
    assert all(
        key.startswith("control.down_blocks.") or ".mid_block." in key for key in load_file(tmp_path / "a.safetensors")
    )
    load_lora(tmp_path / "a.safetensors", net)
    with pytest.raises(
        CheckpointError, match=r"the kohya layout has no place for .*control\.down_blocks.*; write diffusers"
    ):
        write_lora(lora, tmp_path / "b.safetensors", "kohya")


def good() -> Tensors:
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    return {
        f"{name}.lora_down.weight": torch.randn(2, 48),
        f"{name}.lora_up.weight": torch.randn(64, 2),
        f"{name}.alpha": torch.tensor(1.0),
    }


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"lora_unet_nowhere.lora_down.weight": 2}, r"has unknown 1 tensors \(lora_unet_nowhere"),
        ({"lora_unet_nowhere.alpha": 2, "step": 1}, "has unknown 2 tensors"),
        (
            {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": 2},
            r"lacks 1 tensors \(factors of text_encoder",
        ),
        ({"lora_te3_encoder_block_0.lora_up.weight": 2}, "changes a diffusion transformer"),
        ({"lora_unet_down_blocks_0_attentions_0_proj_in.oft_blocks": 2}, "is an OFT or BOFT"),
        ({"lora_unet_down_blocks_0_attentions_0_proj_in.on_input": 2}, r"is an \(IA\)³"),
        ({"lora_unet_down_blocks_0_attentions_0_proj_in.a1.weight": 2}, "is a GLoRA"),
        ({"lora_unet_down_blocks_0_resnets_0_norm1.w_norm": 2}, "changes whole weights or norms"),
    ],
)
def test_every_key_is_accounted_for(extra: dict[str, int], words: str, tmp_path: Path) -> None:
    save_file(good() | {key: torch.ones(size, 2) for key, size in extra.items()}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=words) as raised:
        read_lora(tmp_path / "a.safetensors")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["lora_unet_double_blocks_0_img_attn_proj.lora_down.weight"], "changes a diffusion transformer"),
        (["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"], "changes a diffusion transformer"),
        (["diffusion_model.blocks.0.self_attn.q.lora_A.weight"], "changes a diffusion transformer"),
        (["lora_prior_unet_x.lora_down.weight"], "changes a prior"),
        (["lllite_unet_input_blocks_1_1.cond_emb.weight"], "is a ControlNet-LLLite"),
        (["lora_controlnet", "input_blocks.0.0.weight"], "is a Control-LoRA"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "is a whole model"),
        (["unet.conv_in.lora_B.bias"], "changes biases"),
        (["emb_params"], "is not a LoRA"),
    ],
)
def test_what_is_no_lora_is_called_by_its_name(keys: list[str], words: str, tmp_path: Path) -> None:
    save_file({key: torch.ones(2, 2) for key in keys}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=words):
        read_lora(tmp_path / "a.safetensors")


def test_broken_files(models: Models, tmp_path: Path) -> None:
    path, tensors = tmp_path / "a.safetensors", good()
    down, up, alpha = tensors
    for changed, words in (
        ({down: torch.full((2, 48), torch.nan)}, "holds NaN or infinity"),
        ({down: torch.ones(2, 48, dtype=torch.int8)}, "is int8"),
        ({alpha: torch.ones(3)}, "is 3 numbers, not one"),
    ):
        save_file(tensors | changed, path)
        with pytest.raises(CheckpointError, match=words):
            read_lora(path)
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="truncated"):
        read_lora(path)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_lora(tmp_path / "gone.safetensors")
    save_file(tensors | {up: torch.randn(65, 2)}, path)
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors can't change this base: .* changes weights of \(65, 48\)"
    ):
        load_lora(path, {"unet": models.unet("sd15")})
    save_file({"unet.a.lora_A.weight": torch.ones(1, 1)}, path, metadata={"lora_adapter_metadata": "[1"})
    with pytest.raises(CheckpointError, match="adapter metadata can't be read"):
        read_lora(path)
    with pytest.raises(ConfigError, match="did you mean 'kohya'"):
        write_lora(Lora({}), path, "koyha")


def test_pickles_are_read_as_weights_only(tmp_path: Path) -> None:
    torch.save(good(), tmp_path / "a.pt")
    assert [*read_lora(tmp_path / "a.pt").lora.adapters] == [
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    ]


def test_another_family_is_one_sentence(models: Models, tmp_path: Path) -> None:
    write_lora(trained(models, "sdxl"), tmp_path / "xl.safetensors")
    with pytest.raises(CheckpointError) as raised:
        load_lora(tmp_path / "xl.safetensors", {"unet": models.unet("sd15")})
    assert str(raised.value) == (
        f"{tmp_path}/xl.safetensors can't change this base: it was made for text of width 96, and this base hears 48; "
        "use a LoRA of its family"
    )


def test_a_file_is_a_value(models: Models, tmp_path: Path) -> None:
    write_lora(trained(models, "sd15"), tmp_path / "a.safetensors")
    file = read_lora(tmp_path / "a.safetensors")
    assert isinstance(file, LoraFile) and file.layout == "kohya"
    with pytest.raises(AttributeError):
        file.layout = "diffusers"  # type: ignore[misc]
