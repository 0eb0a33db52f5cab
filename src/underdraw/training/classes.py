"""DreamBooth's prior (Ruiz et al. 2023, 3.2): what the base itself draws of a class, before a run begins, and kept."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from underdraw import images
from underdraw.data.batches import PictureSet
from underdraw.data.buckets import Size
from underdraw.data.folder import METADATA, Record, write_folder
from underdraw.model import Backbone
from underdraw.training.denoiser import sketch
from underdraw.training.latents import digest
from underdraw.training.processes import in_turn
from underdraw.training.recipe import Prior

__all__ = ["class_pictures"]

TOGETHER = 8
"""Pictures that are drawn at once; what was cut off goes on with the first that is not there."""


@torch.no_grad()
def class_pictures(backbone: Backbone, prior: Prior, size: Size, seed: int, cache: Path) -> PictureSet:
    """The pictures of a class that a base draws, or those in `cache`, keyed by the prompt, the seed and the weights.

    size: (width, height). Runs on the same base share them.
    """
    told = [prior.prompt, prior.count, size, seed, digest(backbone.unet.state_dict().values())]
    folder = cache / f"prior-{hashlib.blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()}"
    with in_turn():
        if not (folder / METADATA).exists():
            for _ in write_folder(folder, _drawn(backbone, prior, size, seed, folder)):
                pass
    return PictureSet.load([folder])


def _drawn(backbone: Backbone, prior: Prior, size: Size, seed: int, folder: Path) -> Iterator[Record]:
    for start in range(0, prior.count, TOGETHER):
        names = [f"{place:05d}" for place in range(start, min(start + TOGETHER, prior.count))]
        kept = [folder / "images" / f"{name}.png" for name in names]
        if all(path.exists() for path in kept):
            pictures = torch.cat([images.read(path) for path in kept])
        else:
            pictures = sketch(backbone, [prior.prompt] * len(names), size, seed + start)
        for name, picture in zip(names, pictures, strict=True):
            yield Record(name, picture, prior.prompt)
