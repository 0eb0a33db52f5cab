"""ControlNets in files, of every form that people have, as parts; and opened for a base.

original       `control_model.…` or bare names, nested in `state_dict` or not, alone or with the whole of SD
difference     the same with a mark: what a control differs by from its base
Control-LoRA   the same as low-rank differences from the base
diffusers      a folder, or its file of weights alone
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from underdraw.errors import CheckpointError, ConfigError
from underdraw.formats.conditions import About, about_control, about_folder
from underdraw.formats.control_lora import MARK, composed, lora_shapes
from underdraw.formats.detect import detect, refuse_foreign
from underdraw.formats.families import family_of, ignored
from underdraw.formats.parts import Part, public
from underdraw.formats.places import locate_control
from underdraw.formats.reading import TensorFile, open_tensors, shapes_of
from underdraw.formats.shapes import Naming, Shapes, control_config, heads, unsaid
from underdraw.formats.tables import translate
from underdraw.formats.unet_names import control_table
from underdraw.model import ControlNet
from underdraw.model.folders import read_json, read_tensors
from underdraw.model.store import control_config as config_of
from underdraw.model.store import control_of, load_control
from underdraw.model.trunk import Trunk

__all__ = [
    "CONTROL",
    "ControlParts",
    "control_at",
    "control_parts",
    "open_control",
    "read_control",
    "transfer",
    "transferred",
]

CONTROL = "control_model."
"""Where the branch lies in an original file, if it does not lie bare."""
_DIFFERENCE = "difference"
_LIKE_ITS_BASE = (
    *("attention_head_dim", "norm_num_groups", "norm_eps", "upcast_attention", "cross_attention_dim"),
    "addition_time_embed_dim",
)
"""What no shape tells and a control has from its base."""
_BASE_PARTS = ("model.", "first_stage_model.", "cond_stage_model.", "conditioner.")


@dataclass(frozen=True, eq=False)
class ControlParts:
    """A ControlNet between files and modules: diffusers' config and tensors, and what is known beside them."""

    place: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    about: About = field(default_factory=About)

    @property
    def part(self) -> Part:
        """As one component, to be written in diffusers layout."""
        pooled = {"global_pool_conditions": self.about.pool}
        return Part("ControlNetModel", {**self.config, **pooled}, self.tensors)


def open_control(name: str | Path, unet: Trunk) -> ControlNet:
    """The control network of that name (a path, a name on the shelf, a hub id), for this U-Net, to draw with.

    On its device, in its precision. Raises CheckpointError, in one line, for what is missing, broken, of another
    family, or of a kind that is no ControlNet; it says what it is.
    """
    return control_at(locate_control(name), unet)[0]


def control_at(place: Path, unet: Trunk) -> tuple[ControlNet, About]:
    """The control network in a file or folder, and what is known of it. Raises as `open_control`."""
    if place.is_dir() and (place / "control.safetensors").is_file():
        return load_control(place, unet), about_control(place, about_folder(place))
    parts = read_control(place, Part("UNet2DConditionModel", dict(unet.config), _tensors_of(unet)))
    return control_of(parts.part.config, parts.tensors, unet, place), parts.about


def read_control(path: str | Path, base: Part | None = None) -> ControlParts:
    """The parts of a ControlNet in a file or folder.

    base: the U-Net that it is for; "difference" files and Control-LoRAs can't be read without. Raises CheckpointError.
    """
    place = Path(path)
    parts = _read_folder(place) if place.is_dir() else _read_file(open_tensors(place), base)
    _same_family(parts, base)
    return parts


def control_parts(net: ControlNet, about: About | None = None, place: str | Path = "the control") -> ControlParts:
    """The parts of a network, sharing its memory.

    Raises ConfigError for kinds that only our own folders hold (`save_control`).
    """
    kind = (net.config.branch.kind, net.config.branch.hint, net.config.fusion.kind, net.config.branch.sites)
    if kind != ("full", "code", "add", "all") or "cross_attention_dim" not in net.branch.config:
        raise ConfigError(
            f"a {kind[0]} branch with {kind[2]} fusion is no ControlNet of other tools; write a folder (save_control)"
        )
    tensors = {name.removeprefix("branch."): each.detach() for name, each in net.state_dict().items()}
    about = about or About()
    if net.config.branch.pool:
        about = replace(about, pool=True)
    return ControlParts(Path(place), config_of(net), tensors, about)


