"""What files of LoRAs call the layers and the factors: kohya's names, those of its SDXL, and diffusers'.

    kohya      lora_unet_down_blocks_1_attentions_0_…_attn1_to_q.lora_down.weight     lora_te_text_model_…
    kohya-xl   lora_unet_input_blocks_4_1_…_attn1_to_q.lora_down.weight               lora_te1_… lora_te2_…
    diffusers  unet.down_blocks.1.attentions.0.….attn1.to_q.lora_A.weight             text_encoder.text_model.…

kohya's scripts write an underscore for every dot, which no rule undoes; so its names are tables of all layers that a
U-Net or CLIP of these families can have, and reading is their inverse.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from underdraw.formats.tables import flip, joined
from underdraw.formats.unet_names import unet_table

__all__ = [
    "KOHYA_FACTORS",
    "LAYOUTS",
    "factor_key",
    "kohya_table",
    "old_key",
    "refusal",
    "spoken_table",
]

LAYOUTS = ("kohya", "kohya-xl", "diffusers")

_FACTORED = {
    name: name
    for name in (
        *(f"hada_w{side}_{part}" for side in (1, 2) for part in "ab"),
        *("hada_t1", "hada_t2", "lokr_t2"),
        *(f"lokr_w{side}{part}" for side in (1, 2) for part in ("", "_a", "_b")),
    )
}
KOHYA_FACTORS = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "alpha": "alpha",
    "dora_scale": "magnitude",
} | _FACTORED
"""What follows a layer's name in kohya's files, and LyCORIS' for LoHa and LoKr."""

# A U-Net with attention everywhere and the deepest transformers: it has every layer that any of the families has.
_LARGEST: dict[str, Any] = {
    "block_out_channels": (0, 0, 0, 0),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 4,
    "up_block_types": ("CrossAttnUpBlock2D",) * 4,
    "transformer_layers_per_block": 10,
    "addition_embed_type": "text_time",
}
_CLIP_DEPTH = 32
"""Layers of the deepest text encoder, OpenCLIP bigG."""


@cache
def kohya_table(layout: str) -> Mapping[str, str]:
    """From a layer's name in kohya's files to its address."""
    if layout == "kohya-xl":
        unet = {_flat("lora_unet", original): f"unet.{path}" for original, path in unet_table(_LARGEST).items()}
        return joined(unet, _text("lora_te1", "text_encoder"), _text("lora_te2", "text_encoder_2"))
    # diffusers' names leave room for narrow relatives with more layers a level than Stable Diffusion's two.
    paths = unet_table(_LARGEST | {"layers_per_block": 4}).values()
    return joined({_flat("lora_unet", path): f"unet.{path}" for path in paths}, _text("lora_te", "text_encoder"))


@cache
def spoken_table() -> Mapping[str, str]:
    """Everything that is understood when read: both tables, and how LyCORIS numbers the last upsampler of SD 1.x."""
    alone = {"lora_unet_output_blocks_2_1_conv": "unet.up_blocks.0.upsamplers.0.conv"}
    return joined(kohya_table("kohya"), kohya_table("kohya-xl"), alone)


def _flat(prefix: str, path: str) -> str:
    return f"{prefix}_{path.replace('.', '_')}"


