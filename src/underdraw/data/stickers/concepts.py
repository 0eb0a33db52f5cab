"""Which stickers are one concept, and which split a concept belongs to.

The sets draw the same emoji with shared outlines, so a picture in one set gives away the same emoji in another:
whole concepts are held out, across all sets. A concept's key is the smallest code point sequence of its members.
"""

import hashlib
import re
from functools import cache

from underdraw.data.stickers.twins import TWINS

SPLITS = {"train": 0.92, "watch": 0.03, "report": 0.05}
SALT = 21  # chosen so that the splits of the shipped sets come near their shares, in concepts and in stickers
DROPPED = re.compile(r"fe0f|1f3f[b-f]")  # presentation selector, skin tones
UNGENDERED = {"1f468": "1f9d1", "1f469": "1f9d1", "1f466": "1f9d2", "1f467": "1f9d2"}  # man, woman; boy, girl
PERSON, COUPLE = "1f9d1", "1f46a"


def _span(first: int, last: int) -> str:
    return " ".join(f"{code:x}" for code in range(first, last + 1))


FAMILIES: tuple[str, ...] = (
    _span(0x1F550, 0x1F567),  # clock faces
    _span(0x1F311, 0x1F31D),  # moons, with and without faces
    "2764 1f9e1 1f49b 1f49a 1f499 1fa75 1f49c 1f90e 1f5a4 1fa76 1f90d 1fa77 "  # hearts of every colour …
    "1f493 1f497 1f496 1f498 1f49d 1f494 2763 2764-200d-1f525 2764-200d-1fa79 2665 1f495 1f49e",  # … and with trimmings
    "1f534 1f7e0 1f7e1 1f7e2 1f535 1f7e3 1f7e4 26ab 26aa 2b55",  # circles
    "1f7e5 1f7e7 1f7e8 1f7e9 1f7e6 1f7ea 1f7eb 2b1b 2b1c 25fc 25fb 25fe 25fd 25aa 25ab 1f533 1f532",  # squares
    "1f536 1f537 1f538 1f539",  # diamonds
    "1f53a 1f53b",  # triangles
    "1f4d5 1f4d7 1f4d8 1f4d9",  # books
    "2b06 2197 27a1 2198 2b07 2199 2b05 2196 2195 2194",  # straight arrows
    "1f448 1f449 1f446 1f447 261d 1faf5",  # pointing hands
    "1f44d 1f44e",  # thumbs
    f"{PERSON} 1f9d1-200d-1f9b0 1f9d1-200d-1f9b1 1f9d1-200d-1f9b2 1f9d1-200d-1f9b3 1f471 1f9d4",  # hair and beards
    "1f474 1f475 1f9d3",  # old people
    "1f934 1f478 1fac5 1f470 1f935",  # royalty, brides and grooms
    "1f385 1f936 1f9d1-200d-1f384",  # Santa Claus
    f"{COUPLE} 1f46b 1f46c 1f46d 1f48f 1f491",  # couples and families
)


def bare(code: str) -> str:
    """A code point sequence in lower case without presentation selectors and padding: "00A9-FE0F" is "a9"."""
    return "-".join(part.lstrip("0") for part in code.lower().split("-") if part != "fe0f")


def ungendered(code: str) -> str:
    """The sequence of the emoji without skin tone, gender and direction; several people are the one key COUPLE."""
    plain = [UNGENDERED.get(part, part) for part in code.lower().split("-") if not DROPPED.fullmatch(part)]
    if sum(part in (PERSON, "1f9d2") for part in plain) > 1:
        return COUPLE
    return re.sub("-200d-(2640|2642|27a1)", "", "-".join(plain))


@cache
def _roots(groups: tuple[str, ...]) -> dict[str, str]:
    return union([group.split() for group in groups])


def concept_of(code: str) -> str:
    """The concept's key of an emoji's code point sequence ("1f422", a turtle, is "1f422"; a man running, "1f3c3-…", is
    what a running person is).
    """
    plain = ungendered(code)
    return _roots((*FAMILIES, *TWINS)).get(plain, plain)


def family_of(code: str) -> str:
    """The concept's key as it would be if no outlines were alike: FAMILIES alone, without TWINS."""
    plain = ungendered(code)
    return _roots(FAMILIES).get(plain, plain)


def split_of(concept: str) -> str:
    """ "train", "watch" or "report", by a hash of the concept alone: the same in every run, for every selection."""
    place = int.from_bytes(hashlib.sha256(f"{SALT}/{concept}".encode()).digest()[:8], "big") / 2**64
    for name, share in SPLITS.items():
        if place < share:
            return name
        place -= share
    return name


def union(groups: list[list[str]]) -> dict[str, str]:
    """Join groups that share a member: {member: smallest member of its joined group} (union-find)."""
    parent: dict[str, str] = {}

    def root(item: str) -> str:
        while parent.setdefault(item, item) != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for group in groups:
        for item in group:
            low, high = sorted((root(group[0]), root(item)))
            parent[high] = low
    return {item: root(item) for item in list(parent)}
