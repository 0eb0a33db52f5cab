"""What a file is, from names and shapes alone: the published shapes of every kind, and strangers by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import T2IAdapter
from safetensors.torch import save_file
from torch import Tensor

from underdraw.errors import CheckpointError
from underdraw.formats.detect import Facts, detect, facts_of, refuse_foreign
from underdraw.formats.families import FAMILIES, UNET, VAE
from underdraw.formats.foreign import FOREIGN
from underdraw.formats.parts import Part
from underdraw.formats.reading import TensorFile
from underdraw.formats.t2i import adapter_to_original
from underdraw.formats.tables import flip, translate
from underdraw.formats.unet_names import control_table, unet_table
from underdraw.formats.vae_names import vae_to_original

from .tiny import HOME, real_control, real_unet, vae

Tensors = dict[str, Tensor]


def meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta", dtype=torch.float16)


def told(tensors: Tensors, tmp_path: Path) -> Facts:
    """Facts of tensors without memory."""
    (tmp_path / "file").write_bytes(b"x")
    return facts_of(TensorFile(tmp_path / "file", tensors))


def named(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: each for name, each in tensors.items()}


def original_unet(family: str) -> Tensors:
    net = real_unet(family)
    return translate(net.state_dict(), flip(unet_table(net.config)), HOME)


def original_control(family: str) -> Tensors:
    net = real_control(family)
    return translate(net.state_dict(), flip(control_table(net.config)), HOME)


def whole(family: str) -> Tensors:
    towers = {f"{tower.prefix}x": meta(1) for tower in FAMILIES[family].towers}
    halves = vae_to_original(vae().state_dict(), vae().config, HOME)
    return named(UNET, original_unet(family)) | named(VAE, halves) | towers


@pytest.mark.parametrize("family", FAMILIES)
def test_bases_and_unets(family: str, tmp_path: Path) -> None:
    facts = told(whole(family), tmp_path)
    count = "2 text encoders" if family == "sdxl" else "1 text encoder"
    assert (facts.kind, facts.layout, facts.family) == ("base", "original", family)
    assert facts.details == {"input channels": 4, "parts": f"unet, vae, {count}"}
    assert facts.tensors == len(whole(family))
    for tensors, layout in ((original_unet(family), "original"), (real_unet(family).state_dict(), "diffusers")):
        facts = told(tensors, tmp_path)
        assert (facts.kind, facts.layout, facts.family) == ("unet", layout, family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", ["prefixed", "bare", "diffusers", "whole", "difference"])
def test_controlnets(family: str, form: str, tmp_path: Path) -> None:
    bare = original_control(family)
    prefixed = named("control_model.", bare)
    tensors = {
        "prefixed": prefixed,
        "bare": bare,
        "diffusers": dict(real_control(family).state_dict()),
        "whole": prefixed | whole(family),
        "difference": prefixed | {"difference": meta(1)},
    }[form]
    facts = told(tensors, tmp_path)
    assert (facts.kind, facts.family) == ("controlnet", family)
    assert facts.layout == ("diffusers" if form == "diffusers" else "original")
    assert (facts.details["hint channels"], facts.details["encoder"]) == (3, "full")
    assert ("form" in facts.details) == (form in ("whole", "difference"))


@pytest.mark.parametrize("family", FAMILIES)
def test_control_loras(family: str, tmp_path: Path) -> None:
    tensors: Tensors = {"lora_controlnet": meta(0)}
    for name, each in original_control(family).items():
        layer = name.removesuffix(".weight")
        if each.ndim < 2 or layer == name or name.startswith(("zero", "input_hint", "middle_block_out")):
            tensors[name] = each
        else:
            tensors |= {f"{layer}.up": meta(each.shape[0], 128), f"{layer}.down": meta(128, *each.shape[1:])}
    facts = told(tensors, tmp_path)
    assert (facts.kind, facts.family, facts.details["rank"]) == ("control-lora", family, 128)


@pytest.mark.parametrize(
    ("form", "family", "channels"),
    [("full_adapter", "sd1", 3), ("full_adapter", "sd1", 1), ("full_adapter_xl", "sdxl", 3)],
)
def test_adapters(form: str, family: str, channels: int, tmp_path: Path) -> None:
    with torch.device("meta"):
        made = T2IAdapter(channels, adapter_type=form, downscale_factor=16 if form.endswith("xl") else 8)
    for tensors in (
        dict(made.state_dict()),
        adapter_to_original(Part("T2IAdapter", made.config, made.state_dict()), HOME),
    ):
        facts = told(tensors, tmp_path)
        assert (facts.kind, facts.family, facts.details["hint channels"]) == ("t2i-adapter", family, channels)


LORAS: dict[str, tuple[Tensors, str, str, str]] = {
    "kohya": (
        {
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": meta(8, 768),
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": meta(320, 8),
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.alpha": meta(),
        },
        "kohya",
        "sd1",
        "LoRA",
    ),
    "dora": (
        {
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": meta(4, 2048),
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": meta(640, 4),
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.dora_scale": meta(640, 1),
        },
        "kohya",
        "sdxl",
        "DoRA",
    ),
    "diffusers": (
        {
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": meta(8, 1024),
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight": meta(320, 8),
        },
        "diffusers",
        "sd2",
        "LoRA",
    ),
    "loha": ({f"lora_unet_x.hada_w{half}_{side}": meta(8, 8) for half in "12" for side in "ab"}, "kohya", "", "LoHa"),
    "lokr": ({"lora_unet_x.lokr_w1": meta(8, 8), "lora_unet_x.lokr_w2": meta(8, 8)}, "kohya", "", "LoKr"),
}


@pytest.mark.parametrize("name", LORAS)
def test_loras(name: str, tmp_path: Path) -> None:
    tensors, layout, family, algorithm = LORAS[name]
    facts = told(tensors, tmp_path)
    assert (facts.kind, facts.layout, facts.family) == ("lora", layout, family)
    assert facts.details["algorithm"] == algorithm


OTHERS: dict[str, tuple[Tensors, str, str]] = {
    "vae": (vae_to_original(vae().state_dict(), vae().config, HOME), "vae", "original"),
    "vae of diffusers": (dict(vae().state_dict()), "vae", "diffusers"),
    "a1111 embedding": ({"string_to_param.*": meta(3, 768)}, "textual-inversion", "a1111"),
    "safetensors embedding": ({"emb_params": meta(3, 768)}, "textual-inversion", "a1111"),
    "sdxl embedding": ({"clip_l": meta(2, 768), "clip_g": meta(2, 1280)}, "textual-inversion", "sdxl"),
    "diffusers embedding": ({"<cat>": meta(768)}, "textual-inversion", "diffusers"),
    "text encoder": ({"text_model.embeddings.token_embedding.weight": meta(49408, 768)}, "text-encoder", "diffusers"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds(name: str, tmp_path: Path) -> None:
    tensors, kind, layout = OTHERS[name]
    facts = told(tensors, tmp_path)
    assert (facts.kind, facts.layout) == (kind, layout)


STRANGERS: dict[str, list[str]] = {
    "controlnet-lllite": ["lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight"],
    "controlnet-xs": ["control_model.enc_zero_convs_out.0.0.weight", "control_model.input_hint_block.0.weight"],
    "controlnet-union": [
        "task_embedding",
        "controlnet_cond_embedding.conv_in.weight",
        "control_add_embedding.linear_1.bias",
    ],
    "ip-adapter": ["image_proj.latents", "ip_adapter.1.to_k_ip.weight"],
    "t2i-style-adapter": ["style_embedding", "ln_post.weight"],
    "motion-module": ["down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"],
    "hypernetwork": ["768.0.linear.weight", "320.0.linear.weight"],
    "tiny-autoencoder": ["encoder.layers.0.weight", "decoder.layers.1.weight"],
    "stable-cascade": ["clip_txt_mapper.weight"],
    "flux": ["double_blocks.0.img_attn.norm.key_norm.scale"],
    "sd3": ["model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias"],
    "diffusion-transformer": ["model.diffusion_model.layers.0.adaLN_modulation.0.weight"],
    "unknown": ["something.weight", "else.weight"],
}


def test_every_stranger_has_a_name() -> None:
    assert STRANGERS.keys() == FOREIGN.keys()


@pytest.mark.parametrize("kind", STRANGERS)
def test_strangers_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    """With what each is and what would be needed."""
    facts = told({name: meta(4, 4) for name in STRANGERS[kind]}, tmp_path)
    assert facts.kind == kind
    with pytest.raises(CheckpointError) as caught:
        refuse_foreign(facts)
    line = str(caught.value)
    assert FOREIGN[kind] in line and line.endswith("it is not supported") and "\n" not in line


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"_class_name": "ControlNetModel", "cross_attention_dim": 768}, "controlnet"),
        ({"_class_name": "ControlNetUnionModel"}, "controlnet-union"),
        ({"_class_name": "FluxControlNetModel"}, "flux"),
        ({"architectures": ["CLIPTextModel"]}, "text-encoder"),
        ({"_class_name": "Whatever"}, "unknown"),
    ],
)
def test_folders(config: dict[str, Any], kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert detect(tmp_path).kind == kind


def test_facts_of_a_real_file(tmp_path: Path) -> None:
    save_file(
        {"a.x": torch.ones(2), "b.x": torch.ones(2).half()}, tmp_path / "x.safetensors", {"format": "pt", "by": "us"}
    )
    facts = detect(tmp_path / "x.safetensors")
    assert facts.dtypes == {"float32": 1, "float16": 1}
    assert facts.said == {"by": "us"}
    assert facts.size == (tmp_path / "x.safetensors").stat().st_size
    with pytest.raises(CheckpointError, match="No such file"):
        detect(tmp_path / "nowhere")
