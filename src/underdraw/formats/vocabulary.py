"""CLIP's vocabulary, which single files leave out: byte-pair merges that ship with the package, and what follows.

The 49,408 tokens are the 256 bytes as letters, the same at the end of a word, one for each merge, and two marks
(Radford et al. 2021). All families share them; they differ in the token that fills a prompt up.
"""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

from underdraw.model.folders import load_tokenizer

__all__ = ["clip_tokenizer", "clip_vocabulary", "is_clip", "open_tokenizer", "write_tokenizer"]

MERGES = Path(__file__).parent / "clip" / "merges.txt.gz"
LENGTH = 77
"""Tokens of a prompt, the two marks included."""
START, END = "<|startoftext|>", "<|endoftext|>"


@cache
def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Every token with its number, and the merges in the order of their rank."""
    with gzip.open(MERGES, "rt", encoding="utf-8") as file:
        next(file)  # the version of the format
        merges = [(first, second) for first, second in (line.split() for line in file)]
    letters = _letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(first + second for first, second in merges)]
    return {token: number for number, token in enumerate([*tokens, START, END])}, merges


def clip_tokenizer(pad: str = END) -> Any:
    """CLIP's tokenizer; `pad` fills a prompt up ("!" in SD 2.x and SDXL's second encoder)."""
    from transformers import CLIPTokenizer

    vocabulary, merges = clip_vocabulary()
    # A copy: it may learn new tokens (textual inversion).
    return CLIPTokenizer(vocab=dict(vocabulary), merges=merges, pad_token=pad, model_max_length=LENGTH)


def open_tokenizer(told: Any) -> Any:
    """A tokenizer by what is told of it: itself, the folder that holds it, or CLIP's own with this token to fill up."""
    if isinstance(told, str):
        return clip_tokenizer(told)
    return load_tokenizer(told) if isinstance(told, Path) else told


def is_clip(tokenizer: Any) -> bool:
    """Whether a tokenizer's words are CLIP's own, so that a single file needs not carry them."""
    return bool(tokenizer.get_vocab() == clip_vocabulary()[0])


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer as its library does, and as older readers want it (vocab.json, merges.txt)."""
    tokenizer.save_pretrained(str(folder))
    tokenizer.backend_tokenizer.model.save(str(folder))


def _letters() -> list[str]:
    """A letter for each byte: itself where it can be seen, else one beyond the bytes; the visible ones come first."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) for byte in seen] + [chr(256 + place) for place in range(len(hidden))]
