"""What `underdraw doctor` looks at: this installation, this machine."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

__all__ = ["health"]

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface-hub", "numpy", "pillow")


def health() -> dict[str, Any]:
    """Facts by name, in the order in which they are shown: words, or lists of words."""
    import underdraw
    from underdraw.files import models_folder
    from underdraw.formats.hub import hub_cache
    from underdraw.formats.places import EMBEDDED, locate_base

    embedded = (locate_base(EMBEDDED) / "model_index.json").exists()
    return {
        "underdraw": underdraw.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "packages": [f"{name} {_version(name)}" for name in PACKAGES],
        "devices": _devices(),
        "memory": _memory(),
        "extras": _extras(),
        "embedded base": "there" if embedded else "missing; install the package again",
        "folder of models": _place(models_folder(), "UNDERDRAW_MODELS"),
        "hub cache": _place(hub_cache(), "HF_HUB_CACHE"),
        "hub": os.environ.get("HF_ENDPOINT") or "https://huggingface.co",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _devices() -> list[str]:
    """What can draw here, the best last."""
    import torch

    found = [f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"]
    if torch.backends.mps.is_available():
        found.append("mps")
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index} ({about.name}, {about.total_memory / 2**30:.1f} GiB)")
    return found


def _memory() -> str:
    """Of the machine, where its system tells."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return "unknown"
    page = os.sysconf("SC_PAGE_SIZE")
    whole = f"{os.sysconf('SC_PHYS_PAGES') * page / 2**30:.1f} GiB"
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return whole
    return f"{whole}, {os.sysconf('SC_AVPHYS_PAGES') * page / 2**30:.1f} GiB of it unused"


def _extras() -> list[str]:
    """The optional groups of packages, and what each lacks."""
    needs: dict[str, list[str]] = {}
    for line in distribution("underdraw").requires or ():
        found = re.fullmatch(r"([\w.-]+).*;\s*extra\s*==\s*[\"']([\w-]+)[\"']", line)
        if found and found[1] != "underdraw":
            needs.setdefault(found[2], []).append(found[1])
    lacks = {extra: [name for name in names if _version(name) == "missing"] for extra, names in needs.items()}
    told = [f"{extra}: lacks {' '.join(names)}" if names else f"{extra}: there" for extra, names in lacks.items()]
    return told or ["none"]


def _place(folder: Path, setting: str) -> str:
    """A folder, whether it is there, and which setting names it."""
    state = "" if folder.is_dir() else ", which is not there yet"
    return f"{folder}{state} ({setting}{' is set' if os.environ.get(setting) else ''})"
