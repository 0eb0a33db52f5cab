"""`underdraw generate`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from underdraw.apps.terminal import bar, result, say
from underdraw.apps.values import free_name, lines_of, parse_size, png_path
from underdraw.errors import ConfigError, InputError

if TYPE_CHECKING:
    from underdraw.generation import Batch, Drawing, Studio, Wish

__all__ = ["COMMANDS", "generate"]

Control = Annotated[
    list[str] | None,
    Option(metavar="KIND=PATH", help="KIND=PATH[,weight=..][,start=..][,end=..][,map]; may be given several times."),
]
Base = Annotated[str | None, Option(help="A folder in diffusers layout; default: the embedded base.")]
Device = Annotated[str | None, Option(help="auto, cpu, cuda, mps; default: auto.")]
Dtype = Annotated[str | None, Option(help="float32, bfloat16 or float16; default: float32.")]
Seed = Annotated[int | None, Option(help="Of the first picture; the next ones count up. Default: random.")]
Size = Annotated[str | None, Option(metavar="WxH", help="In pixels; sides become multiples of what the base needs.")]
Scheduler = Annotated[
    str | None, Option(help="ddim, dpm++ 2m, dpm++ 2m karras, euler, euler a or unipc; default: dpm++ 2m.")
]
AsJson = Annotated[bool, Option("--json", help="One JSON object a picture on stdout.")]
Output = Annotated[
    Path | None, Option("--output", "-o", help="A PNG; several pictures become NAME-0001.png and so on.")
]


def generate(
    prompt: Annotated[str | None, Argument(help="What to draw, in English or Chinese.")] = None,
    control: Control = None,
    output: Output = None,
    seed: Seed = None,
    steps: Annotated[int | None, Option(help="Default: 20.")] = None,
    size: Size = None,
    count: Annotated[int, Option(help="Pictures of each prompt.")] = 1,
    guidance: Annotated[float | None, Option(help="How strongly the prompt pulls; 1 is not at all.")] = None,
    scheduler: Scheduler = None,
    negative: Annotated[str | None, Option(help="What to keep away from.")] = None,
    prompts: Annotated[Path | None, Option(metavar="FILE", help="One prompt a line, instead of PROMPT.")] = None,
    source: Annotated[
        Path | None, Option("--from", metavar="PNG", help="Draw this picture again; what else is given changes it.")
    ] = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Draw pictures from a prompt, under any number of controls. The PNGs carry their whole recipe."""
    from underdraw.generation import ControlRequest, Wish

    if prompt is not None and prompts is not None:
        raise ConfigError("a prompt and --prompts were given; choose one of them")
    said = {"seed": seed, "steps": steps, "guidance": guidance, "scheduler": scheduler, "negative": negative}
    wish = Wish(
        prompts=lines_of(prompts) if prompts else (prompt,) if prompt is not None else None,
        controls=tuple(ControlRequest.parse(text) for text in control) if control else None,
        size=parse_size(size) if size else None,
        count=count,
        settings={name: value for name, value in said.items() if value is not None},
    )
    target = free_name(Path("out.png")) if output is None else png_path(output)
    studio, batches = _prepare(wish, source, base, device, dtype)
    _draw(studio, batches, target, as_json)


def _prepare(
    wish: "Wish", source: Path | None, base: str | None, device: str | None, dtype: str | None
) -> "tuple[Studio, list[Batch]]":
    """The base, opened, and what is to be drawn."""
    from underdraw.generation import EMBEDDED, Studio, plan, read_drawing, redrawn, stranger

    if source is None:
        studio = Studio.open(base or EMBEDDED, device or "auto", dtype or "float32")
        return studio, list(plan(studio, wish, say))
    old = read_drawing(source)
    studio = Studio.open(base or _base_of(old, source), device or _device_of(old), dtype or old.dtype)
    if (other := stranger(studio, old)) is not None:
        told = f"{source} was drawn with {other}"
        if base is None:
            raise InputError(f"{told}; give --base {studio.name} to draw it with the one here")
        say(f"{told}; the picture will differ")
    return studio, list(redrawn(studio, old, wish, str(source), say))


def _base_of(old: "Drawing", source: Path) -> str:
    from underdraw.generation import EMBEDDED

    if old.base != EMBEDDED:
        raise InputError(f"{source} was drawn with base {old.base!r}, hash {old.base_hash}; say where it is: --base")
    return EMBEDDED


def _device_of(old: "Drawing") -> str:
    """The device that a picture was drawn on, if it is here: another one rounds otherwise."""
    from underdraw.generation import pick_device

    try:
        pick_device(old.device)
    except ConfigError:
        say(f"the picture was drawn on {old.device}, which is not here; its last bits will differ")
        return "auto"
    return old.device


def _draw(studio: "Studio", batches: "Sequence[Batch]", target: Path, as_json: bool) -> None:
    from underdraw.generation import finish

    total, number = sum(len(batch.kept) for batch in batches), 0
    with bar("drawing", sum(batch.first.steps for batch in batches)) as move:
        for batch in batches:
            begun = time.monotonic()
            move(batch.first.prompt[:40], done=0)
            pictures = finish(studio.backbone, studio.frames(batch.first), lambda frame: move())
            seconds = (time.monotonic() - begun) / batch.first.batch
            for place, drawing in batch.drawings():
                number += 1
                _keep(pictures[place], drawing, numbered(target, number, total), seconds, as_json)


def _keep(picture: Any, drawing: "Drawing", path: Path, seconds: float, as_json: bool) -> None:
    from underdraw.generation import write_drawing

    write_drawing(picture, drawing, path)
    facts = drawing.model_dump(exclude={"controls"}) | {"file": str(path), "seconds": round(seconds, 3)}
    facts["controls"] = [guide.model_dump(exclude={"map"}) for guide in drawing.controls]
    result(f"{path}  seed {drawing.seed}  {drawing.width}×{drawing.height}  {seconds:.1f} s", facts, as_json)


def numbered(path: Path, number: int, total: int) -> Path:
    """`out.png` for one picture, `out-0001.png` and so on for several."""
    return path if total == 1 else path.with_name(f"{path.stem}-{number:04d}{path.suffix}")


COMMANDS = (generate,)
