"""Control-LoRAs: a ControlNet as its low-rank differences from the base that it was copied from.

    weight = base + up · down

up and down flatten what follows their first side, so a 3×3 convolution is one matrix. Biases, norms, the hint encoder
and the zero convolutions are stored whole. Reading adds what is there to the base; writing factors the difference by
its singular values, at a rank, which is the best that rank can do (Eckart & Young 1936), and says what is lost.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from underdraw.errors import CheckpointError
from underdraw.model.folders import refuse_keys

__all__ = ["MARK", "Factored", "composed", "factored", "lora_shapes"]

MARK = "lora_controlnet"
"""The name of the empty tensor by which a Control-LoRA is known."""


@dataclass(frozen=True, eq=False)
class Factored:
    """Tensors of a Control-LoRA under diffusers' names, and what was lost.

    error: of all differences together, the share of their length (Frobenius) that the rank could not hold, 0 to 1.
    worst: the layer with the largest error of its own, and that error.
    """

    tensors: Mapping[str, Tensor]
    error: float
    worst: tuple[str, float]


def lora_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes as if the weights were whole."""
    shapes = {}
    for name, each in tensors.items():
        layer, _, last = name.rpartition(".")
        if last == "up" and f"{layer}.down" in tensors:
            down = tensors[f"{layer}.down"]
            shapes[f"{layer}.weight"] = (len(each), *down.shape[1:])
        elif last != "down":
            shapes[name] = tuple(each.shape)
    return shapes


def composed(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], place: Path) -> dict[str, Tensor]:
    """The whole ControlNet: the base's encoder with the differences added, and what is stored whole in its place.

    All names are diffusers'. Raises CheckpointError for halves of a pair, and for layers that the base has not.
    """
    whole = {name: each for name, each in tensors.items() if not name.endswith((".up", ".down"))}
    layers = {name.rpartition(".")[0] for name in tensors.keys() - whole.keys()}
    halves = [f"{layer}.{last}" for layer in sorted(layers) for last in ("up", "down")]
    refuse_keys(place, missing=[name for name in halves if name not in tensors], unknown=())
    refuse_keys(place, missing=(), unknown=[f"{layer}.up" for layer in layers if f"{layer}.weight" not in base])
    for layer in sorted(layers):
        up, down, weight = tensors[f"{layer}.up"], tensors[f"{layer}.down"], base[f"{layer}.weight"]
        try:
            product = (up.flatten(1).float() @ down.flatten(1).float()).reshape(weight.shape)
        except (RuntimeError, IndexError) as error:
            raise CheckpointError(
                f"{place}: {layer} has another shape than in the base; use one made for this base"
            ) from error
        whole[f"{layer}.weight"] = weight.float() + product.to(weight.device)
    return whole | {name: each for name, each in base.items() if name not in whole and _is_encoder(name)}


def factored(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], rank: int) -> Factored:
    """A ControlNet's tensors as a Control-LoRA of this rank on this base; all names are diffusers'."""
    made: dict[str, Tensor] = {}
    lost, length, worst = 0.0, 0.0, ("", 0.0)
    for name, each in tensors.items():
        layer, _, last = name.rpartition(".")
        if last != "weight" or each.ndim < 2 or name not in base or base[name].shape != each.shape:
            made[name] = each
            continue
        difference = (each.double() - base[name].double().to(each.device)).flatten(1)
        up, down, missed = _low_rank(difference, rank)
        sides = [1] * (each.ndim - 2)
        made[f"{layer}.up"] = up.reshape(*up.shape, *sides).float()
        made[f"{layer}.down"] = down.reshape(-1, *each.shape[1:]).float()
        total = float(difference.square().sum())
        lost, length = lost + missed, length + total
        own = math.sqrt(missed / total) if total else 0.0
        worst = max(worst, (layer, own), key=lambda found: found[1])
    return Factored(made, math.sqrt(lost / length) if length else 0.0, worst)


def _low_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """up n×r, down r×m with the product nearest to an n×m matrix, and the square of the distance that remains.

    By the eigenvectors of the smaller square: of a 1280×11520 matrix that is far quicker than its singular values.
    """
    rank = min(rank, *matrix.shape)
    wide = matrix.shape[0] <= matrix.shape[1]
    values, vectors = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    chosen = vectors[:, -rank:]
    up, down = (chosen, chosen.T @ matrix) if wide else (matrix @ chosen, chosen.T)
    # Both halves of one size, so that half precision serves both.
    size = values[-rank:].clamp(min=0).sqrt().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    up, down = (up * size, down / size[:, None]) if wide else (up / size, down * size[:, None])
    return up, down, float(values[:-rank].clamp(min=0).sum())


def _is_encoder(name: str) -> bool:
    return name.startswith(("conv_in.", "time_embedding.", "add_embedding.", "down_blocks.", "mid_block."))
