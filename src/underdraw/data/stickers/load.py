"""From packages to stickers: every drawing joined with its code point, names, keywords and concept."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from underdraw.data.stickers.concepts import bare, concept_of
from underdraw.data.stickers.names import Emoji, pictures
from underdraw.data.stickers.packages import members, verify
from underdraw.data.stickers.sets import NAMES, SETS, EmojiSet, Package
from underdraw.errors import InputError

log = logging.getLogger(__name__)

BOX = {"left": 0, "top": 0, "width": 16, "height": 16}  # Iconify's defaults, in the order of a view box


@dataclass(frozen=True)
class Sticker:
    """One drawing of one emoji. `source` is an SVG document or the bytes of a raster picture with alpha."""

    set: str
    style: str
    style_zh: str
    emoji: Emoji
    concept: str
    source: bytes

    @property
    def name(self) -> str:
        """Its name among all stickers, fit for a file: "noto-1f344"."""
        return f"{self.set}-{self.emoji.code}"


@dataclass(frozen=True)
class _Drawings:
    """What one package holds: drawings by key, and the code points of these and other names as far as it tells them."""

    sources: Mapping[str, bytes]
    codes: Mapping[str, str]


def load(packages: str | Path, sets: Iterable[EmojiSet] = SETS, names: Package = NAMES) -> list[Sticker]:
    """Every usable sticker of the sets whose tarballs lie in the folder `packages`, ordered by set and code point.

    Dropped: skin tones, flags, components, written glyphs (letters, keycaps, ©), second drawings of an emoji in one
    set, and drawings whose names no table knows (these are named in the log).
    Raises InputError if a tarball is missing, altered or unreadable.
    """
    folder, chosen = Path(packages), tuple(sets)
    emoji = _names(verify(folder, names))
    drawings = [(_raster if one.raster else _vector)(verify(folder, one.package)) for one in chosen]
    codes = {one.slug: one.code for one in emoji.values()}
    for drawn in drawings:
        codes |= drawn.codes  # what one set knows of names helps the others
    return [sticker for one, drawn in zip(chosen, drawings, strict=True) for sticker in _join(one, drawn, codes, emoji)]


def _join(one: EmojiSet, drawn: _Drawings, codes: Mapping[str, str], emoji: Mapping[str, Emoji]) -> Iterator[Sticker]:
    known = {key: drawn.codes.get(key) or codes.get(key) for key in sorted(drawn.sources)}
    unknown = [key for key, code in known.items() if code is None]
    if unknown:
        log.info("stickers: %s: no table knows the names of %d drawings: %s", one.name, len(unknown), unknown)
    found: dict[str, bytes] = {}
    for key, code in known.items():
        if code is not None and code in emoji:
            found.setdefault(code, drawn.sources[key])
    for code in sorted(found):
        yield Sticker(one.name, one.style, one.style_zh, emoji[code], concept_of(code), found[code])


def _names(tarball: Path) -> dict[str, Emoji]:
    tables = members(tarball, {"en/data.json", "zh/data.json"}.__contains__)
    return pictures(_json(tables, "en/data.json", tarball), _json(tables, "zh/data.json", tarball))


def _raster(tarball: Path) -> _Drawings:
    """A package of WebP pictures, each named by its code points."""
    files = members(tarball, lambda path: path.endswith(".webp"))
    sources = {PurePosixPath(path).stem: data for path, data in files.items()}
    return _Drawings(sources, {key: bare(key) for key in sources})


def _vector(tarball: Path) -> _Drawings:
    """An Iconify package: SVG bodies by name, sometimes with a table of code points, and synonyms ("aliases")."""
    tables = {"chars.json": b"{}"} | members(tarball, {"icons.json", "chars.json"}.__contains__)
    icons, chars = _json(tables, "icons.json", tarball), _json(tables, "chars.json", tarball)
    codes = {name: bare(code) for code, name in sorted(chars.items(), reverse=True)}
    for alias, link in icons.get("aliases", {}).items():
        if link["parent"] in codes and not link.keys() - {"parent", "hidden"}:  # the same drawing, not a turned one
            codes.setdefault(alias, codes[link["parent"]])
    sources = {name: _document(icons, icon) for name, icon in icons["icons"].items() if not icon.get("hidden")}
    return _Drawings(sources, codes)


def _document(icons: Mapping[str, Any], icon: Mapping[str, Any]) -> bytes:
    """The whole SVG of an Iconify icon; ink of no stated colour is black."""
    view = " ".join(str(icon.get(key, icons.get(key, standard))) for key, standard in BOX.items())
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" color="#000">{icon["body"]}</svg>'.encode()


def _json(tables: Mapping[str, bytes], path: str, tarball: Path) -> Any:
    try:
        return json.loads(tables[path])
    except (KeyError, ValueError) as error:
        raise InputError(f"stickers: {tarball} holds no readable {path}; delete it and fetch it again") from error