def transfer(net: ControlNet, old: Trunk, new: Trunk) -> ControlNet:
    """The control for another base of its family, moved by what the bases differ in: control + new - old.

    (Without it a control works on every base of its family as it is.) Raises ConfigError for another family.
    """
    parts = transferred(control_parts(net), _tensors_of(old), _tensors_of(new))
    return control_of(parts.part.config, parts.tensors, new, "the transferred control")


def transferred(parts: ControlParts, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> ControlParts:
    """The same control, moved from one U-Net's tensors to another's. Raises CheckpointError for another family."""
    tensors = {}
    for name, each in parts.tensors.items():
        if name not in old or each.shape != old[name].shape:
            tensors[name] = each
        elif old[name].shape != new[name].shape:
            raise CheckpointError(f"{parts.place} can't move: {name} has other shapes in the bases; choose one family")
        else:
            tensors[name] = (each.float() + (new[name].float() - old[name].float())).to(each.dtype)
    return replace(parts, tensors=tensors)


def _read_folder(place: Path) -> ControlParts:
    config = read_json(place / "config.json")
    if config.get("_class_name") != "ControlNetModel":
        refuse_foreign(detect(place))
        raise CheckpointError(f"{place} holds a {config.get('_class_name')}, not a ControlNetModel; choose another")
    about = about_control(place, about_folder(place), bool(config.get("global_pool_conditions")))
    return ControlParts(place, public(config), read_tensors(place, "diffusion_pytorch_model"), about)


def _read_file(file: TensorFile, base: Part | None) -> ControlParts:
    facts = detect(file.path)
    refuse_foreign(facts)
    if facts.kind not in ("controlnet", "control-lora"):
        remedy = "open it with open_adapter" if facts.kind == "t2i-adapter" else "see: underdraw inspect"
        raise CheckpointError(f"{file.path} is a {facts.kind}, not a ControlNet; {remedy}")
    naming: Naming = "diffusers" if facts.layout == "diffusers" else "original"
    tensors = _branch(file)
    is_lora, is_difference = tensors.pop(MARK, None) is not None, tensors.pop(_DIFFERENCE, None) is not None
    if (is_lora or is_difference) and base is None:
        raise CheckpointError(f"{file.path} holds only what differs from its base; say which base that is (--base)")
    config = _config(file, lora_shapes(tensors) if is_lora else shapes_of(tensors), naming, base)
    about = about_control(file.path, file.said())
    if naming == "original":
        tensors = translate(tensors, control_table(config), file.path)
    parts = ControlParts(file.path, config, tensors, about)
    _same_family(parts, base)
    if is_lora and base:
        parts = replace(parts, tensors=composed(tensors, base.tensors, file.path))
    if is_difference and base:
        added = {name: each + base.tensors[name].to(each) for name, each in tensors.items() if name in base.tensors}
        parts = replace(parts, tensors={**tensors, **added})
    return parts


def _branch(file: TensorFile) -> dict[str, Tensor]:
    """The branch's tensors, bare. Of a file with the whole of SD the rest is left out; nothing else may be there."""
    if not any(name.startswith(CONTROL) for name in file.tensors):
        return dict(file.tensors)
    beside = {name: each for name, each in file.tensors.items() if not name.startswith(CONTROL)}
    unknown = {name: each for name, each in beside.items() if not (name.startswith(_BASE_PARTS) or ignored(name))}
    return file.under(CONTROL) | unknown


def _config(file: TensorFile, shapes: Shapes, naming: Naming, base: Part | None) -> dict[str, Any]:
    """What shapes tell; then what the file says itself, or else what its base is like, or else its family."""
    try:
        shown = control_config(shapes, naming)
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{file.path} is a ControlNet without {error}; the file is broken or of another kind"
        ) from error
    family = family_of(shown)
    told = file.told("control")
    if not told and base is None:
        told = {"attention_head_dim": heads(shown, family, file.path)}
    elif not told and base and family_of(base.config).name == family.name:
        told = {key: base.config[key] for key in _LIKE_ITS_BASE if key in base.config}
    return unsaid(shown, family) | told | shown


def _same_family(parts: ControlParts, base: Part | None) -> None:
    """Raises CheckpointError, in one sentence, for a control of another family than its base."""
    if base is None:
        return
    mine, other = family_of(parts.config), family_of(base.config)
    if mine.name != other.name:
        raise CheckpointError(
            f"{parts.place} is a ControlNet for {mine.title}, and the base is {other.title}; use one of the same family"
        )


def _tensors_of(unet: Any) -> dict[str, Tensor]:
    return {name: each.detach() for name, each in unet.state_dict().items()}
