"""Underdraw: draw the structure of a picture and let a diffusion model paint it.

studio = underdraw.load()
studio.draw("an orange cat", controls=[underdraw.Control("canny", "cat.jpg")], seeds=range(4))
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LATER = {"Control": "ControlRequest", "Studio": "Studio", "Tiling": "Tiling", "Hires": "Hires", "verify": "verify"}
"""What the first use of a name brings in, so that importing the package itself is quick."""


def load(base: str = "embedded", device: str = "auto", dtype: str = "float32", **more: Any) -> Any:
    """The studio of a base: "embedded", or any Stable Diffusion by a short name, a hub id, a folder, or a file.

    more: `vae`, `offload`, as in `Studio.open`. Raises CheckpointError for weights that are missing or broken,
    ConfigError for an unknown name, device or dtype.
    """
    return import_module("underdraw.generation").Studio.open(base, device, dtype, **more)


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module("underdraw.generation"), _LATER[name])
    raise AttributeError(f"module 'underdraw' has no attribute {name!r}")
