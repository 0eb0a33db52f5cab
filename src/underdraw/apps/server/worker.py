"""The thread that draws what the queue holds."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from underdraw import images
from underdraw.apps.server.jobs import Ended, Stepped, Ticket
from underdraw.apps.server.queue import Queue
from underdraw.errors import UnderdrawError
from underdraw.generation import Batch, Drawn, Frame, Studio, is_memory
from underdraw.generation.company import stamped
from underdraw.generation.glance import glance

__all__ = ["Worker"]

PREVIEW = 128
"""Longer side of a preview in pixels."""
LOG = logging.getLogger("underdraw.server")


class AbandonedError(Exception):
    """Nobody waits any more for what is being drawn."""


class Worker:
    """Draws, in a thread of its own, until the queue is closed."""

    def __init__(self, studio: Studio, queue: Queue) -> None:
        self.studio, self.queue = studio, queue
        self.thread = threading.Thread(target=self._run, name="underdraw-worker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def stop(self) -> None:
        """Close the queue and wait until the step that is being drawn is done."""
        self.queue.close()
        self.thread.join()

    def _run(self) -> None:
        while tickets := self.queue.take():
            begun = time.monotonic()
            self._draw(tickets)
            self.queue.done(len(tickets), time.monotonic() - begun)

    def _draw(self, tickets: Sequence[Ticket]) -> None:
        """Draw; what fails in company is tried alone, so that nobody suffers from another's request."""
        try:
            watch = Watch(self.studio, self.queue, tickets)
            recipes = stamped([ticket.drawing for ticket in tickets])
            batch = Batch(recipes, tuple(range(len(recipes))))
            for drawn in self.studio.draw_all([batch], watch.see, begin=watch.begin):
                self.queue.deliver(tickets[watch.done], drawn)
                watch.done += 1
            return
        except AbandonedError:
            return
        except Exception as error:
            told = _told(error)
        left = [ticket for ticket in tickets if not ticket.job.ended]
        jobs = list(dict.fromkeys(ticket.job for ticket in left))
        if len(jobs) > 1:
            for job in jobs:
                self._draw([ticket for ticket in left if ticket.job is job])
        elif jobs:
            self.queue.end(jobs[0], Ended(told))


@dataclass(eq=False)
class Watch:
    """Looks at the frames of a batch: who is waiting still, who wants to see, who has had enough.

    done: pictures of the batch that are finished; what is being drawn comes behind them.
    """

    studio: Studio
    queue: Queue
    tickets: Sequence[Ticket]
    done: int = 0
    part: Sequence[Ticket] = ()
    batch: Batch | None = None
    count: int = field(default=0)

    def begin(self, batch: Batch) -> None:
        """A part of it, or all, is being drawn."""
        self.batch, self.count = batch, 0
        self.part = self.tickets[self.done : self.done + len(batch.kept)]

    def see(self, frame: Frame) -> None:
        """Raises AbandonedError where nobody waits any more."""
        self.count += 1
        self._expire()
        self._keep(frame)
        rows = [row for row, ticket in enumerate(self.part) if not ticket.job.ended]
        if not rows:
            raise AbandonedError
        assert self.batch is not None, "a batch begins before its first frame"
        single = self.batch.drawings[0].hires is None
        step, steps = (frame.step + 1, frame.steps) if single else (self.count, max(self.count, self.batch.steps))
        seen = self._previews(frame, [row for row in rows if _wants(self.part[row].job.previews, step, steps)])
        for row in rows:
            ticket = self.part[row]
            ticket.job.step, ticket.job.steps = step, steps
            ticket.job.tell(Stepped(ticket.place, step, steps, seen.get(row)))

    def _expire(self) -> None:
        now, most = time.monotonic(), self.queue.limits.seconds
        for ticket in self.part:
            if now > ticket.job.deadline:
                self.queue.end(ticket.job, Ended(f"it took longer than {most:g} s; ask for fewer steps or pixels"))

    def _keep(self, frame: Frame) -> None:
        """What there is of the pictures that are to be broken off."""
        rows = [row for row, ticket in enumerate(self.part) if ticket.job.keep and not ticket.job.ended]
        if not rows:
            return
        recipes = [self.part[row].drawing.model_copy(update={"stopped": self.count}) for row in rows]
        pictures = self.studio.finish(recipes, frame.clean[rows])
        for row, recipe, picture in zip(rows, recipes, pictures, strict=True):
            self.queue.deliver(self.part[row], Drawn(picture, recipe, interrupted=True))
        for row in rows:
            self.queue.end(self.part[row].job, Ended(cancelled=True))

    def _previews(self, frame: Frame, rows: Sequence[int]) -> dict[int, Tensor]:
        if not rows:
            return {}
        pictures = glance(self.studio.backbone, frame.clean[list(rows)])
        scale = min(1.0, PREVIEW / max(pictures.shape[-2:]))
        size = max(8, round(pictures.shape[-1] * scale)), max(8, round(pictures.shape[-2] * scale))
        return dict(zip(rows, images.resize(pictures, size), strict=True))


def _wants(previews: int, step: int, steps: int) -> bool:
    """Whether this step is one of so many, evenly spread; the last is not: the picture itself follows."""
    return step < steps and step * previews // steps > (step - 1) * previews // steps


def _told(error: Exception) -> str:
    """What went wrong, in one line without internals."""
    if isinstance(error, UnderdrawError):
        return " ".join(str(error).split())
    if is_memory(error):
        return "there is not enough memory for this; ask for a smaller picture"
    LOG.error("a drawing failed", exc_info=error)
    return "the drawing failed; the server's log says why"
