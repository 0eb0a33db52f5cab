"""Names for the parts of one kind (annotators, branches, fusions …)."""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

from underdraw.errors import ConfigError

__all__ = ["Registry", "nearest"]


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean 'canny'?` or, when nothing is near, the list of what there is."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(known) or 'none'}"


T = TypeVar("T")


class Registry(Generic[T]):
    """Parts by name; an unknown name says which one was probably meant."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._parts: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that files its argument under `name`."""

        def file(part: T) -> T:
            assert name not in self._parts, f"{self.what} {name!r} is registered twice"
            self._parts[name] = part
            return part

        return file

    def __getitem__(self, name: str) -> T:
        """The part called `name`. Raises ConfigError for an unknown one."""
        if name not in self._parts:
            raise ConfigError(f"unknown {self.what} {name!r}; {nearest(name, self.names())}")
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._parts)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._parts)
