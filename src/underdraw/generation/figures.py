"""Two figures of the ControlNet paper, in one call each: how much a prompt matters, and resolution weighting."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from underdraw.generation.controls import ControlRequest
from underdraw.generation.provenance import unpack_map
from underdraw.generation.sampler import Frame
from underdraw.generation.sheets import Cell, Row, sheet
from underdraw.generation.studio import Drawn, Studio

__all__ = ["Figure", "prompt_robustness", "resolution_weighting"]

INSUFFICIENT = "high-quality and detailed masterpiece"
"""The paper's own: it says nothing of what is to be seen."""
Tell = Callable[[Frame], None]


@dataclass(frozen=True, eq=False)
class Figure:
    """A sheet 3×H×W with its words, and the pictures on it by row."""

    sheet: Tensor
    pictures: Mapping[str, Sequence[Drawn]]


def prompt_robustness(
    studio: Studio,
    control: ControlRequest,
    perfect: str,
    conflicting: str,
    insufficient: str = INSUFFICIENT,
    seeds: Sequence[int] = (1, 2, 3, 4),
    tell: Tell = lambda frame: None,
    **settings: Any,
) -> Figure:
    """The same map under no prompt, one that says nothing of it, one that contradicts it, and one that fits.

    (Zhang et al. 2023, figure 7.) settings: further fields of a drawing. Raises what `Studio.draw` raises.
    """
    prompts = {"no prompt": "", "insufficient": insufficient, "conflicting": conflicting, "perfect": perfect}
    rows = {
        name: studio.draw(prompt, controls=[control], seeds=seeds, tell=tell, **settings)
        for name, prompt in prompts.items()
    }
    labels = {name: f"{name}\n“{prompt}”" if prompt else name for name, prompt in prompts.items()}
    return _figure(rows, labels, [f"seed {seed}" for seed in seeds], "prompt robustness")


def resolution_weighting(
    studio: Studio,
    control: ControlRequest,
    prompt: str,
    seeds: Sequence[int] = (1, 2, 3),
    tell: Tell = lambda frame: None,
    **settings: Any,
) -> Figure:
    """No control, both halves of guidance, the conditional one only, and that with 64/h; without a prompt and with one.

    (Zhang et al. 2023, figure 5.) Without a prompt a control on both halves makes them the same, and guidance nothing.
    settings: further fields of a drawing. Raises what `Studio.draw` raises.
    """
    ways = {
        "no control": replace(control, weight=0.0),
        "both halves": replace(control, side="both", curve="flat"),
        "conditional only": replace(control, side="conditional", curve="flat"),
        "conditional only, 64/h": replace(control, side="conditional", curve="resolution"),
    }
    rows = {
        f"{name}{', no prompt' if not words else ''}": studio.draw(
            words, controls=[way], seeds=seeds, tell=tell, **settings
        )
        for words in ("", prompt)
        for name, way in ways.items()
    }
    heads = [f"seed {seed}" for seed in seeds]
    return _figure(rows, {name: name for name in rows}, heads, f"resolution weighting: “{prompt}”")


def _figure(rows: Mapping[str, Sequence[Drawn]], labels: Mapping[str, str], heads: Sequence[str], title: str) -> Figure:
    first = next(iter(rows.values()))[0].drawing
    shown = Cell(unpack_map(first.controls[0], "the figure")[0], crisp=True)
    told = [Row(labels[name], [shown, *(Cell(one.picture) for one in drawn)]) for name, drawn in rows.items()]
    return Figure(sheet(told, ["map", *heads], title), rows)
