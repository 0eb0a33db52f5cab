"""Textual inversions: files of vectors that stand in a prompt as a word. They never become a part of a base.

layout       read        written     the word is called
a1111        yes         yes         as the file: `emb_params`; SDXL's two encoders `clip_l` and `clip_g`
diffusers    yes         yes         as the tensor: `<cat-toy>`
pickles      yes         no          as the file (A1111's, the first authors'), or as the tensor
"""

from pathlib import Path
from typing import Literal

from torch import Tensor

from underdraw.errors import CheckpointError
from underdraw.formats.detect import facts_of, refuse_foreign
from underdraw.formats.families import FAMILIES
from underdraw.formats.reading import open_tensors
from underdraw.formats.writing import told, write_tensors
from underdraw.model import Backbone, Embedding
from underdraw.model.folders import owned

__all__ = ["is_embedding", "open_embedding", "write_embedding"]

LARGEST = 16 * 2**20
"""Bytes; 75 vectors for both of SDXL's text encoders are under one million."""
WIDTHS = {(768,): "sd1", (1024,): "sd2", (768, 1280): "sdxl"}
PAIR = ("clip_l", "clip_g")


def is_embedding(path: Path) -> bool:
    """Whether a file holds a textual inversion. Raises CheckpointError for one that can't be read."""
    return path.stat().st_size <= LARGEST and facts_of(open_tensors(path)).kind == "textual-inversion"


def open_embedding(path: str | Path, backbone: Backbone) -> Embedding:
    """The word in a file of A1111's, of SDXL's (clip_l and clip_g), or of diffusers', for this base.

    It is called as the file calls it, `<cat-toy>`, where that is how it is stored, else as the file is called.
    Raises CheckpointError for a file that is none, or for another family.
    """
    file = open_tensors(path)
    facts = facts_of(file)
    refuse_foreign(facts)
    if facts.kind != "textual-inversion":
        raise CheckpointError(f"{path} is no textual inversion but {facts.kind}; give one")
    names = [name for name in file.tensors if not name.startswith("string_to_token.")]
    names = list(PAIR) if set(names) == set(PAIR) else names
    vectors = tuple(_rows(owned(file.tensors[name].detach(), name, path), path) for name in names)
    widths = tuple(each.shape[1] for each in vectors)
    wanted = tuple(int(encoder.config.hidden_size) for encoder in backbone.text_encoders)
    if widths != wanted:
        raise CheckpointError(
            f"{path} is a textual inversion for {_told(widths)}, and this base is {_told(wanted)};"
            " take one of its family, or leave the word out"
        )
    return Embedding(names[0] if facts.layout == "diffusers" else Path(path).stem, vectors)


def write_embedding(word: Embedding, path: str | Path, layout: Literal["a1111", "diffusers"]) -> None:
    """Write a learned word as a safetensors file, whole or not at all; each reads back to the bit.

    Raises CheckpointError for the vectors of two text encoders in the diffusers layout, which has one tensor.
    """
    names = [word.name] if layout == "diffusers" else list(PAIR) if len(word.vectors) > 1 else ["emb_params"]
    if len(names) != len(word.vectors):
        raise CheckpointError(f"{path}: the diffusers layout has no place for two text encoders; write a1111")
    tensors = dict(zip(names, word.vectors, strict=True))
    write_tensors(tensors, path, metadata=told(kind="textual-inversion", name=word.name))


def _rows(tensor: Tensor, path: str | Path) -> Tensor:
    """N×C."""
    rows = tensor if tensor.ndim > 1 else tensor[None]
    if rows.ndim != 2 or not rows.numel():
        raise CheckpointError(f"{path} holds a tensor of shape {tuple(tensor.shape)}, which is no list of vectors")
    return rows


def _told(widths: tuple[int, ...]) -> str:
    if not widths:
        return "a model without text"
    family = WIDTHS.get(widths)
    shown = " and ".join(map(str, widths))
    return f"{FAMILIES[family].title} ({shown} wide)" if family else f"another model ({shown} wide)"
