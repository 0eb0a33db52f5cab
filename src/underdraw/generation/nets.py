"""Nets that steer a base: which one a control means, where it lies, and how it is opened.

A control may name its net: a path, a name on the shelf, a hub id. Without a name it is the folder `controlnet-<kind>`
beside the base, or the one there that says in its `about.json` that it takes such maps (one net may take a family of
kinds); for Stable Diffusion 1.x, where there is none, the published ControlNet 1.1 of that condition, if it is here.
ControlNets of every form, Control-LoRAs and T2I-Adapters are all meant by "net".
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from underdraw.annotators import ANNOTATORS, as_hint
from underdraw.errors import ConfigError
from underdraw.formats import About, Adapter
from underdraw.formats.conditions import PUBLISHED
from underdraw.formats.controls import control_at
from underdraw.formats.detect import detect
from underdraw.formats.families import family_of
from underdraw.formats.places import at_hand, locate_control, shelves
from underdraw.formats.t2i import adapter_at
from underdraw.generation.controls import FOLDER, control_nets
from underdraw.generation.provenance import fingerprint
from underdraw.model import Control, ControlNet, Injection

__all__ = ["Net", "Nets"]


@dataclass(frozen=True, eq=False)
class Net:
    """A net that is open: what speaks, and what is known of it."""

    speaker: ControlNet | Adapter
    about: About

    def control(self, condition: Tensor, **how: Any) -> Control:
        """The control that it is under a map B×C×H×W; `how` are further fields of `Control`."""
        hint_channels = self.speaker.hint_channels if isinstance(self.speaker, Adapter) else _channels(self.speaker)
        shown = condition if condition.shape[1] == hint_channels else as_hint(condition)
        return (Injection if isinstance(self.speaker, Adapter) else Control)(self.speaker, shown, **how)  # type: ignore[arg-type]


class Nets:
    """The nets of one base, each located, hashed and opened once.

    unet, folder, base: the base's U-Net, where nets beside it lie, and its name. prepare: what is done with each net.
    """

    def __init__(self, unet: Any, folder: Path, base: str, prepare: Callable[[nn.Module], None]) -> None:
        self.unet, self.folder, self.base, self.prepare = unet, folder, base, prepare
        self._places: dict[tuple[str, str], tuple[str, Path]] = {}
        self._open: dict[Path, Net] = {}

    def open(self, kind: str, name: str = "") -> Net:
        """The net for maps of a kind, or the one of that name.

        Raises ConfigError or CheckpointError, in one line, for what is missing, broken, or made for another base.
        """
        place = self._located(kind, name)[1]
        if place not in self._open:
            self._open[place] = self._opened(place)
            self.prepare(self._open[place].speaker)
        return self._open[place]

    def name(self, kind: str, name: str = "") -> str:
        """What a recipe calls it: as a person said it; nothing for one beside the base. Raises as `open`."""
        return self._located(kind, name)[0]

    def hash(self, kind: str, name: str = "") -> str:
        """Its fingerprint. Raises as `open`."""
        return fingerprint(self._located(kind, name)[1])

    def doubt(self, kind: str, name: str) -> str | None:
        """Why maps of a kind are not what the net of that name was made for, in a line; None where nothing says so."""
        wanted = self.open(kind, name).about.conditions if name else ()
        if not wanted or meaning_of(kind) in map(meaning_of, wanted):
            return None
        told = f"{name} was made for maps of {', '.join(wanted)}, and is given {kind}"
        return f"{told}; write {wanted[0]}=… if that is not meant"

    def _located(self, kind: str, name: str) -> tuple[str, Path]:
        key = ("", name) if name else (kind, "")
        if key not in self._places:
            self._places[key] = (name, locate_control(name)) if name else self._usual(kind)
        return self._places[key]

    def _usual(self, kind: str) -> tuple[str, Path]:
        """Where nobody says which: the one beside the base, or the published one."""
        beside, condition = control_nets(self.folder), meaning_of(kind)
        if kind in beside:
            return "", beside[kind]
        if alike := [other for other in beside if meaning_of(other) == condition]:
            return "", beside[alike[0]]
        published = PUBLISHED.get(condition, "") if self._is_sd1 else ""
        if published and (found := at_hand(published, "control")):
            return published, found
        there = f"there is {', '.join(sorted(beside))}" if beside else "there is none"
        file = f"put {Path(published).name}.pth into {shelves('control')[0]}, or " if published else ""
        raise ConfigError(
            f"no ControlNet for {condition!r} beside base {self.base!r}; {there} (folders {FOLDER}<kind>); "
            f"{file}say which: net={published or 'NAME'}"
        )

    @property
    def _is_sd1(self) -> bool:
        family = family_of(self.unet.config)
        return family.name == "sd1" and self.unet.config.get("cross_attention_dim") == family.width

    def _opened(self, place: Path) -> Net:
        ours = place.is_dir() and (place / "control.safetensors").is_file()
        if not ours and detect(place).kind == "t2i-adapter":
            adapter = adapter_at(place, self.unet)
            return Net(adapter, adapter.about)
        return Net(*control_at(place, self.unet))


def meaning_of(kind: str) -> str:
    """What maps of a kind are maps of: kinds of one condition are heard by one net."""
    return ANNOTATORS[kind].condition if kind in ANNOTATORS else kind


def _channels(net: ControlNet) -> int:
    return net.branch.hint_channels
