"""Recipes: configuration is data with one spelling (TOML), and a typo says what was meant."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

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
    place, table = _locate(kind, first["loc"])
    key = ".".join(place)
    match first["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}; {nearest(place[-1], sorted(table.model_fields))}"
        case "union_tag_invalid":
            known = [each.strip(" '") for each in first["ctx"]["expected_tags"].split(",")]
            return (
                f"{key}.{_discriminator(first)}: unknown {first['ctx']['tag']!r}; {nearest(first['ctx']['tag'], known)}"
            )
        case "union_tag_not_found":
            return f"{key}.{_discriminator(first)}: field required"
        case "missing":
            return f"{key}: field required"
        case _:
            return f"{key}: {first['msg'].lower()} (got {first['input']!r})"


def _discriminator(error: ErrorDetails) -> str:
    """The key that says which of several tables one is."""
    return str(error["ctx"]["discriminator"]).strip("'")


def _locate(kind: type[BaseModel], location: Sequence[str | int]) -> tuple[list[str], type[BaseModel]]:
    """Where an error is, as the file spells it, and the table that holds the last key.

    Pydantic's locations also name which of several tables was chosen; the file does not.
    """
    place: list[str] = []
    choices: dict[str, type[BaseModel]] = {}
    below: type[BaseModel] | None = kind
    for part in location:
        if part in choices:
            below, choices = choices[str(part)], {}
            continue
        kind = below or kind
        place.append(str(part))
        field = kind.model_fields.get(str(part))
        below = field.annotation if field and _is_table(field.annotation) else None
        choices = _choices(field) if field and field.discriminator else {}
    return place, kind


def _is_table(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _choices(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """The tables that a field can hold, by what their discriminating key says."""
    tables = [member for member in get_args(field.annotation) if _is_table(member)]
    key = str(field.discriminator)
    return {tag: table for table in tables for tag in get_args(table.model_fields[key].annotation)}
