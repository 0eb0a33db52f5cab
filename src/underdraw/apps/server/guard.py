"""Who may ask, how much, and what every answer says: checks that come before anything else."""

import asyncio
import base64
import binascii
import hmac
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from underdraw.apps.server.limits import Limits

__all__ = ["HEADERS", "Guard", "Refusal", "is_loopback"]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; font-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer. The page brings all that it needs, and nobody may frame it."""
OPEN = ("/", "/rank", "/healthz")
"""Paths, and `/static/`, that need no token: there is nothing of anybody's."""
SLOWEST = 30.0
"""Seconds at most between two parts of a request."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is not heard."""

    status: int
    detail: str


class Guard:
    """Asks for the token, refuses other origins and names, bounds what is sent. Wraps an application.

    token: None where everybody who reaches us may ask. Then names are checked too: a page elsewhere could call
    its own name our address (DNS rebinding); a number, `localhost` and this machine's name cannot be so called.
    """

    def __init__(self, app: ASGIApp, token: str | None, limits: Limits) -> None:
        self.app, self.token, self.limits = app, token, limits
        self.names = frozenset({"localhost", socket.gethostname().lower()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1003})
            return
        refusal = self.refusal(scope["method"], scope["path"], Headers(scope=scope))
        answer: ASGIApp = self.app
        if refusal is not None:
            more = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
            answer = JSONResponse({"detail": refusal.detail}, refusal.status, more)
        await answer(scope, self._bounded(receive), _with_headers(send))

    def refusal(self, method: str, path: str, headers: Headers) -> Refusal | None:
        """Why a request is refused before it is read; None: it is heard."""
        if self.token is None and not self._is_ours(headers.get("host", "")):
            return Refusal(403, "this name is not ours; call the server by its number, or start it with a token")
        if method not in ("GET", "HEAD") and not _is_same_origin(headers):
            return Refusal(403, "requests from other origins are refused")
        if not (path in OPEN or path.startswith("/static/")) and not self._is_told(headers.get("authorization", "")):
            return Refusal(401, "the token is missing or wrong; send Authorization: Bearer TOKEN")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.limits.body:
            return self._too_large()
        return None

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the request is too large; at most {self.limits.body:,} bytes are read")

    def _is_told(self, authorization: str) -> bool:
        """Whether the token was said: as a bearer's, or as the password of whatever user."""
        if self.token is None:
            return True
        scheme, _, said = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                said = base64.b64decode(said, validate=True).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                said = ""
        known = scheme.lower() in ("basic", "bearer")
        return hmac.compare_digest(said.strip().encode(), self.token.encode()) and known

    def _is_ours(self, host: str) -> bool:
        name = (urlsplit(f"//{host}").hostname or "") if "@" not in host else ""
        return name in self.names or _is_number(name)

    def _bounded(self, receive: Receive) -> Callable[[], "asyncio.Future[Message]"] | Receive:
        """What is received of one request, until it is too much or too slow."""
        taken, whole = 0, False

        async def bounded() -> Message:
            nonlocal taken, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), SLOWEST)
            except TimeoutError as error:
                raise HTTPException(408, "the request came too slowly") from error
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if taken > self.limits.body:
                    raise HTTPException(413, self._too_large().detail)
            return message

        return bounded


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


def _is_same_origin(headers: Headers) -> bool:
    """Whether a request that changes something comes from our own page, or from no page at all."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host == "localhost" or (_is_number(host) and ipaddress.ip_address(host).is_loopback)


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
