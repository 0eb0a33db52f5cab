"""Where models lie: the package, paths, one folder of models (plain, or A1111's or ComfyUI's), and the hub's cache.

UNDERDRAW_MODELS names the folder of models. If it is the root of an A1111 or a ComfyUI, their shelves are used; else
everything below it is looked through.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from underdraw.errors import ConfigError
from underdraw.files import models_folder
from underdraw.formats.conditions import PUBLISHED
from underdraw.formats.families import FAMILIES, Family
from underdraw.formats.hub import fetch_file, fetch_folder, kept
from underdraw.registry import nearest

__all__ = [
    "EMBEDDED",
    "KINDS",
    "at_hand",
    "listed",
    "locate_base",
    "locate_control",
    "locate_lora",
    "locate_vae",
    "shelves",
    "shipped_loras",
]

EMBEDDED = "embedded"
"""The name of the base that ships inside the package."""
KINDS = ("base", "vae", "control", "lora", "embedding")
"""What shelves are for."""

_ENDINGS = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
_LAYOUTS: tuple[dict[str, tuple[str, ...]], ...] = (
    {  # A1111
        "base": ("models/Stable-diffusion",),
        "vae": ("models/VAE",),
        "control": ("models/ControlNet", "extensions/sd-webui-controlnet/models"),
        "lora": ("models/Lora",),
        "embedding": ("embeddings",),
    },
    {  # ComfyUI
        "base": ("models/checkpoints", "models/diffusers"),
        "vae": ("models/vae",),
        "control": ("models/controlnet", "models/t2i_adapter"),
        "lora": ("models/loras",),
        "embedding": ("models/embeddings",),
    },
)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_HUB_FILE = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)/(.+\.(?:safetensors|ckpt|pth|pt|bin))")


def shelves(kind: str) -> list[Path]:
    """The folders where models of a kind are looked for; the first is where one should be put."""
    root = models_folder()
    for layout in _LAYOUTS:
        if (root / layout["base"][0]).is_dir():
            return [root / shelf for shelf in layout[kind]]
    return [root]


def listed(kind: str) -> Iterator[Path]:
    """The files, and the folders in diffusers layout, on the shelves of a kind, in the order of their names.

    In a plain folder every kind is found everywhere: what a file is says `detect`.
    """
    for shelf in shelves(kind):
        for path in sorted(shelf.rglob("*"), key=lambda path: path.as_posix().lower()):
            is_model = _is_model(path) if path.is_dir() else path.suffix in _ENDINGS
            if is_model and not any(map(_is_model, _between(shelf, path))):
                yield path


def locate_base(name: str | Path) -> Path:
    """Where the base of that name lies: "embedded", a path, a name on the shelf, a short name (sd15), or a hub id.

    What is not here is fetched from the hub. Raises CheckpointError saying which file to put where, where that fails;
    ConfigError for a name that can't be one.
    """
    if name == EMBEDDED:
        return Path(__file__).parents[1] / EMBEDDED
    family = _short(name)
    if family is None:
        return _locate(name, "base", [EMBEDDED, *(family.short for family in FAMILIES.values())])
    remedy = f"put {family.file} into {shelves('base')[0]}"
    return _of_family(family) or fetch_folder(family.repository, "base", remedy)


def locate_vae(name: str | Path) -> Path:
    """Where the autoencoder of that name lies, by the same rules."""
    return _locate(name, "vae", [])


def locate_control(name: str | Path) -> Path:
    """Where the ControlNet or adapter of that name lies, by the same rules."""
    return _locate(name, "control", [])


def locate_lora(name: str | Path) -> Path:
    """Where the LoRA of that name lies, by the same rules; of the hub's, say the file (owner/name/file.safetensors).

    Those that ship with the embedded base go by their names, unless another one on the shelf has it.
    """
    shipped, path = shipped_loras(), Path(name)
    if str(name) in shipped and not (path.exists() or _on_shelf(str(name), "lora")):
        return shipped[str(name)]
    return _locate(name, "lora", list(shipped))


def shipped_loras() -> dict[str, Path]:
    """The LoRAs of the embedded base, by name."""
    return {path.stem: path for path in sorted((locate_base(EMBEDDED) / "loras").glob("*.safetensors"))}


def at_hand(name: str, kind: str) -> Path | None:
    """Where the model of that name (no path) lies, if it is here already: nothing is fetched."""
    if kind == "base" and name == EMBEDDED:
        return locate_base(name)
    family = _short(name) if kind == "base" else None
    if found := _of_family(family) if family else _on_shelf(name, kind):
        return found
    repository = family.repository if family else name
    return kept(repository, kind) if _HUB_ID.fullmatch(repository) else None


def _short(name: str | Path) -> Family | None:
    return next((family for family in FAMILIES.values() if family.short == name), None)


def _of_family(family: Family) -> Path | None:
    return _on_shelf(Path(family.file).stem, "base") or _on_shelf(family.short, "base")


def _locate(name: str | Path, kind: str, others: list[str]) -> Path:
    path, shelf = Path(name).expanduser(), shelves(kind)[0]
    if path.exists():
        return path
    # Under its bare name a published file lies on many shelves already; and a recipe's path may be another machine's.
    if found := _on_shelf(str(name), kind):
        return found
    if in_hub := _HUB_FILE.fullmatch(str(name)):
        return fetch_file(in_hub[1], in_hub[2], f"put {Path(in_hub[2]).name} into {shelf}")
    if _HUB_ID.fullmatch(str(name)) and not str(name).endswith(_ENDINGS):
        title = path.name + (".pth" if str(name) in PUBLISHED.values() else "")
        return fetch_folder(str(name), kind, f"put its folder, or {title}, into {shelf}")
    known = [*others, *sorted({path.stem for path in listed(kind)})]
    raise ConfigError(
        f"no {kind} is called {str(name)!r}: no such path, none on the shelf {shelf}, and no hub id (owner/name); "
        f"{nearest(str(name), known)}"
    )


def _on_shelf(name: str, kind: str) -> Path | None:
    """The model of that name (with or without its ending, in any case), the shortest path first; else its fp16 twin.

    Of a path or a hub id it is the last part.
    """
    wanted = Path(name).name.lower()
    found = {path: (path.name.lower(), path.stem.lower()) for path in listed(kind)}
    chosen = [path for path, names in found.items() if wanted in names]
    chosen = chosen or [path for path, names in found.items() if f"{wanted}_fp16" in names]
    return min(chosen, key=lambda path: (len(path.parts), path), default=None)


def _is_model(folder: Path) -> bool:
    return (folder / "model_index.json").is_file() or (folder / "config.json").is_file()


def _between(shelf: Path, path: Path) -> Iterator[Path]:
    """The folders from a file's own up to the shelf."""
    for folder in path.parents:
        if folder == shelf:
            return
        yield folder
