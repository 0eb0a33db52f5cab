"""Names for the parts of one kind (annotators, branches, fusions …)."""

import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from underdraw.errors import ConfigError

__all__ = ["Registry", "nearest"]


def nearest(name: str, known: list[str]) -> str:
    """`did you mean 'canny'?` or, when nothing is near, the list of what there is."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(known) or 'none'}"


T = TypeVar("T")


class Registry(Generic[T]):
    """Parts by name; an unknown name says which one was probably meant.

    Third parties add theirs through the entry points of `group`: each names an object whose import registers the part.
    They are looked for once, when a name is not known or all are asked for.
    """

    def __init__(self, what: str, group: str = "") -> None:
        self.what = what
        self.group = group
        self._parts: dict[str, T] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, also: tuple[str, ...] = ()) -> Callable[[T], T]:
        """A decorator that files its argument under `name`, and under the other names that people know it by."""

        def file(part: T) -> T:
            for each in (name, *also):
                assert each not in self._parts and each not in self._aliases, (
                    f"{self.what} {each!r} is registered twice"
                )
            self._parts[name] = part
            self._aliases |= dict.fromkeys(also, name)
            return part

        return file

    def __getitem__(self, name: str) -> T:
        """The part called `name`. Raises ConfigError for an unknown one."""
        if name not in self:
            raise ConfigError(f"unknown {self.what} {name!r}; {nearest(name, [*self.names(), *self.aliases()])}")
        return self._parts[self._aliases.get(name, name)]

    def __contains__(self, name: object) -> bool:
        if not self._knows(name):
            self._load()
        return self._knows(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> list[str]:
        """All names, sorted; each part once."""
        self._load()
        return sorted(self._parts)

    def aliases(self) -> dict[str, str]:
        """Other names of the parts, sorted, each with the name it stands for."""
        self._load()
        return dict(sorted(self._aliases.items()))

    def _knows(self, name: object) -> bool:
        return name in self._parts or name in self._aliases

    def _load(self) -> None:
        """Import the parts of third parties; one that fails is named in a warning, and the rest go on."""
        group, self.group = self.group, ""
        for point in entry_points(group=group) if group else ():
            try:
                point.load()
            except Exception as error:  # whatever a stranger's module raises
                warnings.warn(f"{self.what} {point.name!r} of {point.value} is left out: {error}", stacklevel=2)
