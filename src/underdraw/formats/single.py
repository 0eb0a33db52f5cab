"""One file with a whole base in it, in the original layout: every part taken out, all the rest accounted for."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from underdraw.errors import CheckpointError
from underdraw.formats.families import FAMILIES, UNET, VAE, Family, Tower, family_of, ignored
from underdraw.formats.parts import Part
from underdraw.formats.reading import TensorFile, shapes_of
from underdraw.formats.shapes import Naming, heads, text_config, text_unsaid, unet_config, unsaid, vae_config
from underdraw.formats.tables import Table, known, translate
from underdraw.formats.text_names import clip_from_original, clip_table, open_clip_from_original, open_clip_table
from underdraw.formats.unet_names import unet_table
from underdraw.formats.vae_names import modern, vae_from_original, vae_table

__all__ = ["Report", "SingleFile", "lone_vae"]

_STRANGERS = {
    5: "the depth model of Stable Diffusion 2, which wants a depth map beside its sample",
    7: "the x4 upscaler, which wants a small picture beside its sample",
}
_CLIP_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.")
_UNHEARD = "a layer of the text encoder that nobody hears"


@dataclass(frozen=True)
class Report:
    """What became of a base file's tensors: how many were read, why others were left out, and which nobody knows."""

    read: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


class SingleFile:
    """The parts of a base that one file holds. Raises CheckpointError where it is of no family that we know."""

    def __init__(self, file: TensorFile) -> None:
        self.file, self.scheduler = file, file.told("scheduler")
        self._left_out: Counter[str] = Counter()
        self._unknown: list[str] = []
        self.unet = self._unet()
        self.family = family_of(self.unet.config)
        self._refuse_strangers()

    @cached_property
    def vae(self) -> Part | None:
        """The autoencoder; None where the file has none."""
        tensors = self.file.under(VAE)
        if not tensors:
            return None
        config = _vae_config(self.file, tensors, self.family)
        mine = self._known(tensors, vae_table(config), VAE)
        return Part("AutoencoderKL", config, vae_from_original(mine, config, self.file.path))

    @cached_property
    def texts(self) -> tuple[Part, ...]:
        """The text encoders of the family. Raises CheckpointError where one is missing."""
        parts = []
        for place, tower in enumerate(self.family.towers):
            tensors = self._open_clip(tower) if tower.naming == "open-clip" else self._clip(tower)
            shown = self._shown(tensors, tower)
            said = self.file.told(f"text_encoder_{place + 1}")
            parts.append(Part(tower.model, text_unsaid(shown, tower) | said | shown, tensors))
        return tuple(parts)

    def report(self) -> Report:
        """What became of every tensor."""
        parts = (self.unet, *([self.vae] if self.vae else []), *self.texts)
        prefixes = (UNET, VAE, *(tower.prefix for tower in self.family.towers))
        left_out, unknown = self._left_out.copy(), list(self._unknown)
        for name in self.file.tensors:
            if not name.startswith(prefixes):
                _leave(name, left_out, unknown)
        return Report(sum(len(part.tensors) for part in parts), left_out, tuple(unknown))

    def prediction(self) -> str | None:
        """What the U-Net predicts, as the file says (in its metadata, by a mark, in the YAML beside it) or its family.

        None where nothing says it: SD 2.x has both kinds, of the same shapes.
        """
        told = self.scheduler.get("prediction_type")
        told = told or self.file.metadata.get("modelspec.prediction_type")
        beside = self.file.path.with_suffix(".yaml")
        if "v_pred" in self.file.tensors or told in ("v", "v_prediction"):
            return "v_prediction"
        if told in ("epsilon", "sample"):
            return str(told)
        if beside.is_file():
            text = beside.read_text(encoding="utf-8", errors="replace")
            return "v_prediction" if re.search(r"parameterization:\s*[\"']?v\b", text) else "epsilon"
        return None if self.family.name == "sd2" and self.unet.config["in_channels"] == 4 else "epsilon"

    def _unet(self) -> Part:
        tensors = self.file.under(UNET)
        if not tensors:
            raise CheckpointError(f"{self.file.path} holds no whole model (no {UNET}…); see: underdraw inspect")
        try:
            shown = unet_config(shapes_of(tensors))
        except (KeyError, IndexError, ValueError) as error:
            raise CheckpointError(
                f"{self.file.path} is no Stable Diffusion 1.x, 2.x or XL: its U-Net lacks {error}"
            ) from error
        family = family_of(shown)
        told = self.file.told("unet") or {"attention_head_dim": heads(shown, family, self.file.path)}
        config = {"sample_size": family.size} | unsaid(shown, family) | told | shown
        mine = self._known(tensors, unet_table(config), UNET)
        return Part("UNet2DConditionModel", config, translate(mine, unet_table(config), self.file.path))

    def _clip(self, tower: Tower) -> dict[str, Tensor]:
        found = clip_from_original(self._found(tower))
        layers = 1 + max((int(each[1]) for name in found if (each := _CLIP_LAYER.match(name))), default=-1)
        return self._known(found, clip_table(layers), tower.prefix)

    def _open_clip(self, tower: Tower) -> dict[str, Tensor]:
        found = self._found(tower)
        layers = 1 + max(map(_layer, found))
        heard = min(layers, tower.heard or layers)
        spoken = {name: each for name, each in found.items() if _layer(name) < heard}
        if len(spoken) < len(found):
            self._left_out[_UNHEARD] += len(found) - len(spoken)
        table = open_clip_table(heard) | {name: name for name in spoken if ".in_proj_" in name}
        if tower.model == "CLIPTextModel":
            del table["text_projection"]
        return open_clip_from_original(self._known(spoken, table, tower.prefix), heard, self.file.path)

    def _shown(self, tensors: Mapping[str, Tensor], tower: Tower) -> dict[str, Any]:
        try:
            return text_config(shapes_of(tensors))
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{self.file.path}: its text encoder ({tower.prefix}…) lacks {error}") from error

    def _found(self, tower: Tower) -> dict[str, Tensor]:
        found = self.file.under(tower.prefix)
        if not found:
            raise CheckpointError(f"{self.file.path} has no text encoder (no {tower.prefix}…); use a whole checkpoint")
        return found

    def _known(self, tensors: Mapping[str, Tensor], table: Table, prefix: str) -> dict[str, Tensor]:
        mine, others = known(tensors, table)
        for name in others:
            _leave(prefix + name, self._left_out, self._unknown)
        return mine

    def _refuse_strangers(self) -> None:
        """Relatives of the families that want more than a prompt."""
        path, channels = self.file.path, self.unet.config["in_channels"]
        if channels in _STRANGERS:
            raise CheckpointError(f"{path} is {_STRANGERS[channels]}; it is not supported")
        if self.family.name == "sdxl" and not self.file.under(FAMILIES["sdxl"].towers[1].prefix):
            refines = bool(self.file.under("conditioner.embedders.0.model."))
            what = "the refiner of SDXL" if refines else "an unCLIP model or another relative of Stable Diffusion"
            raise CheckpointError(f"{path} is {what}; it is not supported, use a base")