def _text(prefix: str, part: str) -> dict[str, str]:
    layers = (f"text_model.encoder.layers.{index}" for index in range(_CLIP_DEPTH))
    inner = (*(f"self_attn.{each}_proj" for each in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
    paths = [*(f"{layer}.{each}" for layer in layers for each in inner), "text_projection"]
    return {_flat(prefix, path): f"{part}.{path}" for path in paths}


_DIFFUSERS = {"down": "lora_A.weight", "up": "lora_B.weight", "magnitude": "lora_magnitude_vector"}

# What older diffusers wrote instead: the end of a key, the end of the layer's path, and the factor.
_OLD: dict[str, tuple[str, str]] = {
    ".lora_magnitude_vector.weight": ("", "magnitude"),
    ".alpha": ("", "alpha"),
    **{f".{name}": ("", name) for name in _FACTORED},
    **{f".{word}.{way}.weight": ("", way) for word in ("lora", "lora_linear_layer") for way in ("down", "up")},
    **{
        f"{before}to_{each}_lora.{way}.weight": (after, way)
        for each in ("q", "k", "v", "out")
        for way in ("down", "up")
        for before, after in (
            (".processor.", f".to_{each}.0" if each == "out" else f".to_{each}"),
            (".self_attn.", f".self_attn.{each}_proj"),
        )
    },
    **{f".{ending}": ("", factor) for factor, ending in _DIFFUSERS.items()},
}
_ENDINGS = sorted(_OLD, key=len, reverse=True)
_PARTS = re.compile(r"(unet|text_encoder|text_encoder_2|control)\.")
_BARE = {
    "unet": re.compile(r"(down_blocks|mid_block|up_blocks|conv_in|conv_out|time_embedding|add_embedding)\b"),
    "text_encoder": re.compile(r"(text_model|encoder)\."),
}
"""Paths that stand without their part, as the first diffusers and peft itself wrote them."""


def old_key(key: str) -> tuple[str, str] | None:
    """Address and factor of a key in diffusers' layout, or an older one; None for what is neither."""
    ending = next((ending for ending in _ENDINGS if key.endswith(ending)), None)
    if ending is None:
        return None
    after, factor = _OLD[ending]
    address = _address(key.removesuffix(ending).removeprefix("base_model.model.") + after)
    return None if address is None else (address, factor)


def _address(path: str) -> str | None:
    """The address of a layer that may stand without its part, or (text encoders) without `text_model`."""
    if not _PARTS.match(path):
        part = next((part for part, bare in _BARE.items() if bare.match(path)), None)
        return None if part is None else _address(f"{part}.{path}")
    return re.sub(r"^(text_encoder\w*)\.encoder\.", r"\1.text_model.encoder.", path)


# What is sometimes met under the name of a LoRA. The first pattern that a key has says what the file is.
_KINDS = "which is not supported; there are LoRA, LoCon, DoRA, LoHa and LoKr"
_REFUSED = {
    r"lllite": "is a ControlNet-LLLite, which is not supported; use a ControlNet or a Control-LoRA",
    r"^lora_controlnet$": "is a Control-LoRA, a whole control; load it as one",
    r"^model\.diffusion_model\.|^first_stage_model\.": "is a whole model, not a LoRA; give it as the base",
    r"^(lora_unet_)?(double|single|joint)_(blocks|trans)|^(lora_)?transformer[._]|^diffusion_model\.|^lora_te3_": (
        "changes a diffusion transformer (Flux, SD 3 and their like), and there are only U-Nets here; "
        "use a LoRA for SD 1.x, 2.x or SDXL"
    ),
    r"^lora_prior_": "changes a prior (Stable Cascade, Kandinsky), not supported; use a LoRA for SD 1.x, 2.x or SDXL",
    r"\.oft_(blocks|diag|R)": f"is an OFT or BOFT, {_KINDS}",
    r"\.[ab][12]\.weight$": f"is a GLoRA, {_KINDS}",
    r"\.on_input$": f"is an (IA)³, {_KINDS}",
    r"\.(diff|diff_b|w_norm|b_norm)$": f"changes whole weights or norms, {_KINDS}",
    r"\.lora_B\.bias$": "changes biases (lora_bias), which is not supported; train it without",
}


def refusal(keys: Iterable[str]) -> str | None:
    """What a file that is no LoRA of ours is instead, and the remedy; None when nothing speaks against it."""
    names = list(keys)
    return next((said for pattern, said in _REFUSED.items() if any(re.search(pattern, name) for name in names)), None)


@cache
def _inverse(layout: str) -> Mapping[str, str]:
    return flip(kohya_table(layout))


@cache
def _endings() -> Mapping[str, str]:
    return flip(KOHYA_FACTORS)


def factor_key(address: str, factor: str, layout: str) -> str | None:
    """The key of one factor in a layout of `LAYOUTS`; None where that has no place for it."""
    if layout == "diffusers":
        return f"{address}.{_DIFFUSERS[factor]}" if factor in _DIFFUSERS else None
    name, ending = _inverse(layout).get(address), _endings().get(factor)
    return None if name is None or ending is None else f"{name}.{ending}"
