"""Files that are told by their names and refused: what each kind is, and what would be needed to use it."""

import re
from collections.abc import Iterable

__all__ = ["CLASSES", "FOREIGN", "foreign_kind", "is_foreign_control"]

_TRANSFORMER = "a diffusion transformer; it needs a trunk over its blocks"

FOREIGN: dict[str, str] = {
    "controlnet-lllite": "a ControlNet-LLLite, which changes what attention layers inside the U-Net are given; "
    "it needs hooks at them, and the trunk has none",
    "controlnet-xs": "a ControlNet-XS, which talks with its base in both directions at every block; "
    "it needs a trunk that can be entered there",
    "controlnet-union": "a ControlNet-Union, whose transformer mixes several conditions by type; "
    "it needs a branch with a task embedding",
    "ip-adapter": "an IP-Adapter; it needs a CLIP vision encoder and a second cross-attention in the U-Net",
    "t2i-style-adapter": "a style adapter; it needs a CLIP vision encoder",
    "motion-module": "a motion module or SparseCtrl of AnimateDiff; it needs a U-Net over time",
    "hypernetwork": "a hypernetwork; it needs hooks on the keys and values of every attention",
    "tiny-autoencoder": "a tiny autoencoder (TAESD), which is for previews; use a whole one",
    "stable-cascade": "of Stable Cascade, whose networks are no U-Nets of these families",
    "flux": f"for Flux, {_TRANSFORMER}",
    "sd3": f"for Stable Diffusion 3, {_TRANSFORMER}",
    "diffusion-transformer": f"for {_TRANSFORMER}",
    "unknown": "of no kind that is known here",
}
"""What is told from its names and refused, each with what it is and what would be needed."""

_ROOT = r"^(model\.diffusion_model\.|diffusion_model\.|transformer\.|net\.)?"
_SIGNS: dict[str, re.Pattern[str]] = {
    kind: re.compile(sign)
    for kind, sign in {
        "controlnet-lllite": "lllite",
        "controlnet-xs": r"(^|\.)(enc_zero_convs_out|dec_zero_convs_out|ctrl_to_base|base_to_ctrl)",
        "controlnet-union": r"^(control_model\.)?(control_add_embedding|task_embedding|transformer_layes)\b",
        "ip-adapter": r"^(ip_adapter|image_proj)\.",
        "t2i-style-adapter": r"^style_embedding$",
        "motion-module": r"motion_modules\.|temporal_transformer",
        "tiny-autoencoder": r"^(taesd_)?(encoder|decoder)\.(layers\.)?\d+\.(weight|conv\.)",
        "stable-cascade": r"^(clip_txt_mapper\b|down_blocks\.\d\.\d+\.channelwise\b)",
        "flux": _ROOT + r"(double_blocks|single_blocks|single_transformer_blocks)\.",
        "sd3": _ROOT + r"(joint_blocks|context_embedder)\.",
        "diffusion-transformer": _ROOT + r"(transformer_blocks|blocks|layers|cap_embedder|patchify_proj)\.",
        "hypernetwork": r"^\d+\.",
    }.items()
}

CLASSES = {
    "ControlNetModel": "controlnet",
    "ControlNetUnionModel": "controlnet-union",
    "ControlNetXSAdapter": "controlnet-xs",
    "UNet2DConditionModel": "unet",
    "AutoencoderKL": "vae",
    "AutoencoderTiny": "tiny-autoencoder",
    "T2IAdapter": "t2i-adapter",
    "CLIPTextModel": "text-encoder",
    "CLIPTextModelWithProjection": "text-encoder",
    "FluxControlNetModel": "flux",
    "FluxTransformer2DModel": "flux",
    "SD3ControlNetModel": "sd3",
    "SD3Transformer2DModel": "sd3",
    "MotionAdapter": "motion-module",
    "SparseControlNetModel": "motion-module",
}
"""Kinds by the class that a folder's config.json names."""


def foreign_kind(names: Iterable[str]) -> str:
    """The kind of `FOREIGN` that these names of tensors are of."""
    every = list(names)
    return next((kind for kind, sign in _SIGNS.items() if any(map(sign.search, every))), "unknown")


def is_foreign_control(names: Iterable[str]) -> bool:
    """Whether what looks like a ControlNet by some of its names is a relative that works otherwise."""
    every = list(names)
    kinds = ("controlnet-xs", "controlnet-union", "motion-module")
    return any(any(map(_SIGNS[kind].search, every)) for kind in kinds)