def lone_vae(file: TensorFile, family: Family) -> Part:
    """The autoencoder in a file of its own, in either naming, or in that of a base. Raises CheckpointError."""
    halves = file.under(VAE)
    tensors = {name: each for name, each in (halves or file.tensors).items() if not ignored(name)}
    if any(name.startswith("encoder.down_blocks.0.") for name in tensors):
        return Part("AutoencoderKL", _vae_config(file, tensors, family, "diffusers"), modern(tensors))
    if not any(name.startswith("encoder.down.0.") for name in tensors):
        raise CheckpointError(f"{file.path} holds no autoencoder of Stable Diffusion; see: underdraw inspect")
    config = _vae_config(file, tensors, family)
    return Part("AutoencoderKL", config, vae_from_original(tensors, config, file.path))


def _vae_config(
    file: TensorFile, tensors: Mapping[str, Tensor], family: Family, naming: Naming = "original"
) -> dict[str, Any]:
    """The family says how the latents are scaled, unless the file does."""
    try:
        shown = vae_config(shapes_of(tensors), naming)
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f"{file.path}: its autoencoder lacks {error}; it is of another model") from error
    return {"scaling_factor": family.latent_scale, "sample_size": 8 * family.size} | file.told("vae") | shown


def _layer(name: str) -> int:
    """The number of the block that a tensor of OpenCLIP belongs to; -1 outside of them."""
    found: Any = re.search(r"resblocks\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _leave(name: str, left_out: Counter[str], unknown: list[str]) -> None:
    if why := ignored(name):
        left_out[why] += 1
    else:
        unknown.append(name)
