"""What all routes share: the base, the queue before it, the limits, and the way from a request to its pictures."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio.to_thread
from fastapi import Depends, Request
from torch import Tensor

from underdraw import images
from underdraw.apps.server.jobs import Ended, Event, Finished, Job
from underdraw.apps.server.limits import Limits, check_text
from underdraw.apps.server.metrics import Metrics
from underdraw.apps.server.queue import Queue
from underdraw.apps.server.ranking import Survey
from underdraw.errors import InputError, UnderdrawError
from underdraw.files import atomic
from underdraw.generation import Drawing, Drawn, Studio
from underdraw.generation.provenance import CHUNK

__all__ = ["Gone", "Order", "Service", "Shared", "as_text", "client_of", "recipe_of"]

P = ParamSpec("P")
T = TypeVar("T")
Planner = Callable[[Callable[[str], None]], Sequence[Drawing]]
"""Makes the recipes that a request comes to, in a thread of its own; hears of what was changed."""
SILENCE = 10.0
"""Seconds after which it is worth saying that nothing has happened."""


class Gone(Exception):
    """The client went away."""


@dataclass(eq=False)
class Order:
    """A job, the events that came of it, and what its client should know."""

    job: Job
    events: "asyncio.Queue[Event]"
    notes: Sequence[str]


@dataclass(eq=False)
class Service:
    """One base, one queue. output: a folder where every picture is kept, too; survey: what is to be ranked."""

    studio: Studio
    limits: Limits = field(default_factory=Limits)
    output: Path | None = None
    survey: Survey | None = None
    metrics: Metrics = field(default_factory=Metrics)
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = Queue(self.limits, self.metrics)
        self._threads = anyio.CapacityLimiter(2)

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` gives, while others are served; two such things go on at once."""
        return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._threads)

    async def order(self, request: Request, count: int, planner: Planner, previews: int = 0) -> Order:
        """Put `count` pictures into the queue. Raises Full, and InputError or ConfigError for what makes no sense."""
        client, loop = client_of(request), asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()
        notes: list[str] = []

        def tell(event: Event) -> None:
            with suppress(RuntimeError):  # the loop has ended, and everybody has gone
                loop.call_soon_threadsafe(events.put_nowait, event)

        deadline = time.monotonic() + self.limits.seconds
        with self.queue.reserve(client, count):
            job = await self.aside(self._job, planner, notes, client=client, tell=tell, previews=previews)
            job.deadline = deadline
            self.queue.enter(job)
        return Order(job, events, notes)

    def _job(self, planner: Planner, notes: list[str], **more: Any) -> Job:
        drawings = planner(notes.append)
        for drawing in drawings:
            self._check(drawing)
        return Job(drawings=drawings, **more)

    def _check(self, drawing: Drawing) -> None:
        check_text(drawing.prompt, self.limits)
        check_text(drawing.negative, self.limits, "negative prompt")
        steps = drawing.steps + (drawing.hires.steps if drawing.hires else 0)
        if steps > self.limits.steps:
            raise InputError(f"steps = {steps} are too many; at most {self.limits.steps} are drawn here")
        if drawing.width * drawing.height > self.limits.drawing:
            told = f"{drawing.width}x{drawing.height}"
            raise InputError(f"size {told} is too large; at most {self.limits.drawing:,} pixels are drawn here")

    async def follow(self, request: Request, order: Order) -> AsyncIterator[Event | None]:
        """The events of an order as they come, None after a long silence; a client that goes away cancels it."""
        gone, coming = asyncio.ensure_future(_gone(request)), asyncio.ensure_future(order.events.get())
        try:
            while True:
                await asyncio.wait({gone, coming}, timeout=SILENCE, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    event = coming.result()
                    yield event
                    if isinstance(event, Ended):
                        return
                    coming = asyncio.ensure_future(order.events.get())
                elif gone.done():
                    return
                else:
                    yield None
        finally:
            gone.cancel()
            coming.cancel()
            self.queue.cancel(order.job)

    async def wait(self, request: Request, order: Order) -> tuple[dict[int, Drawn], Ended]:
        """All pictures of an order by place. Raises UnderdrawError where it failed, Gone where nobody waits."""
        found: dict[int, Drawn] = {}
        async for event in self.follow(request, order):
            if isinstance(event, Finished):
                found[event.place] = event.drawn
            elif isinstance(event, Ended):
                if event.detail:
                    raise UnderdrawError(event.detail)
                return dict(sorted(found.items())), event
        raise Gone

    async def encoded(self, drawn: Drawn, name: str) -> bytes:
        """The PNG of a picture, with its recipe; kept on disk under that name where that is wanted."""
        return await self.aside(self._encoded, drawn, name)

    def _encoded(self, drawn: Drawn, name: str) -> bytes:
        recipe = drawn.drawing
        told = {CHUNK: recipe.model_dump_json(), "parameters": recipe.parameters()}
        data = images.encode_png(drawn.picture, told)
        if self.output is not None:
            with atomic(self.output / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}.png") as draft:
                draft.write_bytes(data)
        return data


async def _gone(request: Request) -> None:
    """Until the client goes away; asking now and then would cost as much as drawing, with many clients."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Shared = Annotated[Service, Depends(_service)]
"""What a route takes to get at the service."""


def client_of(request: Request) -> str:
    """Whom fairness is between: addresses."""
    return request.client.host if request.client else ""


def as_text(picture: bytes | Tensor) -> str:
    """A PNG, or a picture C×H×W, in base64."""
    data = picture if isinstance(picture, bytes) else images.encode_png(picture)
    return base64.b64encode(data).decode("ascii")


def recipe_of(drawing: Drawing) -> dict[str, Any]:
    """A recipe without its pictures."""
    told: dict[str, Any] = drawing.model_dump(mode="json")
    for guide in told["controls"]:
        guide |= {name: "" for name in ("map", "mask") if name in guide}
    if told.get("given"):
        told["given"] |= {"picture": "", "mask": ""}
    return told
