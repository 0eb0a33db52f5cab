"""Recipes: configuration is data with one spelling (TOML), and a typo says what was meant."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from underdraw.errors import ConfigError
from underdraw.registry import nearest

__all__ = ["Config", "load", "parse"]


class Config(BaseModel):
    """A frozen table of a recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


C = TypeVar("C", bound=Config)


def load(kind: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """The recipe in a TOML file with `key.sub=value` overrides laid over it.

    Raises ConfigError naming the file, the key and the nearest known key.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read recipe {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is not TOML: {error}") from error
    for override in overrides:
        _lay(table, override)
    return parse(kind, table, str(path))


def parse(kind: type[C], table: dict[str, Any], name: str) -> C:
    """The checked configuration of a table; `name` is for the error message."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_explain(kind, error)}") from error


def _lay(table: dict[str, Any], override: str) -> None:
    """Put `a.b=3` into the table; the value is TOML, or else a plain string."""
    key, sign, text = override.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"{override!r} is not an override; write key=value, for example optim.lr=1e-4")
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{override!r}: {parent!r} is a value, not a table")
    try:
        table[leaf] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[leaf] = text


def _explain(kind: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {nearest(place[-1], _keys(kind, place[:-1]))}"
    return f"{key}: {first['msg'].lower()}" + ("" if first["type"] == "missing" else f" (got {first['input']!r})")


def _keys(kind: type[BaseModel], place: Sequence[str]) -> list[str]:
    for part in place:
        field = kind.model_fields.get(part)
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            kind = field.annotation
    return sorted(kind.model_fields)
