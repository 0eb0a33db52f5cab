"""Has a LoRA learnt its style? How much nearer its drawings come to pictures of it, and what control that costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.annotators import as_hint, build
from underdraw.annotators.measures import edge_scores
from underdraw.data.folder import Record
from underdraw.errors import InputError
from underdraw.evaluation.fidelity import Estimate, bootstrap, mean
from underdraw.generation import LoraRequest, Studio, Worn, draw, finish, native_size
from underdraw.model import Control

__all__ = ["StyleFigures", "measure_style", "style_gap"]

See = Callable[[Tensor], Tensor]
"""Unit vectors N×D of pictures N×3×H×W: the image tower of a CLIP."""


@dataclass(frozen=True)
class StyleFigures:
    """What a LoRA does to drawings. closed: the style gap, in percent (`style_gap`). plain, worn: F1 at 1 px of the
    edges under canny control, without and with it.
    """

    items: int
    closed: Estimate
    plain: Estimate
    worn: Estimate


def style_gap(style: Tensor, plain: Tensor, worn: Tensor, seed: int = 0) -> Estimate:
    """How much of the way from plain drawings to a style is done, in percent.

    100 · (1 - |w - s| / |p - s|) with the mean vectors s of pictures of the style, p of drawings without the LoRA and w
    of those with it; N×D each. 0: no nearer; 100: the mean picture is one of the style. The interval is over items.
    """
    width = style.shape[1]

    def share(means: Tensor) -> Tensor:
        target, before, after = means.split(width, 1)
        far: Tensor = (after - target).norm(dim=1) / (before - target).norm(dim=1)
        return 100 * (1 - far)

    return bootstrap(torch.cat([style, plain, worn], 1), share, seed)


@torch.no_grad()
def measure_style(
    studio: Studio, lora: LoraRequest, style: Sequence[Record], sources: Sequence[Record], see: See, steps: int = 20
) -> StyleFigures:
    """Draw the captions of pictures of a style without and with its LoRA, freely and under the edges of `sources`.

    style, sources: of equal number; the i-th source is the picture that the i-th of the style was made from.
    Raises InputError for other numbers, and what opening the LoRA or the canny net raises.
    """
    if len(style) != len(sources):
        raise InputError(f"{len(style)} pictures of the style and {len(sources)} of what they show; give pairs")
    worn, canny = (studio.loras.worn(lora),), build("canny")
    edges = canny(torch.stack([record.image for record in sources]))
    control = Control(studio.net("canny"), as_hint(edges))
    prompts, size = [record.text for record in style], native_size(studio.backbone)

    def drawn(controls: Sequence[Control], loras: Sequence[Worn]) -> Tensor:
        with studio.loras.on(loras):
            frames = draw(studio.backbone, prompts, range(len(prompts)), size, controls=controls, steps=steps)
            return finish(studio.backbone, frames)

    pictures = torch.stack([record.image for record in style])
    closed = style_gap(see(pictures), see(drawn((), ())), see(drawn((), worn)))
    scores = [edge_scores(canny(drawn((control,), loras)), edges).f1 for loras in ((), worn)]
    return StyleFigures(len(style), closed, mean(scores[0]), mean(scores[1]))
