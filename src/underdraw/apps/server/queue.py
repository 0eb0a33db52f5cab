"""The queue: bounded, fair between clients, merged where drawings are made in one way. One thread draws.

Clients take turns picture by picture, whoever has asked for how many. What leads is drawn together with all that is
drawn in the same way, as many at once as is good. Each job ends exactly once.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from underdraw.apps.server.jobs import Ended, Finished, Full, Job, Moved, Ticket
from underdraw.apps.server.limits import Limits
from underdraw.apps.server.metrics import Metrics
from underdraw.generation import Drawing, Drawn, together

__all__ = ["Queue"]

GATHER = 0.1
"""Seconds that a batch that is not full waits for requests that are being read already."""
MANY = 10_000


class Queue:
    """What waits, by client, and what is being drawn."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self.jobs: dict[str, Job] = {}
        self.pace = 1.0
        """Seconds a picture, lately."""
        self.drawing: list[Ticket] = []
        self._clients: OrderedDict[str, deque[Job]] = OrderedDict()
        self._reserved: dict[str, int] = {}
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    @contextmanager
    def reserve(self, client: str, count: int) -> Iterator[None]:
        """Room for `count` pictures while their request is being read. Raises Full."""
        with self._changed:
            mine = self._reserved.get(client, 0) + sum(len(job.waiting) for job in self._clients.get(client, ()))
            all_of_it = sum(self._reserved.values()) + self.waiting
            if all_of_it + count > self.limits.queue or mine + count > max(1, self.limits.queue // 2):
                self.metrics.count("refused_total")
                raise Full(max(1, ceil(self.pace * (all_of_it if all_of_it < self.limits.queue else count))))
            self._reserved[client] = self._reserved.get(client, 0) + count
        try:
            yield
        finally:
            with self._changed:
                self._reserved[client] -= count
                if not self._reserved[client]:
                    del self._reserved[client]
                self._changed.notify_all()

    def enter(self, job: Job) -> None:
        """Put a job, for which there is room, at the end of its client's line."""
        with self._changed:
            self.jobs[job.id] = job
            self._clients.setdefault(job.client, deque()).append(job)
            self.metrics.count("jobs_total")
            self._tell_positions(job)
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Pictures that wait."""
        with self._changed:
            return sum(len(job.waiting) for line in self._clients.values() for job in line)

    def positions(self) -> dict[str, int]:
        """By job that waits: how many pictures are drawn before its next one, if nobody comes in between."""
        with self._changed:
            lines = deque(deque(job.id for job in line for _ in job.waiting) for line in self._clients.values() if line)
            found: dict[str, int] = {}
            place = 0
            while lines:
                line = lines.popleft()
                if line:
                    found.setdefault(line.popleft(), place)
                    place += 1
                    lines.append(line)
            return found

    def cancel(self, job: Job, keep: bool = False) -> bool:
        """End a job now; or, to `keep` what there is of it, after the step that is being drawn. False: it had ended."""
        with self._changed:
            if job.ended:
                return False
            job.waiting.clear()
            if keep and any(ticket.job is job for ticket in self.drawing):
                job.keep = True
            else:
                self.end(job, Ended(cancelled=True))
            return True

    def of(self, client: str) -> list[Job]:
        """A client's jobs that have not ended."""
        with self._changed:
            return [job for job in self.jobs.values() if job.client == client]

    def deliver(self, ticket: Ticket, drawn: Drawn) -> None:
        """A picture is done; the last one ends its job."""
        job = ticket.job
        with self._changed:
            if job.ended:
                return
            self.metrics.count("pictures_total")
            job.tell(Finished(ticket.place, drawn))
            job.owed -= 1
            if job.owed == 0:
                self.end(job, Ended())

    def end(self, job: Job, how: Ended) -> None:
        """The job's last event; later ones are not told."""
        with self._changed:
            if job.ended:
                return
            job.ended = True
            job.waiting.clear()
            self.jobs.pop(job.id, None)
            self._tidy()
            self.metrics.count("cancelled_total" if how.cancelled else "failed_total" if how.detail else "done_total")
            job.tell(how)
            self._changed.notify_all()

    def take(self) -> list[Ticket]:
        """The pictures to draw next, in one way; waits for some. Nothing once the queue is closed."""
        with self._changed:
            while not self._closed:
                self._expire()
                if self._clients:
                    self._gather()
                if self._clients and not self._closed:
                    self.drawing = self._picked()
                    self._tell_positions()
                    return self.drawing
                self._changed.wait()
            return []

    def done(self, count: int, seconds: float) -> None:
        """A batch of `count` pictures has been drawn."""
        with self._changed:
            self.drawing = []
            self.pace += 0.3 * (seconds / count - self.pace)
            self.metrics.count("drawn_total", count)
            self.metrics.count("batches_total")
            self.metrics.count("drawing_seconds_total", seconds)

    def close(self) -> None:
        """Nothing more is taken; what waits is told so."""
        with self._changed:
            self._closed = True
            for job in list(self.jobs.values()):
                self.end(job, Ended("the server is being stopped"))
            self._changed.notify_all()

    def _expire(self) -> None:
        now = time.monotonic()
        for job in [job for line in self._clients.values() for job in line if now > job.deadline]:
            self.end(job, Ended(f"it waited longer than {self.limits.seconds:g} s"))

    def _gather(self) -> None:
        """Wait a moment for what is about to come, where it could be drawn along."""
        until = time.monotonic() + GATHER
        while self._reserved and self._clients and not self._closed:
            room = together(_window(self._lead()), MANY)
            left = until - time.monotonic()
            if self.waiting >= room or left <= 0:
                return
            self._changed.wait(left)

    def _lead(self) -> Drawing:
        job = next(iter(self._clients.values()))[0]
        return job.drawings[job.waiting[0]]

    def _picked(self) -> list[Ticket]:
        """The leading picture and what is drawn in the same way, a picture a client in turn."""
        lead = self._lead()
        way, room = lead.way, together(_window(lead), MANY)
        turns = deque(self._clients)
        taken: list[Ticket] = []
        first = turns[0]
        while turns and len(taken) < room:
            client = turns.popleft()
            ticket = self._next(client, way)
            if ticket is not None:
                taken.append(ticket)
                turns.append(client)
        self._tidy()
        if first in self._clients:
            self._clients.move_to_end(first)
        order = {id(job): place for place, job in reversed(list(enumerate(ticket.job for ticket in taken)))}
        return sorted(taken, key=lambda ticket: (order[id(ticket.job)], ticket.place))

    def _next(self, client: str, way: str) -> Ticket | None:
        """The next picture of a client that is drawn that way, out of its line."""
        for job in self._clients[client]:
            for place in job.waiting:
                if job.ways[place] == way:
                    job.waiting.remove(place)
                    return Ticket(job, place)
        return None

    def _tidy(self) -> None:
        """Lines hold only jobs of which something waits, and there is no empty line."""
        for client, line in list(self._clients.items()):
            kept = deque(job for job in line if job.waiting)
            if kept:
                self._clients[client] = kept
            else:
                del self._clients[client]

    def _tell_positions(self, only: Job | None = None) -> None:
        waiting = self.waiting
        for name, position in self.positions().items():
            if only is None or only.id == name:
                self.jobs[name].tell(Moved(position, waiting))


def _window(drawing: Drawing) -> tuple[int, int]:
    """What is looked at at once."""
    return drawing.size if drawing.tiling is None else (drawing.tiling.width, drawing.tiling.height)
