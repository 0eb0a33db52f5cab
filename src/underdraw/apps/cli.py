"""The command `underdraw`. Commands import what they need when they run, so that `--help` is quick."""

import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

import underdraw
from underdraw.allocator import keep_pages
from underdraw.apps import (
    ablating,
    datasets,
    files,
    learning,
    maps,
    measuring,
    ordering,
    pictures,
    planning,
    serving,
    tour,
    worlds,
)
from underdraw.apps.terminal import hush, say
from underdraw.errors import UnderdrawError

__all__ = ["app", "main"]

MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Draw the structure of a picture and let a diffusion model paint it.",
)
for family in (
    pictures,
    ordering,
    serving,
    maps,
    worlds,
    datasets,
    planning,
    learning,
    ablating,
    measuring,
    files,
    tour,
):
    for command in family.COMMANDS:
        app.command()(command)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"underdraw {underdraw.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Draw the structure of a picture and let a diffusion model paint it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's). 0: done; 2: a mistake, told in one line; 130: interrupted."""
    hush()
    keep_pages()
    try:
        code = app(list(sys.argv[1:] if arguments is None else arguments), prog_name="underdraw", standalone_mode=False)
    except UnderdrawError as error:
        return _refuse(str(error))
    except TyperException as error:
        return _refuse(error.format_message())
    except OSError as error:
        if error.filename is None and sys.stdout is sys.__stdout__:
            # Standard output is full or closed; Python would try again, and fail loudly, when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _refuse(f"{error.filename or 'cannot write to standard output'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not MEMORY.search(str(error)):
            raise
        return _refuse("there is not enough memory; draw fewer or smaller pictures, or use --dtype bfloat16")
    if code == 130:
        say("interrupted; what was written is whole")
    return code if isinstance(code, int) else 0


def _refuse(message: str) -> int:
    """One line on stderr, whatever the message."""
    say(" ".join(message.split()))
    return 2


if __name__ == "__main__":
    sys.exit(main())
