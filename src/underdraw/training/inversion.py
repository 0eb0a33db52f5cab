"""Textual inversion (Gal et al. 2022): a new word of a few vectors, which is all that learns."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from underdraw.data.batches import PictureSet
from underdraw.errors import ConfigError
from underdraw.formats.embeddings import write_embedding
from underdraw.model import Embedding
from underdraw.model.prompts import Tower
from underdraw.training.pictures import Pictures
from underdraw.training.recipe import InversionRun, Recipe
from underdraw.training.spoken import Sized, spelled
from underdraw.training.tuning import TuningTask

__all__ = ["InversionTask"]


class InversionTask(TuningTask[InversionRun]):
    """The vectors learn, through the text encoders and the U-Net, which stay as they are to the bit.

    They stand in a caption in the place of tokens, so there is no table of embeddings in which others could move.
    Raises ConfigError for captions without the word, in which it would learn nothing.
    """

    hears = True

    def __init__(self, recipe: Recipe, config: InversionRun, pictures: Pictures, watched: PictureSet) -> None:
        if config.prompt_dropout or config.prior:
            raise ConfigError(
                "from prompts without it no word is learnt; leave learn.prompt_dropout and learn.prior out"
            )
        super().__init__(recipe, config, pictures, watched)
        silent = [text for texts in self.pictures.texts for text in texts if not self._holds(text)]
        if silent:
            raise ConfigError(
                f"{len(silent)} captions, {silent[0]!r} the first of them, do not hold the word {config.word}, or too"
                f' late to be heard; put it into all: learn.caption = "{config.word}, {{}}"'
            )

    def _holds(self, caption: str) -> bool:
        """Whether a caption says the word before it is cut off."""
        tower = Tower(self.backbone.text_encoders[0], self.backbone.tokenizers[0], 0)
        (heard,) = tower.chunks(spelled(caption, self.backbone.word))
        return any(token.vectors is not None for token in heard)

    def base(self, backbone: Sized) -> Sized:
        """As ever, and it knows the word."""
        backbone = super().base(backbone)
        towers = zip(backbone.text_encoders, backbone.tokenizers, strict=True)
        self.first = [_looked_up(encoder, tokenizer, self.config) for encoder, tokenizer in towers]
        self.vectors = nn.ParameterList(nn.Parameter(vectors.clone()) for vectors in self.first)
        return replace(backbone, word=self.word)

    @property
    def word(self) -> Embedding:
        """As it is now: its vectors are those that learn."""
        return Embedding(self.config.word, tuple(self.vectors))

    def learner(self) -> nn.Module:
        """The vectors, one tensor for each text encoder."""
        return self.vectors

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """With the vectors that it began with."""
        now = [vectors.detach().clone() for vectors in self.vectors]
        _lay(self.vectors, self.first)
        try:
            yield
        finally:
            _lay(self.vectors, now)

    def export(self, folder: Path) -> None:
        """Write the word for A1111 and ComfyUI, which call it as its file is called, and for diffusers."""
        write_embedding(self.word, folder / f"{_stem(self.config.word)}.safetensors", "a1111")
        if len(self.vectors) == 1:
            write_embedding(self.word, folder / "learned_embeds.safetensors", "diffusers")


@torch.no_grad()
def _lay(vectors: nn.ParameterList, values: Sequence[Tensor]) -> None:
    for each, value in zip(vectors, values, strict=True):
        each.copy_(value)


@torch.no_grad()
def _looked_up(encoder: Any, tokenizer: Any, config: InversionRun) -> Tensor:
    """N×C: the vectors of the words that it starts from, over and over. Raises ConfigError where there are none."""
    numbers = tokenizer(config.initial, add_special_tokens=False, verbose=False).input_ids
    if not numbers:
        raise ConfigError(f"learn.initial = {config.initial!r} says nothing; give a word that comes near")
    rows: Tensor = encoder.get_input_embeddings().weight[[numbers[n % len(numbers)] for n in range(config.vectors)]]
    return rows.float()


def _stem(word: str) -> str:
    """What the file of a word is called."""
    return re.sub(r"[^\w.-]+", "", word) or "word"
