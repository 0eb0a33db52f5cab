"""Option values: sizes, knobs, files of prompts, names of outputs."""

import re
import tomllib
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from underdraw.errors import ConfigError, InputError

__all__ = ["folder_path", "free_name", "lines_of", "parse_settings", "parse_size", "png_path"]

LARGEST = 4096
LONGEST = 10_000_000
WORD = re.compile(r"(?!(true|false|inf|nan)$)[a-z./~][\w./~ -]*", re.IGNORECASE)


def parse_size(text: str) -> tuple[int, int]:
    """`WxH` in pixels. Raises ConfigError."""
    found = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text.strip().lower())
    if not found:
        raise ConfigError(f"size {text!r} is not WxH in pixels, for example 64x64")
    width, height = int(found[1]), int(found[2])
    if not (8 <= width <= LARGEST and 8 <= height <= LARGEST):
        raise ConfigError(f"size {text!r} makes no sense; each side must be from 8 to {LARGEST} pixels")
    return width, height


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """`KNOB=VALUE` by name; values as TOML spells them, a word without its quotes too. Raises ConfigError."""
    settings = {}
    for text in texts:
        name, sign, value = text.partition("=")
        value = f'"{value.strip()}"' if WORD.fullmatch(value.strip()) else value
        try:
            settings[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            sign = ""
        if not sign or not name.strip():
            raise ConfigError(f"--set {text!r} is not KNOB=VALUE, for example low=50")
    return settings


def lines_of(path: Path) -> tuple[str, ...]:
    """The prompts in a file, one a line; empty lines are left out. Raises InputError."""
    try:
        if path.stat().st_size > LONGEST:
            raise InputError(f"{path} is larger than {LONGEST:,} bytes; a file of prompts has one a line")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read prompts {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"prompts {path} are not text in UTF-8 (byte {error.start}); save them as UTF-8") from error
    prompts = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not prompts:
        raise InputError(f"{path} holds no prompt; write one a line")
    return prompts


def png_path(path: Path) -> Path:
    """The path, if a PNG can stand there. Raises InputError."""
    if path.suffix.lower() != ".png":
        raise InputError(f"output {path} must end with .png")
    if path.is_dir():
        raise InputError(f"output {path} is a folder; give the name of a file")
    return path


def folder_path(path: Path) -> Path:
    """The path, if a folder can stand there. Raises InputError."""
    if path.exists() and not path.is_dir():
        raise InputError(f"output {path} is a file; give the name of a folder")
    return path


def free_name(path: Path) -> Path:
    """The path, or the first of NAME-0002 … that is not taken."""
    if not path.exists():
        return path
    return next(
        named for number in count(2) if not (named := path.with_name(f"{path.stem}-{number:04d}{path.suffix}")).exists()
    )
