"""What waits to be drawn, and what its client hears of it."""

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from underdraw.errors import UnderdrawError
from underdraw.generation import Drawing, Drawn

__all__ = ["Ended", "Event", "Finished", "Full", "Job", "Moved", "Stepped", "Ticket"]


class Full(UnderdrawError):
    """There is no room in the queue; `seconds` until there should be."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too much is waiting to be drawn; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Moved:
    """position: pictures that are drawn before this job's next one; waiting: all that wait."""

    position: int
    waiting: int


@dataclass(frozen=True, eq=False)
class Stepped:
    """A picture's step, from 1, of `steps`; preview: what can be seen so far, 3×H×W, now and then."""

    place: int
    step: int
    steps: int
    preview: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Finished:
    """A picture is done."""

    place: int
    drawn: Drawn


@dataclass(frozen=True)
class Ended:
    """The last event of a job. detail: what went wrong, in one line for people; cancelled: somebody ended it."""

    detail: str = ""
    cancelled: bool = False


Event = Moved | Stepped | Finished | Ended


@dataclass(eq=False)
class Job:
    """The pictures of one request.

    client: who asked, for fairness. tell: hears of events, from the thread that draws: it must not wait. previews: how
    many are wanted. deadline: on the monotonic clock. waiting: places that are not begun. owed: pictures that are
    neither drawn nor given up. keep: to be broken off, with what there is.
    """

    client: str
    drawings: Sequence[Drawing]
    tell: Callable[[Event], None]
    previews: int = 0
    deadline: float = float("inf")
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    waiting: deque[int] = field(init=False)
    ways: list[str] = field(init=False)
    owed: int = field(init=False)
    keep: bool = field(init=False, default=False)
    ended: bool = field(init=False, default=False)
    step: int = field(init=False, default=0)
    steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.drawings)))
        self.ways = [drawing.way for drawing in self.drawings]
        self.owed = len(self.drawings)


@dataclass(frozen=True, eq=False)
class Ticket:
    """One picture of a job."""

    job: Job
    place: int

    @property
    def drawing(self) -> Drawing:
        """Its recipe."""
        return self.job.drawings[self.place]
