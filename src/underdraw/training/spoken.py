"""Captions that are not only kept states: what is learnt hears them anew, and SDXL hears pooled text and sizes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from underdraw.data.buckets import Size
from underdraw.model import Backbone, Embedding, Part, Prompt, Text, join
from underdraw.training.latents import CHUNK, LatentSet, encode_moments
from underdraw.training.pictures import Pictures

__all__ = ["Sized", "encode_spoken", "sized", "spelled"]


@dataclass(frozen=True, eq=False)
class Sized(Backbone):
    """A backbone that is told the pictures' (width, height) with every prompt, as SDXL wants, and may know a word."""

    size: Size = (0, 0)
    word: Embedding | None = None

    def encode_text(self, prompts: Sequence[str]) -> Text:
        """As the backbone's, with the word in its places, and sized."""
        return self.hear([spelled(prompt, self.word) for prompt in prompts]).sized(*self.size)

    def empty_text(self, count: int = 1) -> Text:
        """As the backbone's, and sized."""
        return super().empty_text(count).sized(*self.size)


def sized(backbone: Backbone, size: Size) -> Sized:
    """The same backbone, told a size of pictures."""
    return Sized(**{each.name: getattr(backbone, each.name) for each in fields(Backbone)}, size=size)


def spelled(text: str, word: Embedding | None) -> Prompt:
    """The words as they stand, in one chunk, and a learned one wherever it stands as a whole word."""
    if word is None:
        return Prompt.literal(text)
    pieces = re.split(rf"(?!(?<=\w)\w)({re.escape(word.name)})(?!(?<=\w)\w)", text)
    return Prompt((tuple(Part(word if piece == word.name else piece) for piece in pieces),), whole=False)


@dataclass(frozen=True)
class _Spoken(LatentSet):
    """A latent set whose captions come from elsewhere, by their rows."""

    hear: Callable[[Sequence[int]], Text]

    def text(self, rows: Sequence[int]) -> Text:
        """The chosen captions."""
        return self.hear(rows)


def encode_spoken(backbone: Sized, pictures: Pictures, cache: Path, learns: bool) -> LatentSet:
    """A picture set whose captions are encoded at every step (the encoders learn), or all of them once.

    The moments are kept in `cache` as ever.
    """
    lines = list(dict.fromkeys(["", *(text for texts in pictures.texts for text in texts)]))
    rows = {line: row for row, line in enumerate(lines)}
    captions = [[rows[text] for text in texts] for texts in pictures.texts]
    shelves, places = encode_moments(backbone, pictures, cache)
    hear = _anew(backbone, lines) if learns else _kept(backbone, lines)
    return _Spoken(shelves, places, torch.empty(0), captions, hear)


def _anew(backbone: Sized, lines: Sequence[str]) -> Callable[[Sequence[int]], Text]:
    return lambda rows: _heard(backbone, [lines[row] for row in rows])


@torch.no_grad()
def _kept(backbone: Sized, lines: Sequence[str]) -> Callable[[Sequence[int]], Text]:
    chunks = [lines[start : start + CHUNK] for start in range(0, len(lines), CHUNK)]
    whole = join([_heard(backbone, chunk).to("cpu") for chunk in chunks])
    return lambda rows: whole[torch.tensor(rows)]


def _heard(backbone: Sized, lines: Sequence[str]) -> Text:
    """The lines as the base hears them; some bases hear zeros where nothing is said."""
    spoken = torch.tensor([bool(line) for line in lines])
    return backbone.encode_text(lines).where(spoken, backbone.empty_text())
