"""`underdraw run`: a drawing that a file asks for."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from underdraw.apps.asking import AsJson, Device, Offload, Output, Preview, picture_path
from underdraw.apps.drawing import draw
from underdraw.apps.terminal import say
from underdraw.apps.values import free_name

__all__ = ["COMMANDS", "run"]


def run(
    file: Annotated[Path, Argument(help="A TOML file, for example examples/sd15/canny.toml.")],
    overrides: Annotated[
        list[str] | None,
        Argument(metavar="KEY=VALUE", help="Laid over it: prompt='…' seed=3 control.canny.weight=1."),
    ] = None,
    output: Output = None,
    preview: Preview = None,
    device: Device = None,
    offload: Offload = False,
    as_json: AsJson = False,
) -> None:
    """Draw what a file asks for. It names a base, nets and LoRAs, and the pictures that steer."""
    from underdraw.generation import Studio, plan, read_order

    order = read_order(file, overrides or ())
    wish = order.wish(file.parent)
    order.locate()
    target = free_name(Path(f"{file.stem}.png")) if output is None else picture_path(output)
    studio = Studio.open(order.base, device or "auto", order.dtype, order.vae, offload)
    draw(studio, list(plan(studio, wish, say)), target, preview, as_json)


COMMANDS = (run,)
