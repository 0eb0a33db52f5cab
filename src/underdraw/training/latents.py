"""What the locked base says of a picture set, computed once and kept: VAE moments and text states."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from underdraw.data.batches import PictureSet
from underdraw.files import atomic
from underdraw.formats.checkpoint import load_tensors, save_tensors
from underdraw.model import Backbone, Moments, Text
from underdraw.training.pictures import Pictures, sizes, subset
from underdraw.training.processes import in_turn

__all__ = ["CHUNK", "LatentSet", "digest", "encode_captions", "encode_moments", "one_shelf"]

PIXELS = 2**18
"""Pixels that go through the VAE at once: its widest features take 128 times as much."""
CHUNK = 256
"""Captions that go through the text encoder at once."""


@dataclass(frozen=True)
class LatentSet:
    """Moments, not samples, of N pictures, and the states of all their different captions.

    shelves: the moments of each bucket, M×C×h×w in the U-Net's units. places: N×2, on which shelf and at which of its
    rows a picture is. states: M×L×W bf16; row 0 is the empty prompt, and `captions[i]` are the rows that picture i may
    use.
    """

    shelves: Sequence[Moments]
    places: Tensor
    states: Tensor
    captions: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.places)

    def shape(self, indices: Tensor) -> torch.Size:
        """B×C×h×w of pictures from one bucket."""
        return torch.Size((len(indices), *self.shelves[int(self.places[indices[0], 0])].mean.shape[1:]))

    def moments(self, indices: Tensor) -> Moments:
        """The moments of the chosen pictures, all from one bucket."""
        shelf, rows = self.places[indices].unbind(1)
        held = self.shelves[int(shelf[0])]
        return Moments(held.mean[rows], held.deviation[rows])

    def text(self, rows: Sequence[int]) -> Text:
        """The states of the chosen captions, as floats."""
        return Text(self.states[list(rows)].float())

    @classmethod
    def encode(cls, backbone: Backbone, pictures: Pictures, cache: Path) -> "LatentSet":
        """A picture set through VAE and text encoder, or from `cache`, keyed by the content and by the weights."""
        rows = {"": 0}
        captions = [[rows.setdefault(text, len(rows)) for text in texts] for texts in pictures.texts]
        shelves, places = encode_moments(backbone, pictures, cache)
        return cls(shelves, places, encode_captions(backbone, list(rows), cache), captions)


def one_shelf(count: int) -> Tensor:
    """The places of pictures that are all of one size."""
    return torch.stack([torch.zeros(count, dtype=torch.long), torch.arange(count)], 1)


def encode_moments(backbone: Backbone, pictures: Pictures, cache: Path) -> tuple[list[Moments], Tensor]:
    """The moments of all pictures, a shelf a bucket, and where on them each picture is."""
    weights = list(backbone.vae.state_dict().values())
    if isinstance(pictures, PictureSet):
        return [_moments(backbone, pictures, digest([pictures.pixels, *weights]), cache)], one_shelf(len(pictures))
    shelves, places, key = [], torch.zeros(len(pictures), 2, dtype=torch.long), digest(weights)
    for shelf, rows in enumerate(pictures.buckets):
        part = subset(pictures, rows)
        shelves.append(_moments(backbone, part, f"{part.content_key}-{key}", cache))
        places[rows] = torch.stack([torch.full_like(rows, shelf), torch.arange(len(rows))], 1)
    return shelves, places


def _moments(backbone: Backbone, pictures: Pictures, key: str, cache: Path) -> Moments:
    """Of pictures of one size."""
    ((width, height),) = sizes(pictures)
    together = max(1, PIXELS // (width * height))

    def encode() -> dict[str, Tensor]:
        parts = [
            backbone.encode_picture(pictures.pictures(part).to(backbone.vae.device))
            for part in torch.arange(len(pictures)).split(together)
        ]
        return {
            "mean": torch.cat([part.mean.cpu() for part in parts]),
            "deviation": torch.cat([part.deviation.cpu() for part in parts]),
        }

    kept = _kept(cache / f"moments-{key}.safetensors", encode)
    return Moments(kept["mean"], kept["deviation"])


def encode_captions(backbone: Backbone, captions: Sequence[str], cache: Path) -> Tensor:
    """M×L×W bf16 states of all captions."""
    text = torch.frombuffer(bytearray("\n".join(captions).encode()), dtype=torch.uint8)
    key = digest([text, *backbone.text_encoders[0].state_dict().values()])

    def encode() -> dict[str, Tensor]:
        parts = [
            backbone.encode_text(captions[start : start + CHUNK]).states for start in range(0, len(captions), CHUNK)
        ]
        return {"states": torch.cat([part.to("cpu", torch.bfloat16) for part in parts])}

    return _kept(cache / f"text-{key}.safetensors", encode)["states"]


def _kept(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    with in_turn():
        if path.exists():
            return load_tensors(path)
        with torch.no_grad():  # laid out as they are when they are read: a convolution's last bits hang on it
            made = {name: tensor.contiguous() for name, tensor in make().items()}
        with atomic(path) as draft:
            save_tensors(made, draft)
        return made


def digest(tensors: Iterable[Tensor]) -> str:
    """By what the bytes of tensors are known."""
    found = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
