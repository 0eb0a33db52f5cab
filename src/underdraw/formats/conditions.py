"""What a control file is for: as it says itself, else by the name under which it was published.

Some published nets want more than their map: shuffle averages its signals over the picture and rides on the conditional
half of guidance alone; IP2P, tile and inpaint take pictures instead of maps. Only their names (or the YAML beside them)
say so; here it is data, kept with each net: in the metadata of a file, in `about.json` of a folder.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from underdraw.errors import CheckpointError
from underdraw.files import atomic

__all__ = ["PUBLISHED", "About", "about_control", "about_folder", "write_about"]

ABOUT = "about.json"
"""In a control's folder: what is known of it beside its weights."""


@dataclass(frozen=True)
class About:
    """What is known of a control beside its weights.

    conditions: the kinds of maps that it takes, by the names that annotators give them; several, if it is one net for a
    family; none where nobody says. pool: whether its signals are averaged over the picture. side: the halves of
    guidance on which it rides. hint: what its map is, in words.
    annotator, base, recipe, hashes: what made it, as whoever wrote it has told.
    """

    conditions: tuple[str, ...] = ()
    pool: bool = False
    side: Literal["both", "conditional"] = "both"
    hint: str = "a condition map"
    annotator: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """What differs from an unknown control, for the metadata of a file."""
        unknown = asdict(About())
        return {key: value for key, value in asdict(self).items() if value != unknown[key]}


_SHUFFLED: dict[str, Any] = {"pool": True, "side": "conditional", "hint": "the picture, its content shuffled"}
_PUBLISHED: dict[str, About] = {
    "canny": About(("canny",)),
    "mlsd": About(("lines",)),
    "zoedepth": About(("depth",)),
    "depth": About(("depth",)),
    "midas": About(("depth",)),
    "normal": About(("normal",)),
    "seg": About(("segmentation",)),
    "inpaint": About(("inpaint",), hint="the picture, -1 where it is to be made anew"),
    "lineart_anime": About(("lineart_anime",)),
    "lineart": About(("lineart",)),
    "openpose": About(("pose",)),
    "dwpose": About(("pose",)),
    "scribble": About(("scribble",)),
    "softedge": About(("softedge",)),
    "hed": About(("softedge",)),
    "shuffle": About(("shuffle",), **_SHUFFLED),
    "ip2p": About(("ip2p",), hint="the picture itself; the prompt says what to change"),
    "tile": About(("tile",), hint="the picture, small and enlarged again"),
    "recolor": About(("recolor",)),
    "brightness": About(("recolor",)),
}
"""By what words of a published name begin with; the first that is found holds, so longer ones come before shorter."""

_AUTHOR = "lllyasviel"
PUBLISHED: dict[str, str] = {
    condition: f"{_AUTHOR}/control_{title}"
    for condition, title in {
        "canny": "v11p_sd15_canny",
        "depth": "v11f1p_sd15_depth",
        "inpaint": "v11p_sd15_inpaint",
        "ip2p": "v11e_sd15_ip2p",
        "lineart": "v11p_sd15_lineart",
        "lineart_anime": "v11p_sd15s2_lineart_anime",
        "lines": "v11p_sd15_mlsd",
        "normal": "v11p_sd15_normalbae",
        "pose": "v11p_sd15_openpose",
        "scribble": "v11p_sd15_scribble",
        "segmentation": "v11p_sd15_seg",
        "shuffle": "v11e_sd15_shuffle",
        "softedge": "v11p_sd15_softedge",
        "tile": "v11f1e_sd15_tile",
    }.items()
}
"""The ControlNet 1.1 for SD 1.5 of each condition: its id in the hub, whose end is also the name of its `.pth` file."""


def about_control(place: Path, told: Mapping[str, Any], pool: bool = False) -> About:
    """What is known of the control in a file or folder.

    told: what the file's metadata says (`TensorFile.said`). pool: what a config says.
    """
    known = {key: each for key, each in told.items() if key in About.__dataclass_fields__}
    if "conditions" in known:
        known["conditions"] = tuple(known["conditions"])
    guessed = _published(place)
    if pool or known.get("pool") or _yaml_pools(place):
        guessed = About(**{**asdict(guessed), "pool": True, "side": "conditional"})
    elif told.get("kind") == "controlnet":
        guessed = About()  # what we wrote says all that there is to say
    return About(**{**asdict(guessed), **known})


def about_folder(folder: Path) -> dict[str, Any]:
    """What a control's folder says of itself (`told` of `about_control`); nothing, where it says nothing.

    Raises CheckpointError for a file that is broken.
    """
    path = folder / ABOUT
    try:
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise CheckpointError(f"{path} is broken ({error}); write it again, or remove it") from error
    return told if isinstance(told, dict) else {}


def write_about(about: About, folder: Path) -> None:
    """Lay what is known of a control beside its weights, whole or not at all."""
    with atomic(folder / ABOUT) as draft:
        draft.write_text(json.dumps({"kind": "controlnet"} | about.said(), indent=1) + "\n", encoding="utf-8")


def _published(place: Path) -> About:
    """By name: a file's own, or a folder's, with the folders of the hub's cache."""
    names = [place.stem.lower(), *(part.lower() for part in place.parts[-4:-1] if part.startswith("models--"))]
    words = ["_" + "_".join(re.split(r"[^a-z0-9]+", name)) for name in names]
    found = (about for word in words for mark, about in _PUBLISHED.items() if f"_{mark}" in word)
    return next(found, About())


def _yaml_pools(place: Path) -> bool:
    beside = place.with_suffix(".yaml")
    if place.is_dir() or not beside.is_file():
        return False
    text = beside.read_text(encoding="utf-8", errors="replace")
    return bool(re.search(r"global_average_pooling:\s*true", text, re.IGNORECASE))
