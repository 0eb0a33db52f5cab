"""Our API, the half that draws: generate, grid, queue, cancel."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field

from underdraw.apps.server.asking import Generate, drawings_of
from underdraw.apps.server.grids import Grid
from underdraw.apps.server.jobs import Ended, Event, Finished, Moved, Stepped
from underdraw.apps.server.service import Gone, Order, Service, Shared, as_text, client_of, recipe_of
from underdraw.config import Config
from underdraw.errors import InputError, UnderdrawError
from underdraw.generation import Drawing, Drawn

__all__ = ["routes"]

routes = APIRouter(prefix="/v1", tags=["draw"])
Finish = Callable[[dict[int, Drawn]], dict[str, Any] | None]
"""What else is said of all pictures, at the end."""


@routes.post("/generate")
async def generate(asked: Generate, request: Request, service: Shared) -> Response:
    """Draw pictures. `stream`: server-sent events (queued, frame, picture, done, error); else all at the end."""
    planner = partial(drawings_of, service.studio, asked, service.limits)
    return await _draw(service, request, asked, asked.count, planner, lambda found: None)


class AxisAsked(Config):
    """One thing that a grid varies, and its values as the command line takes them."""

    name: str
    values: tuple[str, ...] = Field(min_length=1, max_length=64)


class GridAsked(Generate):
    """A grid: every value of one setting with every value of another."""

    axes: tuple[AxisAsked, ...] = Field(min_length=1, max_length=2)


@routes.post("/grid")
async def grid(asked: GridAsked, request: Request, service: Shared) -> Response:
    """Draw a grid; as `generate`, and a sheet with labels at the end."""
    table = Grid.asked([(axis.name, axis.values) for axis in asked.axes])
    if table.count > service.limits.grid:
        raise InputError(f"the grid has {table.count} pictures; at most {service.limits.grid} are drawn here")
    planner = partial(table.drawings, service.studio, asked, service.limits)
    return await _draw(service, request, asked, table.count, planner, table.sheet)


@routes.get("/queue")
async def queue(request: Request, service: Shared) -> dict[str, Any]:
    """What waits and what is drawn."""
    line = service.queue
    positions = line.positions()
    mine = [
        {
            "id": job.id,
            "state": "waiting" if job.id in positions and not job.step else "drawing",
            "position": positions.get(job.id, 0),
            "step": job.step,
            "steps": job.steps,
        }
        for job in line.of(client_of(request))
    ]
    return {
        "waiting": line.waiting,
        "limit": service.limits.queue,
        "drawing": len(line.drawing),
        "mine": mine,
        "seconds_a_picture": round(line.pace, 3),
    }


class CancelAsked(Config):
    """keep: what there is of the pictures so far comes as pictures."""

    keep: bool = False


@routes.post("/cancel/{job_id}")
async def cancel(job_id: str, service: Shared, asked: CancelAsked | None = None) -> dict[str, bool]:
    """End a job; whoever knows its id may."""
    job = service.queue.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, "there is no such job; it may have ended")
    return {"cancelled": service.queue.cancel(job, keep=asked is not None and asked.keep)}


@routes.post("/cancel")
async def cancel_all(request: Request, service: Shared) -> dict[str, int]:
    """End all jobs of the client."""
    return {"cancelled": sum(service.queue.cancel(job) for job in service.queue.of(client_of(request)))}


async def _draw(
    service: Service,
    request: Request,
    asked: Any,
    count: int,
    planner: Callable[[Callable[[str], None]], Sequence[Drawing]],
    finish: Finish,
) -> Response:
    order = await service.order(request, count, planner, asked.previews if asked.stream else 0)
    told = _told(service, request, order, finish)
    if asked.stream:
        return StreamingResponse(_lines(told), media_type="text/event-stream")
    whole: dict[str, Any] = {"id": order.job.id, "pictures": []}
    async for name, part in told:
        if name == "error":
            raise UnderdrawError(part["detail"])
        if name == "picture":
            whole["pictures"].append(part)
        elif name == "sheet":
            whole["sheet"] = part["picture"]
        elif name == "done":
            whole["pictures"].sort(key=lambda each: each["index"])
            return JSONResponse(whole | {"notes": part["notes"], "cancelled": part["cancelled"]})
    raise Gone


async def _lines(told: AsyncIterator[tuple[str, dict[str, Any]]]) -> AsyncIterator[str]:
    async for name, part in told:
        yield f"event: {name}\ndata: {json.dumps(part, ensure_ascii=False)}\n\n" if name else ": alive\n\n"


async def _told(
    service: Service, request: Request, order: Order, finish: Finish
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The events of an order by name as clients hear them; one without a name when nothing has happened for long."""
    found: dict[int, Drawn] = {}
    async for event in service.follow(request, order):
        if event is None:
            yield "", {}
        elif isinstance(event, Ended) and not event.detail:
            rest = await service.aside(finish, found) if found and not event.cancelled else None
            if rest is not None:
                yield "sheet", {"id": order.job.id} | rest
            done = {"pictures": len(found), "notes": list(order.notes), "cancelled": event.cancelled}
            yield "done", {"id": order.job.id} | done
        else:
            if isinstance(event, Finished):
                found[event.place] = event.drawn
            yield await _part(service, order, event)


async def _part(service: Service, order: Order, event: Event) -> tuple[str, dict[str, Any]]:
    told: dict[str, Any] = {"id": order.job.id}
    match event:
        case Moved():
            return "queued", told | {"position": event.position, "waiting": event.waiting}
        case Stepped():
            seen = None if event.preview is None else as_text(event.preview)
            return "frame", told | {"picture": event.place, "step": event.step, "steps": event.steps, "preview": seen}
        case Finished():
            data = await service.encoded(event.drawn, f"{order.job.id}-{event.place}")
            recipe = event.drawn.drawing
            return "picture", told | {
                "index": event.place,
                "count": len(order.job.drawings),
                "picture": as_text(data),
                "recipe": recipe_of(recipe),
                "seconds": round(event.drawn.seconds, 3),
                "stopped": recipe.stopped,
            }
        case Ended():
            return "error", told | {"detail": event.detail}
