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

__all__ = ["LatentSet"]

CHUNK = 256


@dataclass(frozen=True)
class LatentSet:
    """Moments, not samples, of N pictures, and the states of all their different captions.

    mean, deviation: N×C×h×w in the U-Net's units. states: M×L×W bf16; row 0 is the empty prompt, and `captions[i]` are
    the rows that picture i may use.
    """

    mean: Tensor
    deviation: Tensor
    states: Tensor
    captions: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.mean)

    def moments(self, indices: Tensor) -> Moments:
        """The moments of the chosen pictures."""
        return Moments(self.mean[indices], self.deviation[indices])

    def text(self, rows: Sequence[int]) -> Text:
        """The states of the chosen captions, as floats."""
        return Text(self.states[list(rows)].float())

    @classmethod
    def encode(cls, backbone: Backbone, pictures: PictureSet, cache: Path) -> "LatentSet":
        """A picture set through VAE and text encoder, or from `cache`, keyed by the content and by the weights."""
        rows = {"": 0}
        captions = [[rows.setdefault(text, len(rows)) for text in texts] for texts in pictures.texts]
        moments = encode_moments(backbone, pictures, cache)
        states = encode_captions(backbone, list(rows), cache)
        return cls(moments["mean"], moments["deviation"], states, captions)


def encode_moments(backbone: Backbone, pictures: PictureSet, cache: Path) -> dict[str, Tensor]:
    """`mean` and `deviation` of all pictures."""
    key = _hash([pictures.pixels, *backbone.vae.state_dict().values()])

    def encode() -> dict[str, Tensor]:
        parts = [
            backbone.encode_picture(pictures.pictures(part).to(backbone.vae.device)) for part in _chunks(len(pictures))
        ]
        return {
            "mean": torch.cat([part.mean.cpu() for part in parts]),
            "deviation": torch.cat([part.deviation.cpu() for part in parts]),
        }

    return _kept(cache / f"moments-{key}.safetensors", encode)


def encode_captions(backbone: Backbone, captions: Sequence[str], cache: Path) -> Tensor:
    """M×L×W bf16 states of all captions."""
    text = torch.frombuffer(bytearray("\n".join(captions).encode()), dtype=torch.uint8)
    key = _hash([text, *backbone.text_encoders[0].state_dict().values()])

    def encode() -> dict[str, Tensor]:
        parts = [backbone.encode_text([captions[int(i)] for i in part]).states for part in _chunks(len(captions))]
        return {"states": torch.cat([part.to("cpu", torch.bfloat16) for part in parts])}

    return _kept(cache / f"text-{key}.safetensors", encode)["states"]


def _kept(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    if path.exists():
        return load_tensors(path)
    with torch.no_grad():
        made = make()
    with atomic(path) as draft:
        save_tensors(made, draft)
    return made


def _chunks(count: int) -> Sequence[Tensor]:
    return [torch.arange(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _hash(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
