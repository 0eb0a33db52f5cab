"""Captions: as the source says, from a template, or written by a captioning model."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from string import Formatter
from typing import Any, Protocol

import torch
from torch import Tensor

from underdraw.data.sources.entries import Entry, Problem
from underdraw.errors import CheckpointError, ConfigError
from underdraw.registry import nearest

__all__ = ["AS_TOLD", "Captioner", "check_template", "load_captioner", "told"]

AS_TOLD = "{text}"
"""The template that takes the source's captions."""
EMPTY = "caption is empty"


class Captioner(Protocol):
    """Writes a caption."""

    def __call__(self, picture: Tensor) -> str:
        """A picture 3×H×W uint8 → its caption."""


def told(entry: Entry, template: str) -> tuple[tuple[str, ...], list[Problem]]:
    """The captions of an entry by a template, each once, and what is missing.

    Fields are {text}, {name} (the file's name in words), {folder} and every attribute. A template without {text} gives
    one caption whatever the source says.
    """
    fields = _fields(entry)
    captions = []
    for text in (entry.texts or ("",)) if "text" in _named(template) else ("",):
        values = fields | {"text": text}
        if all(values.get(name) for name in _named(template)):
            captions.append(" ".join(template.format_map(values).split()))
    found = tuple(dict.fromkeys(caption for caption in captions if caption))
    return found, [] if found else [Problem(entry.name, EMPTY, loses=False)]


def check_template(template: str, entries: Iterable[Entry]) -> None:
    """Raises ConfigError for a template that no entry can fill, naming the nearest field."""
    try:
        named = _named(template)
    except ValueError as error:
        raise ConfigError(f"caption {template!r} is not a template: {error}") from error
    missing = set(named) - {"text"}
    known = {"text"}
    for entry in entries:
        known |= _fields(entry).keys()
        missing -= known
        if not missing:
            return
    if missing:
        first = sorted(missing)[0]
        raise ConfigError(f"caption {template!r}: no picture has {first!r}; {nearest(first, sorted(known))}")


def _named(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


def _fields(entry: Entry) -> dict[str, str]:
    path = PurePath(entry.name)
    plain = {name: str(value) for name, value in entry.attributes.items() if isinstance(value, str | int | float)}
    return plain | {"name": _words(path.stem), "folder": _words(path.parent.name)}


def _words(name: str) -> str:
    """`red-mushroom_012` → "red mushroom"."""
    return " ".join(re.sub(r"[-_.\s]+", " ", re.sub(r"[-_.\s]*\d+$", "", name)).split())


def load_captioner(model: str, download: bool = False, device: str = "cpu") -> Captioner:
    """A captioning model of transformers (BLIP, GIT, an encoder and decoder …) from a local folder or, if `download`,
    the hub. Captions are decoded greedily, so the same picture has the same caption. Raises CheckpointError.
    """
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    if not Path(model).is_dir() and not download:
        raise CheckpointError(f"there is no captioner {model} here; give its folder, or allow the hub with --download")
    try:
        options: Mapping[str, Any] = {"local_files_only": not download}
        net = AutoModelForImageTextToText.from_pretrained(model, **options).to(device).eval()
        processor = AutoImageProcessor.from_pretrained(model, backend="pil", **options)
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"captioner {model} cannot be loaded: {str(error).splitlines()[0]}") from error

    def write(picture: Tensor) -> str:
        values = processor(images=picture.permute(1, 2, 0).numpy(), return_tensors="pt").to(device)
        with torch.inference_mode():
            tokens = net.generate(**values, max_new_tokens=48, do_sample=False)
        return " ".join(str(tokenizer.decode(tokens[0], skip_special_tokens=True)).split())

    return write
