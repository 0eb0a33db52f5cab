"""The server over the tiny base: in this process, and at a port of this machine."""

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from starlette.testclient import TestClient

from underdraw import images
from underdraw.apps.server.app import build_app
from underdraw.apps.server.limits import Limits
from underdraw.apps.server.service import Service
from underdraw.generation import Studio

LIMITS = Limits(body=2**20, pixels=512 * 512, drawing=96 * 96, steps=400, count=8, seconds=60, queue=24)
LOCAL = "http://localhost"


@pytest.fixture(scope="session")
def studio(base: Path) -> Studio:
    return Studio.open(str(base), device="cpu")


@pytest.fixture(scope="module")
def client(studio: Studio) -> Iterator[TestClient]:
    """Asks a server that has no token."""
    with TestClient(build_app(Service(studio, LIMITS)), base_url=LOCAL, raise_server_exceptions=False) as client:
        yield client


def as_base64(picture: torch.Tensor) -> str:
    return base64.b64encode(images.encode_png(picture)).decode()


@pytest.fixture(scope="session")
def disc() -> torch.Tensor:
    """A bright disc 3×32×32."""
    rows, columns = torch.arange(32)[:, None], torch.arange(32)
    inside = ((rows - 16) ** 2 + (columns - 14) ** 2 < 80).float()
    return torch.stack([inside, 0.5 * inside, 0.2 + 0.3 * inside])


@pytest.fixture(scope="session")
def sent(disc: torch.Tensor) -> str:
    """The disc as clients send it."""
    return as_base64(disc)


@dataclass(frozen=True)
class Live:
    """A server at a port."""

    port: int
    service: Service

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def listening(studio: Studio, limits: Limits = LIMITS, token: str | None = None) -> Iterator[Live]:
    """A real server, in a thread."""
    service = Service(studio, limits)
    config = uvicorn.Config(build_app(service, token), log_level="error", access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started)
        try:
            yield Live(listener.getsockname()[1], service)
        finally:
            server.should_exit = True
            thread.join(10)


def wait_for(so: Callable[[], Any], seconds: float = 60) -> None:
    """Until it is so."""
    until = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.01)
