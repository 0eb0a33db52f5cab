"""Settings that people know by name: layer curves, ways to hear a control, ways to draw in few steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from underdraw.errors import ConfigError
from underdraw.model import Site
from underdraw.registry import Registry

__all__ = ["CURVES", "DRAWING_PRESETS", "PRESETS", "Preset", "layer_curve"]

Curve = Callable[[Sequence[Site]], tuple[float, ...]]
CURVES: Registry[Curve] = Registry("layer curve")
"""From the sites of a net, the widest first and the middle last, to one factor a site."""


@CURVES.register("flat")
def _flat(sites: Sequence[Site]) -> tuple[float, ...]:
    """All sites alike; as no curve at all."""
    return ()


@CURVES.register("soft")
def _soft(sites: Sequence[Site]) -> tuple[float, ...]:
    """0.825^(n-1-i): the guess mode of the original code and the soft weights of the web UI (n = 13 in SD 1.5)."""
    return tuple(0.825 ** (len(sites) - 1 - place) for place in range(len(sites)))


@CURVES.register("guess", also=("ramp",))
def _guess(sites: Sequence[Site]) -> tuple[float, ...]:
    """logspace(-1, 0, n): the guess mode of diffusers."""
    return tuple(10 ** (place / max(1, len(sites) - 1) - 1) for place in range(len(sites)))


@CURVES.register("resolution", also=("64/h",))
def _resolution(sites: Sequence[Site]) -> tuple[float, ...]:
    """64/h of Zhang et al. 2023 (CFG resolution weighting), h the block's height at 512 px; so 1, … 8 at any size."""
    return tuple(site.scale / sites[0].scale for site in sites)


def layer_curve(curve: str | Sequence[float], sites: Sequence[Site]) -> tuple[float, ...]:
    """The factors of a curve for a net with these sites; numbers are taken as they are.

    Raises ConfigError for an unknown name or another number of factors.
    """
    if isinstance(curve, str):
        return CURVES[curve](sites)
    if len(curve) not in (0, len(sites)):
        raise ConfigError(f"the layer curve has {len(curve)} numbers, and this control speaks at {len(sites)} places")
    return tuple(curve)


@dataclass(frozen=True)
class Preset:
    """How a control is heard: the layer curve and the side of guidance (a name, or how loud the unconditional half)."""

    curve: str = "flat"
    side: str | float = "both"


PRESETS: Registry[Preset] = Registry("control preset")
PRESETS.register("balanced")(Preset())
PRESETS.register("my prompt is more important", also=("prompt", "prompt is more important"))(Preset("soft"))
PRESETS.register("controlnet is more important", also=("control", "control is more important"))(
    Preset("soft", "conditional")
)
PRESETS.register("guess mode", also=("guess",))(Preset("guess", "conditional"))
PRESETS.register("resolution weighting", also=("resolution", "cfg-rw"))(Preset("resolution", "conditional"))

DRAWING_PRESETS: Registry[Mapping[str, Any]] = Registry("preset")
"""Fields of a drawing: for models (or LoRAs) that were made to draw in few steps, and for any model, approximately."""
DRAWING_PRESETS.register("lcm")({"scheduler": "lcm", "steps": 6, "guidance": 1.5})
DRAWING_PRESETS.register("tcd")({"scheduler": "tcd", "steps": 6, "guidance": 1.0})
DRAWING_PRESETS.register("turbo")({"scheduler": "euler a trailing", "steps": 4, "guidance": 1.0})
DRAWING_PRESETS.register("lightning")({"scheduler": "euler trailing", "steps": 4, "guidance": 1.0})
DRAWING_PRESETS.register("hyper")({"scheduler": "ddim trailing", "steps": 4, "guidance": 1.0})
DRAWING_PRESETS.register("quick")({"reuse": {"control": 3, "encoder": 2}, "interval": (0.0, 0.8)})
DRAWING_PRESETS.register("quicker")({"reuse": {"control": 4, "encoder": 2}, "interval": (0.0, 0.6)})
