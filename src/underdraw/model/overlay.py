"""What modules do otherwise for the length of one call of a network, and not a moment longer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Lay", "overlaid"]

Lay = tuple[Any, str, Callable[[Any], Any]]
"""An object, the name of one of its attributes, and what to make of that attribute for the length of a block."""
_ABSENT = object()


@contextmanager
def overlaid(lays: Sequence[Lay]) -> Iterator[None]:
    """Inside the block the attributes are changed, each lay on top of those before it; afterwards all is as it was.

    Nothing may be drawn in between: blocks of this kind end in the reverse of the order in which they began.
    """
    before: list[Any] = []
    try:
        for thing, name, change in lays:
            before.append(thing.__dict__.get(name, _ABSENT))
            thing.__dict__[name] = change(getattr(thing, name))
        yield
    finally:
        for (thing, name, _), old in zip(reversed(lays[: len(before)]), reversed(before), strict=True):
            if old is _ABSENT:
                thing.__dict__.pop(name, None)
            else:
                thing.__dict__[name] = old
