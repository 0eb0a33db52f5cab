"""`underdraw serve`: the page and the API."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

from typer import Option

from underdraw.apps.terminal import say
from underdraw.errors import ConfigError, MissingExtra

__all__ = ["COMMANDS", "serve"]

CONNECTIONS = 256
"""At once; more are told to come back."""


def serve(
    base: Annotated[str | None, Option(help="A folder in diffusers layout; default: the embedded base.")] = None,
    host: Annotated[
        str, Option(help="The address to listen at; 0.0.0.0 is every one that this machine has.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="0: one that is free.")] = 7860,
    token: Annotated[
        str | None, Option(envvar="UNDERDRAW_TOKEN", help="What clients must say; beyond this machine it is needed.")
    ] = None,
    open_to_all: Annotated[bool, Option("--open", help="Listen beyond this machine without a token.")] = False,
    output: Annotated[
        Path | None, Option("--output", "-o", metavar="FOLDER", help="Keep every picture here, too.")
    ] = None,
    rank: Annotated[
        Path | None, Option(metavar="FOLDER", help="Let people rank these: a folder a map, in it a picture a method.")
    ] = None,
    queue: Annotated[int, Option(min=1, help="Pictures that may wait; one client may have half.")] = 256,
    seconds: Annotated[float, Option(min=1, help="From a request to its last picture.")] = 600,
    device: Annotated[str, Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, Option(help="float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Draw from a browser, or from the tools that speak A1111's API; until Ctrl+C."""
    try:
        import uvicorn

        from underdraw.apps.server.app import build_app
        from underdraw.apps.server.guard import is_loopback
        from underdraw.apps.server.limits import Limits, on_the_shelf
        from underdraw.apps.server.ranking import Survey
        from underdraw.apps.server.service import Service
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "serve") from error
    from underdraw.apps.values import folder_path
    from underdraw.generation import EMBEDDED, Studio

    if token is not None and len(token) < 8:
        raise ConfigError("the token is too short to keep anybody out; give 8 characters or more")
    if not (is_loopback(host) or token or open_to_all):
        raise ConfigError(f"anybody could draw at {host}; give a --token, or say that this is meant: --open")
    survey = None if rank is None else Survey(rank)
    kept = None if output is None else folder_path(output)
    studio = Studio.open(base or EMBEDDED, device, dtype)
    service = Service(studio, Limits(queue=queue, seconds=seconds, loras=on_the_shelf()), kept, survey)
    config = uvicorn.Config(
        build_app(service, token),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client's address is the one that it has, not the one that it says
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    listening = config.bind_socket()
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
    say(f"drawing with {studio.name} on {studio.backbone.device.type} at {address}{'#token=' + token if token else ''}")
    with suppress(KeyboardInterrupt):  # how it is ended
        uvicorn.Server(config).run(sockets=[listening])


COMMANDS = (serve,)
