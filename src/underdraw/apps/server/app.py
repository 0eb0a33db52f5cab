"""The application: routes, the page, the guard before all of it, the thread behind it."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

import underdraw
from underdraw.apps.server import a1111, a1111_lists, checking, controlnet, lists, maps, ours, surveying
from underdraw.apps.server.guard import Guard
from underdraw.apps.server.jobs import Full
from underdraw.apps.server.service import Gone, Service, Shared
from underdraw.apps.server.worker import Worker
from underdraw.errors import CheckpointError, UnderdrawError

__all__ = ["build_app"]

PAGE = Path(str(files("underdraw"))) / "apps" / "server" / "page"
LONGEST = 250
"""Characters of what is said of a mistake: some name all that there is, or what was sent."""
LOG = logging.getLogger("underdraw.server")
ROUTES = (ours, lists, maps, checking, surveying, a1111, a1111_lists, controlnet)


def build_app(service: Service, token: str | None = None) -> ASGIApp:
    """Everything that is served, behind its guard; its worker lives as long as its lifespan."""
    worker = Worker(service.studio, service.queue)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await service.aside(worker.stop)

    app = FastAPI(title="Underdraw", version=underdraw.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    for part in ROUTES:
        app.include_router(part.routes)
    for kind, answer in ANSWERS.items():
        app.add_exception_handler(kind, answer)
    _add_page(app)
    return Guard(Counted(app, service), token, service.limits)


def _add_page(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=PAGE, check_dir=False), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/rank", include_in_schema=False)
    async def rank() -> FileResponse:
        return FileResponse(PAGE / "rank.html", headers={"Cache-Control": "no-cache"})

    @app.get("/healthz", include_in_schema=False)
    async def health() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/metrics", include_in_schema=False)
    async def metrics(service: Shared) -> PlainTextResponse:
        line = service.queue
        gauges = {
            "waiting": ("Pictures that wait.", float(line.waiting)),
            "drawing": ("Pictures that are being drawn.", float(len(line.drawing))),
            "seconds_a_picture": ("Seconds a picture, lately.", line.pace),
        }
        return PlainTextResponse(service.metrics.text(gauges), media_type="text/plain; version=0.0.4")


class Counted:
    """Counts the answers of an application by kind of request and status."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                # The route's pattern, not the path: a stranger could make as many of those as he likes.
                route = getattr(scope.get("route"), "path", "other")
                self.service.metrics.count("requests_total", route=route, status=str(message["status"]))
            await send(message)

        await self.app(scope, receive, sending)


def _line(status: int, detail: str, **headers: str) -> JSONResponse:
    line = " ".join(detail.split())
    return JSONResponse({"detail": line if len(line) <= LONGEST else f"{line[:LONGEST]}…"}, status, headers or None)


async def _refused(request: Request, error: Exception) -> Response:
    """A mistake of the client's."""
    if isinstance(error, Full):
        return _line(429, str(error), **{"Retry-After": str(error.seconds)})
    if isinstance(error, CheckpointError):
        LOG.error("weights cannot be used", exc_info=error)
        return _line(503, "the weights for this cannot be used here; the server's log says why")
    return _line(422, str(error))


async def _invalid(request: Request, error: Exception) -> Response:
    """A field that makes no sense; what was sent is not said again."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "the request"
    status = 400 if first["type"] == "json_invalid" else 422
    return _line(status, f"{place}: {first['msg'].lower()}")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _line(error.status_code, str(error.detail), **(dict(error.headers) if error.headers else {}))


async def _gone(request: Request, error: Exception) -> Response:
    return _line(499, "the client went away")


async def _broken(request: Request, error: Exception) -> Response:
    """A mistake of ours."""
    return _line(500, "something went wrong here; the server's log says what")


ANSWERS: dict[Any, Any] = {
    UnderdrawError: _refused,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Gone: _gone,
    Exception: _broken,
}
