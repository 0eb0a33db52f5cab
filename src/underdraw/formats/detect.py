"""What a file or folder is, told from names and shapes alone: nothing is loaded, and nothing of it runs."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from underdraw.errors import CheckpointError
from underdraw.formats.control_lora import MARK, lora_shapes
from underdraw.formats.families import FAMILIES, UNET, VAE, family_of
from underdraw.formats.foreign import CLASSES, FOREIGN, foreign_kind, is_foreign_control
from underdraw.formats.reading import TensorFile, open_tensors, shapes_of
from underdraw.formats.shapes import Naming, Shapes, control_config, encoder_config, vae_config
from underdraw.model.folders import read_json

__all__ = ["Facts", "detect", "facts_of", "refuse_foreign"]


@dataclass(frozen=True)
class Facts:
    """What is known of a file or folder of weights.

    kind: base, unet, vae, text-encoder, controlnet, control-lora, t2i-adapter, lora, textual-inversion, or one of
    `FOREIGN`, or "unknown". layout: original, diffusers, kohya, … family: of `FAMILIES`, or "". dtypes: how many
    tensors are of each. details: facts of its shapes. said: what it says of itself (metadata).
    """

    path: Path
    kind: str
    layout: str = ""
    family: str = ""
    dtypes: Mapping[str, int] = field(default_factory=dict)
    tensors: int = 0
    size: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)


_LORA = re.compile(
    r"\.(lora_(down|up|A|B)|lora\.(down|up)|lora_linear_layer|hada_w|lokr_w|dora_scale|oft_|alpha$|diff$)"
)

_Finder = Callable[[TensorFile], dict[str, Any] | None]


def detect(path: str | Path) -> Facts:
    """What a file of weights, or a folder in diffusers layout, is. Raises CheckpointError for what can't be read."""
    place = Path(path)
    return _folder(place) if place.is_dir() else facts_of(open_tensors(place))


def facts_of(file: TensorFile) -> Facts:
    """What a file that is open already is."""
    try:
        found = next((found for finder in _FINDERS if (found := finder(file))), {"kind": foreign_kind(file.tensors)})
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file.path} has tensors of shapes that its kind never has; copy it again") from error
    kinds = Counter(str(each.dtype).removeprefix("torch.") for each in file.tensors.values())
    return Facts(
        path=file.path,
        dtypes=dict(kinds.most_common()),
        tensors=len(file.tensors),
        size=file.path.stat().st_size,
        said={key: value for key, value in file.metadata.items() if key != "format"},
        **found,
    )


def refuse_foreign(facts: Facts) -> None:
    """Raises CheckpointError, which says what it is and what would be needed, for kinds that can't be used here."""
    if facts.kind in FOREIGN:
        raise CheckpointError(f"{facts.path} is {FOREIGN[facts.kind]}; it is not supported")


def _folder(place: Path) -> Facts:
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    if (place / "model_index.json").is_file():
        index = read_json(place / "model_index.json")
        config = read_json(place / "unet" / "config.json") if "unet" in index else {}
        family = _family(config) if config else ""
        details = {"pipeline": index.get("_class_name", ""), "input channels": config.get("in_channels")}
        return Facts(
            place, "base" if config else "diffusion-transformer", "diffusers", family, size=size, details=details
        )
    config = read_json(place / "config.json")
    name = str(config.get("_class_name") or next(iter(config.get("architectures") or ()), ""))
    kind = CLASSES.get(name, "unknown")
    has_family = kind in ("controlnet", "unet")
    return Facts(place, kind, "diffusers", _family(config) if has_family else "", size=size, details={"class": name})


def _control_lora(file: TensorFile) -> dict[str, Any] | None:
    if MARK not in file.tensors:
        return None
    ranks = {each.shape[1] for name, each in file.tensors.items() if name.endswith(".up")}
    config = _tried(control_config, lora_shapes(file.tensors), "original")
    details = {"rank": max(ranks, default=0), "hint channels": config["conditioning_channels"] if config else 3}
    family = _family(config) if config else ""
    return {"kind": "control-lora", "layout": "original", "family": family, "details": details}


