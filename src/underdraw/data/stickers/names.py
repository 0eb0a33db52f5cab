"""What emoji are called: names and keywords in English and Chinese, from the tables of emojibase-data."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from underdraw.data.stickers.colours import COLOURS
from underdraw.data.stickers.concepts import bare

# Groups and subgroups of emojibase-data/meta/groups.json.
PEOPLE, COMPONENTS, SYMBOLS, FLAGS = 1, 2, 8, 9
FACES, HOURS = range(11), 58
GLYPHS = {89, 90, 91, 92, 94, 95}  # gender, mathematics, punctuation, currency, keycaps, letters: type, not pictures
WRITTEN = {15, HOURS, 61, 63, 66, 69, 70, *range(72, 77)}  # signs of emotion (💯), medals, games, phones, paper …
UNWANTED = {"a9", "ae", "2122", "3030", "27b0", "27bf", "1f595"}  # ©, ®, ™, wavy dash, loops; a rude gesture

SIDED = re.compile("left|right|clockwise|quarter|crescent|gibbous|calendar|sign|map|Japan|hospital|store|sleep", re.I)
SLANG = re.compile(
    "not|off|why|got|huh|hmm|omg|wtf|wtv|fml|tmi|lmao|rofl|bday|bae|dope|sucks|pissed|ass|sexy|lust|hump|jew"
)
QUOTES = str.maketrans("’‘“”", "''\"\"")


@dataclass(frozen=True)
class Emoji:
    """What the tables say of one emoji, whoever draws it."""

    code: str
    slug: str  # as icon packages write the name: "man-red-hair"
    name: str  # as captions do: "man with red hair"
    name_zh: str
    keywords: tuple[str, ...]
    keywords_zh: tuple[str, ...]
    mirrors: bool  # may be flipped: nothing is written on it, no left or right in its name
    coloured: bool  # a colour may stand before its name: not for people and hours


Row = Mapping[str, Any]


def pictures(english: Iterable[Row], chinese: Iterable[Row]) -> dict[str, Emoji]:
    """The emoji that make pictures, by bare code point sequence, from emojibase's `data.json` of both languages."""
    translated = {bare(row["hexcode"]): row for row in chinese}
    rows = {bare(row["hexcode"]): row for row in english}
    return {code: _emoji(code, row, translated[code]) for code, row in rows.items() if _depicts(code, row)}


def _depicts(code: str, row: Row) -> bool:
    """Whether the emoji is a picture of something: neither a component, a flag nor a written glyph."""
    group = row.get("group", COMPONENTS)
    return group not in (COMPONENTS, FLAGS) and row["subgroup"] not in GLYPHS and code not in UNWANTED


def _emoji(code: str, row: Row, chinese: Row) -> Emoji:
    name = _plain(row["label"].translate(QUOTES))
    name_zh = re.sub(r"[:：]\s*", " ", chinese["label"])
    if row["subgroup"] in FACES and name_zh[-1] not in "脸情":
        name_zh += "表情"  # the table only says "tired" or "laughing"
    return Emoji(
        code,
        re.sub("[^a-z0-9]+", "-", row["label"].lower()).strip("-"),
        name,
        name_zh,
        keywords=tuple(tag for tag in row.get("tags", ()) if _tells(tag, name)),
        keywords_zh=tuple(tag for tag in chinese.get("tags", ()) if tag not in name_zh),
        mirrors=row["group"] != SYMBOLS and row["subgroup"] not in WRITTEN and not SIDED.search(name),
        coloured=row["group"] != PEOPLE and row["subgroup"] != HOURS,
    )


def _plain(label: str) -> str:
    """A label without its colon: "man: red hair" is "man with red hair", "kiss: man, man" is "kiss, man and man"."""
    subject, _, detail = label.partition(": ")
    if detail == "bald":
        return f"bald {subject}"
    if not detail or detail == "facing right":
        return f"{subject} {detail}".strip()
    together = subject in ("kiss", "couple with heart", "family")
    return f"{subject}, {' and '.join(detail.rsplit(', ', 1))}" if together else f"{subject} with {detail}"


def _tells(tag: str, name: str) -> bool:
    """Whether a keyword is a word, adds something to the name and claims no colour."""
    word = re.fullmatch("[a-z -]{3,}", tag) and not SLANG.fullmatch(tag)
    return bool(word) and tag not in name and not set(tag.split()) & COLOURS.keys()
