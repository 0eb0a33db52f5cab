"""Bases in files: a single file in the original layout or a folder in diffusers layout, as parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from underdraw.errors import CheckpointError
from underdraw.formats.detect import facts_of, refuse_foreign
from underdraw.formats.families import UNET, Family, family_of, ignored
from underdraw.formats.parts import Part, public
from underdraw.formats.reading import open_tensors
from underdraw.formats.single import Report, SingleFile, lone_vae
from underdraw.formats.text_names import clip_from_original
from underdraw.formats.vae_names import modern
from underdraw.model.folders import read_json, read_tensors

__all__ = ["BaseParts", "read_base", "read_part", "read_vae"]


@dataclass(frozen=True, eq=False)
class BaseParts:
    """A base between files and modules.

    tokenizers: one for each text encoder: itself, the folder that holds it, or CLIP's own with this token to fill up.
    prediction: what the U-Net predicts; None where the file does not say.
    """

    place: Path
    family: Family
    unet: Part
    vae: Part | None
    texts: tuple[Part, ...]
    tokenizers: tuple[Any, ...]
    scheduler: Mapping[str, Any]
    prediction: str | None
    zero_empty: bool
    report: Report = field(default_factory=Report)

    def predicting(self, prediction: str) -> "BaseParts":
        """The same, with what the U-Net predicts said."""
        scheduler = {**self.scheduler, "prediction_type": prediction}
        return replace(self, prediction=prediction, scheduler=scheduler)


def read_base(path: str | Path) -> BaseParts:
    """The parts of a base. Raises CheckpointError, in one line, for what is none, broken, or of another family."""
    place = Path(path)
    return _read_folder(place) if place.is_dir() else _read_single(place)


def read_vae(path: str | Path, family: Family) -> Part:
    """An autoencoder: its folder, a base's folder or file, or a file of its own in either naming.

    family: of the base that it is meant for; single files don't say how their latents are scaled.
    """
    place = Path(path)
    if place.is_dir():
        return read_part(place / "vae" if (place / "vae").is_dir() else place)
    return lone_vae(open_tensors(place), family)


def read_part(folder: Path) -> Part:
    """One component of a folder in diffusers layout. Raises CheckpointError naming the file at fault."""
    config = read_json(folder / "config.json")
    model = str(config.get("_class_name") or next(iter(config.get("architectures") or ()), ""))
    tensors = read_tensors(folder, "model" if model.startswith("CLIPText") else "diffusion_pytorch_model")
    if model.startswith("CLIPText"):
        tensors = clip_from_original({name: each for name, each in tensors.items() if not ignored(name)})
    return Part(model, public(config), modern(tensors) if model == "AutoencoderKL" else tensors)


def _read_single(place: Path) -> BaseParts:
    file = open_tensors(place)
    facts = facts_of(file)
    if facts.kind != "base" and not file.under(UNET):
        refuse_foreign(facts)
        raise CheckpointError(f"{place} is a {facts.kind}, not a base; a base has a U-Net, an autoencoder and CLIP")
    single = SingleFile(file)
    scheduler = {**single.family.scheduler, **single.scheduler}
    if "ztsnr" in single.file.tensors:
        scheduler["rescale_betas_zero_snr"] = True
    parts = BaseParts(
        place=place,
        family=single.family,
        unet=single.unet,
        vae=single.vae,
        texts=single.texts,
        tokenizers=tuple(tower.pad for tower in single.family.towers),
        scheduler=scheduler,
        prediction=None,
        zero_empty=bool(file.said().get("zero_empty", single.family.zero_empty)),
        report=single.report(),
    )
    prediction = single.prediction()
    return parts.predicting(prediction) if prediction else parts


def _read_folder(root: Path) -> BaseParts:
    index = {name: entry for name, entry in read_json(root / "model_index.json").items() if entry != [None, None]}
    if "unet" not in index:
        raise CheckpointError(f"{root / 'model_index.json'} lists no unet; use a Stable Diffusion 1.x, 2.x or XL")
    names = [name for name in ("text_encoder", "text_encoder_2") if name in index]
    scheduler = read_json(root / "scheduler" / "scheduler_config.json")
    unet, texts = read_part(root / "unet"), tuple(read_part(root / name) for name in names)
    vae = read_part(root / "vae") if "vae" in index else None
    return BaseParts(
        place=root,
        family=family_of(unet.config),
        unet=unet,
        vae=vae,
        texts=texts,
        tokenizers=tuple(root / name.replace("text_encoder", "tokenizer") for name in names),
        scheduler=scheduler,
        prediction=scheduler.get("prediction_type", "epsilon"),
        zero_empty=bool(index.get("force_zeros_for_empty_prompt", False)),
        report=Report(sum(len(part.tensors) for part in (unet, *texts, *([vae] if vae else [])))),
    )