def _control(file: TensorFile) -> dict[str, Any] | None:
    """A ControlNet, in either naming, alone or with the rest of Stable Diffusion."""
    prefix = "control_model." if any(name.startswith("control_model.") for name in file.tensors) else ""
    tensors = file.under(prefix)
    if is_foreign_control(tensors):
        return None
    if "controlnet_cond_embedding.conv_in.weight" in tensors:
        naming: Naming = "diffusers"
    elif "input_hint_block.0.weight" in tensors and "zero_convs.0.0.weight" in tensors:
        naming = "original"
    else:
        return None
    config = _tried(control_config, shapes_of(tensors), naming)
    if config is None:
        return {"kind": "controlnet", "layout": naming}
    details = {"hint channels": config["conditioning_channels"], "encoder": _size(config)}
    if "difference" in file.tensors:
        details["form"] = "difference from its base"
    elif file.under(UNET):
        details["form"] = "with the whole of Stable Diffusion"
    return {"kind": "controlnet", "layout": naming, "family": _family(config), "details": details}


def _lora(file: TensorFile) -> dict[str, Any] | None:
    names = [name for name in file.tensors if _LORA.search(name)]
    if len(names) < 0.5 * len(file.tensors) or any("lllite" in name for name in names):
        return None
    kohya = any(name.startswith(("lora_unet_", "lora_te")) for name in names)
    marks = {"hada_w": "LoHa", "lokr_w": "LoKr", "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "oft_": "OFT"}
    algorithm = next((kind for mark, kind in marks.items() if any(mark in name for name in file.tensors)), "LoRA")
    heard = {
        each.shape[1] for name, each in file.tensors.items() if re.search(r"attn2[._]to_k\.lora[_.](down|A)", name)
    }
    family = next((each.name for each in FAMILIES.values() if each.width in heard), "")
    downs = [each for name, each in file.tensors.items() if re.search(r"lora_(down|A)|lora\.down", name)]
    details = {"algorithm": algorithm, "rank": max((len(each) for each in downs), default=0)}
    return {"kind": "lora", "layout": "kohya" if kohya else "diffusers", "family": family, "details": details}


def _base(file: TensorFile) -> dict[str, Any] | None:
    """A base, or a U-Net alone in either naming."""
    for prefix, naming in ((UNET, "original"), ("", "original"), ("", "diffusers")):
        tensors = file.under(prefix) if prefix else file.tensors
        ends = ("output_blocks.0.0.in_layers.0.weight", "up_blocks.0.resnets.0.norm1.weight")
        if ends[naming == "diffusers"] not in tensors or any("motion_modules" in name for name in tensors):
            continue
        config = _tried(encoder_config, shapes_of(tensors), "diffusers" if naming == "diffusers" else "original")
        if config is None:
            return None
        details: dict[str, Any] = {"input channels": config["in_channels"]}
        if prefix:
            details["parts"] = ", ".join(_parts(file))
            details |= {"predicts": "v"} if "v_pred" in file.tensors else {}
        family = _family(config)
        return {"kind": "base" if prefix else "unet", "layout": naming, "family": family, "details": details}
    return None


def _vae(file: TensorFile) -> dict[str, Any] | None:
    tensors = file.under(VAE) or file.tensors
    for mark, naming in (
        ("encoder.down.0.block.0.conv1.weight", "original"),
        ("encoder.down_blocks.0.resnets.0.conv1.weight", "diffusers"),
    ):
        if mark in tensors and "decoder.conv_in.weight" in tensors:
            config = _tried(vae_config, shapes_of(tensors), "diffusers" if naming == "diffusers" else "original")
            details = {"latent channels": config["latent_channels"]} if config else {}
            return {"kind": "vae", "layout": naming, "details": details}
    return None


def _adapter(file: TensorFile) -> dict[str, Any] | None:
    """A T2I-Adapter: full (SD or SDXL) or light."""
    tensors = {name.removeprefix("adapter."): each for name, each in file.tensors.items()}
    full, light = "conv_in.weight" in tensors, "body.0.in_conv.weight" in tensors
    if not (full or light) or not any(re.match(r"body\.\d+\.", name) for name in tensors):
        return None
    layout = "diffusers" if any(".resnets." in name for name in tensors) else "original"
    pixels = tensors["conv_in.weight" if full else "body.0.in_conv.weight"].shape[1]
    xl = pixels in (256, 768)
    details = {"form": "full" if full else "light", "hint channels": pixels // (256 if xl else 64)}
    return {"kind": "t2i-adapter", "layout": layout, "family": "sdxl" if xl else "sd1", "details": details}


def _text_encoder(file: TensorFile) -> dict[str, Any] | None:
    words = "embeddings.token_embedding.weight"
    for name in (f"text_model.{words}", words):
        if name in file.tensors:
            return {"kind": "text-encoder", "layout": "diffusers", "details": {"width": file.tensors[name].shape[1]}}
    return None


def _inversion(file: TensorFile) -> dict[str, Any] | None:
    """A textual inversion: A1111's, SDXL's pair, or diffusers' one tensor named by its word."""
    # Some say which tokens they stand for, as numbers.
    vectors = {name: each for name, each in file.tensors.items() if not name.startswith("string_to_token.")}
    names = list(vectors)
    if any(name.startswith("string_to_param.") for name in names) or {"emb_params"} & set(names):
        layout = "a1111"
    elif set(names) <= {"clip_l", "clip_g"}:
        layout = "sdxl"
    elif len(names) == 1 and "." not in names[0] and 1 <= vectors[names[0]].ndim <= 2:
        layout = "diffusers"
    else:
        return None
    widths = {each.shape[-1] for each in vectors.values() if each.ndim}
    family = "sdxl" if layout == "sdxl" else next((each.name for each in FAMILIES.values() if each.width in widths), "")
    count = max(1 if each.ndim < 2 else len(each) for each in vectors.values())
    return {"kind": "textual-inversion", "layout": layout, "family": family, "details": {"tokens": count}}


_FINDERS: tuple[_Finder, ...] = (_control_lora, _control, _lora, _base, _vae, _adapter, _text_encoder, _inversion)


def _family(config: Mapping[str, Any]) -> str:
    """The family whose own widths these are; "" for narrow relatives."""
    family = family_of(config)
    return family.name if config.get("cross_attention_dim", family.width) == family.width else ""


def _tried(read: Callable[[Shapes, Naming], dict[str, Any]], shapes: Shapes, naming: Naming) -> dict[str, Any] | None:
    try:
        return read(shapes, naming)
    except (KeyError, IndexError, ValueError):
        return None


def _size(config: Mapping[str, Any]) -> str:
    """Of a ControlNet's encoder: full, or the smaller ones of SDXL."""
    if config.get("addition_embed_type") is None:
        return "full"
    attended = [kind for kind in config["down_block_types"] if kind.startswith("Cross")]
    depths = config["transformer_layers_per_block"]
    deepest = max(depths) if isinstance(depths, list) else depths
    return "small" if not attended else "full" if deepest > 1 else "mid"


def _parts(file: TensorFile) -> list[str]:
    towers = {tower.prefix for family in FAMILIES.values() for tower in family.towers}
    count = sum(any(name.startswith(prefix) for name in file.tensors) for prefix in towers)
    has_vae = any(name.startswith(VAE) for name in file.tensors)
    return ["unet", *(["vae"] if has_vae else []), *[f"{count} text encoder{'s' * (count > 1)}"] * (count > 0)]
