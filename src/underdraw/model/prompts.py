"""Prompts with weights, learned words and any length, as CLIP's towers hear them: in chunks, each encoded by itself.

A chunk is what fits between a tower's first and last token: 75 tokens in CLIP. The states of a prompt's chunks lie side
by side along L, which cross-attention takes at any length. Of A1111: where a chunk is split (after a comma that is not
far back), how a weight is heard (states × weight, and the chunk's mean restored), that the pooled vector is the first
chunk's.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Self, cast

import torch
from torch import Tensor

from underdraw.errors import ConfigError, InputError
from underdraw.model.text import Text

__all__ = ["Embedding", "Part", "Prompt", "alike", "encode"]

BACKTRACK = 20
"""A chunk that is full is split after its last comma, where that is no more tokens back; A1111's usual setting."""
NO_MEAN = 1e-5
"""A mean that is smaller than this share of the mean size is none."""
COMMA = ",</w>"
LEARNED = 0
"""The token in whose place a learned vector is put; any but the last token of a prompt would do."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """A learned word (textual inversion, Gal et al. 2022): N×C vectors for each tower, in the place of N tokens."""

    name: str
    vectors: tuple[Tensor, ...]


@dataclass(frozen=True)
class Part:
    """Words, or a learned one, and how loud they are: 1 is as they stand."""

    words: str | Embedding
    weight: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """A prompt in sections, each of which begins a chunk. whole: else what goes beyond one chunk is cut off."""

    sections: tuple[tuple[Part, ...], ...]
    whole: bool = True

    @classmethod
    def literal(cls, text: str) -> Self:
        """The words as they stand, in one chunk."""
        return cls(((Part(text),),), whole=False)


def encode(encoders: Sequence[Any], tokenizers: Sequence[Any], prompts: Sequence[Prompt], clip_skip: int = 1) -> Text:
    """B prompts as the U-Net hears them; those with fewer chunks are repeated, which is heard as once (see `alike`).

    One tower gives its last layer (SD 1.x, 2.x), or with `clip_skip` = 2 the one before it under the last layer norm,
    and so on; two give their penultimate layers side by side (SDXL), or the one before that. Raises ConfigError for a
    `clip_skip` deeper than a tower, InputError for a learned word that no chunk holds.
    """
    pairs = zip(encoders, tokenizers, strict=True)
    towers = [Tower(encoder, tokenizer, place) for place, (encoder, tokenizer) in enumerate(pairs)]
    split = [[tower.chunks(prompt) for prompt in prompts] for tower in towers]
    counts = [max(map(len, chunks)) for chunks in zip(*split, strict=True)]
    heard = []
    for tower, chunked in zip(towers, split, strict=True):
        rows = [row for chunks, count in zip(chunked, counts, strict=True) for row in _filled(chunks, count)]
        heard.append(tower.hear(rows, clip_skip, below=len(towers) > 1))
    states = torch.cat([states for states, _ in heard], dim=-1) if len(heard) > 1 else heard[0][0]
    # One tower's pooled vector is asked for by nobody, even where it has one.
    pooled = heard[-1][1] if len(heard) > 1 else None
    firsts = torch.tensor([0, *accumulate(counts)][:-1], device=states.device)
    return Text(_side_by_side(states, counts), None if pooled is None else pooled[firsts])


def alike(text: Text, other: Text) -> tuple[Text, Text]:
    """Both with as many tokens, by repeating each as a whole.

    Exact: cross-attention over twice the same keys and values gives what it gives over them once. So a prompt is drawn
    the same beside a longer one as alone, and beside a longer negative prompt as A1111 draws it unless told to pad.
    """
    length = math.lcm(text.states.shape[1], other.states.shape[1])
    return _repeated(text, length), _repeated(other, length)


def _repeated(text: Text, length: int) -> Text:
    times = length // text.states.shape[1]
    return text if times == 1 else replace(text, states=text.states.repeat(1, times, 1))


@dataclass(frozen=True, eq=False)
class Token:
    """One token, or a learned word, whose vectors stay together."""

    number: int
    weight: float
    vectors: Tensor | None = None

    def __len__(self) -> int:
        return 1 if self.vectors is None else len(self.vectors)


@dataclass(frozen=True, eq=False)
class Tower:
    """A text encoder with its tokenizer; place: which of the base's it is."""

    encoder: Any
    tokenizer: Any
    place: int

    @property
    def room(self) -> int:
        """How many tokens a chunk holds between its first and its last."""
        return int(min(self.tokenizer.model_max_length, self.encoder.config.max_position_embeddings)) - 2

    def chunks(self, prompt: Prompt) -> list[list[Token]]:
        """The prompt in chunks, at least one; each section begins one. Raises InputError as `encode`."""
        if not prompt.whole:
            tokens = [token for part in prompt.sections[0] for token in self._tokens(part)]
            ends = accumulate(map(len, tokens))
            return [[token for token, end in zip(tokens, ends, strict=True) if end <= self.room]]
        comma = self.tokenizer.backend_tokenizer.token_to_id(COMMA)
        found: list[list[Token]] = []
        for place, section in enumerate(prompt.sections):
            tokens = [token for part in section for token in self._tokens(part)]
            last = place == len(prompt.sections) - 1
            found += split(tokens, self.room, comma) or ([] if last and found else [[]])
        return found

    def _tokens(self, part: Part) -> Iterator[Token]:
        if isinstance(part.words, str):
            numbers = self.tokenizer(part.words, add_special_tokens=False, verbose=False).input_ids
            yield from (Token(number, part.weight) for number in numbers)
            return
        vectors = part.words.vectors[self.place]
        if len(vectors) > self.room:
            raise InputError(
                f"the textual inversion {part.words.name!r} has {len(vectors)} vectors, and this base hears"
                f" {self.room} tokens at once; use a smaller one"
            )
        yield Token(LEARNED, part.weight, vectors)

    def hear(self, rows: Sequence[Sequence[Token]], clip_skip: int, below: bool) -> tuple[Tensor, Tensor | None]:
        """The states R×L×C of R chunks, and pooled vectors R×P where the tower projects them (SDXL's second).

        below: whether the layer below the last is the usual one. Raises ConfigError as `encode`.
        """
        depth = self.encoder.config.num_hidden_layers
        if not 1 <= clip_skip <= depth:
            raise ConfigError(f"clip skip {clip_skip} makes no sense: this base's text encoder has {depth} layers")
        with _learned(self.encoder, [self._places(row) for row in rows]):
            heard = self.encoder(self._numbers(rows), output_hidden_states=True)
        if below:
            states = heard.hidden_states[-1 - clip_skip]
        elif clip_skip == 1:
            states = heard.last_hidden_state
        else:
            states = _last_norm(self.encoder)(heard.hidden_states[-clip_skip])
        return self._weighed(states, rows), heard.get("text_embeds")

    def _numbers(self, rows: Sequence[Sequence[Token]]) -> Tensor:
        """R×L: first token, the chunk, last token, padding."""
        begin, end, pad = (getattr(self.tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad"))
        told = [[begin, *(token.number for token in row for _ in range(len(token))), end] for row in rows]
        filled = [line + [pad] * (self.room + 2 - len(line)) for line in told]
        return torch.tensor(filled, device=self.encoder.device)

    def _places(self, row: Sequence[Token]) -> list[tuple[int, Tensor]]:
        """Where in a chunk learned vectors stand."""
        begins = [1, *accumulate((len(token) for token in row), initial=1)][1:]
        return [(begin, token.vectors) for begin, token in zip(begins, row, strict=False) if token.vectors is not None]

    def _weighed(self, states: Tensor, rows: Sequence[Sequence[Token]]) -> Tensor:
        """States × weights, with each chunk's mean restored; chunks without weights stay as they are, to the bit."""
        if all(token.weight == 1 for row in rows for token in row):
            return states
        told = [[1.0, *(token.weight for token in row for _ in range(len(token)))] for row in rows]
        filled = [line + [1.0] * (states.shape[1] - len(line)) for line in told]
        weights = torch.tensor(filled, device=states.device)[..., None]
        plain = states.float()
        loud = plain * weights
        restored = loud * _ratio(plain.mean((1, 2), keepdim=True), loud)
        return torch.where((weights != 1).any(1, keepdim=True), restored.to(states.dtype), states)


def _ratio(mean: Tensor, loud: Tensor) -> Tensor:
    """What restores a mean; 1 where there is none but rounding, as behind a layer norm that has learned nothing."""
    now, size = loud.mean((1, 2), keepdim=True), loud.abs().mean((1, 2), keepdim=True)
    return torch.where(now.abs() > NO_MEAN * size, mean / now, torch.ones_like(now))


def split(tokens: Iterable[Token], room: int, comma: int | None) -> list[list[Token]]:
    """Tokens in chunks of at most `room`; none where there are no tokens.

    A chunk that is full when one more comes, which is no comma, ends after its last comma, if that is one of its last
    `BACKTRACK` tokens.
    """
    chunks: list[list[Token]] = []
    chunk: list[Token] = []
    for token in tokens:
        if _size(chunk) == room and token.number != comma:
            cut = max((place for place, each in enumerate(chunk, 1) if each.number == comma), default=0)
            if cut and _size(chunk[cut:]) < BACKTRACK:
                chunks.append(chunk[:cut])
                chunk = chunk[cut:]
        if _size(chunk) + len(token) > room:
            chunks.append(chunk)
            chunk = []
        chunk.append(token)
    return [*chunks, chunk] if chunk else chunks


def _size(chunk: Sequence[Token]) -> int:
    return sum(map(len, chunk))


def _filled(chunks: Sequence[Sequence[Token]], count: int) -> list[Sequence[Token]]:
    """As many chunks as the other tower has: a learned word may be longer in one of them."""
    return [*chunks, *([()] * (count - len(chunks)))]


def _side_by_side(states: Tensor, counts: Sequence[int]) -> Tensor:
    """R×L×C chunks → B×(n·L)×C prompts, n the least number that all their numbers of chunks divide."""
    if set(counts) == {1}:
        return states
    most = math.lcm(*counts)
    prompts = (part.flatten(0, 1) for part in states.split(list(counts)))
    return torch.stack([each.repeat(most // count, 1) for each, count in zip(prompts, counts, strict=True)])


def _last_norm(encoder: Any) -> Any:
    """The layer norm behind a tower's last layer."""
    return next(part for name, part in encoder.named_modules() if name.endswith("final_layer_norm"))


@contextmanager
def _learned(encoder: Any, places: Sequence[Sequence[tuple[int, Tensor]]]) -> Iterator[None]:
    """Inside the block, learned vectors stand in the place of some tokens; tokenizer and weights stay as they are."""

    def splice(_: Any, __: Any, looked_up: Tensor) -> Tensor:
        spliced = looked_up.clone()
        for row, found in enumerate(places):
            for begin, vectors in found:
                spliced[row, begin : begin + len(vectors)] = vectors.to(spliced)
        return spliced

    if not any(places):
        yield
        return
    handle = cast(Any, encoder.get_input_embeddings()).register_forward_hook(splice)
    try:
        yield
    finally:
        handle.remove()
