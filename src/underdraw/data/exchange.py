"""Captions with one attribute exchanged for a wrong one: what a judge of pictures must tell from the right ones."""

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from underdraw.data.scenes import COLOURS, KINDS

__all__ = ["THINGS", "exchange", "things", "wrong_caption"]

SCENERY = ("wall", "floor", "ceiling", "window", "curtain", "door", "picture", "rug", "cushion", "book")
THINGS = {kind: entry.english for kind, entry in KINDS.items() if kind not in SCENERY}
"""What may stand in a room, by kind, as captions call it."""
VOWELS = "aeiou"
TRIES = 50
"""Draws of a wrong word before none is thought to fit."""


def things(attributes: Mapping[str, Any]) -> list[str]:
    """What a picture of either world shows, in the captions' words."""
    shown = [THINGS[thing["kind"]] for thing in attributes.get("objects", ()) if thing["kind"] in THINGS]
    name = attributes.get("name_en")
    return [*shown, name] if name else shown


def exchange(
    text: str, present: Sequence[str], others: Sequence[str], random: Random, never: Sequence[str] = ()
) -> str | None:
    """The text with one of the words in `present` exchanged for one of `others` that it does not name.

    The new word takes the same article (a, an) and is none of `never`. None where no word is found, or none fits.
    """
    places = [match for word in present for match in _found(text, word)]
    for place in random.sample(places, len(places)):
        for wrong in (random.choice(others) for _ in range(TRIES if others else 0)):
            alike = (wrong[0].lower() in VOWELS) == (place.group()[0].lower() in VOWELS)
            if alike and wrong not in never and not _found(text, wrong):
                return text[: place.start()] + wrong + text[place.end() :]
    return None


def wrong_caption(text: str, attributes: Mapping[str, Any], names: Sequence[str], random: Random) -> str | None:
    """An English caption with a wrong colour or, as often, a wrong thing of `names`; None where neither fits.

    A thing that the picture shows is not wrong, whether the caption names it or not.
    """
    colours, shown = list(COLOURS), things(attributes)
    ways: list[tuple[list[str], Sequence[str], list[str]]] = [(colours, colours, []), (shown, names, shown)]
    random.shuffle(ways)
    tried = (exchange(text, present, others, random, never) for present, others, never in ways)
    return next((wrong for wrong in tried if wrong), None)


def _found(text: str, word: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"\b{re.escape(word)}\b", text, re.IGNORECASE))
