"""`underdraw generate` and `underdraw verify`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit

from underdraw.apps.asking import (
    AsJson,
    Base,
    Blur,
    Cfg,
    Control,
    Count,
    Device,
    Dtype,
    Grid,
    HiresSteps,
    HiresStrength,
    Image,
    ImageCfg,
    Inpaint,
    Interval,
    Negative,
    Outpaint,
    Output,
    Preset,
    Preview,
    Prompts,
    Rescale,
    Scheduler,
    Seed,
    Size,
    Source,
    Steps,
    Strength,
    Subseed,
    Tile,
    Upscale,
    Upscaler,
    picture_asked,
    picture_path,
    settings_asked,
    tiling_asked,
)
from underdraw.apps.terminal import Bar, bar, result, say
from underdraw.apps.values import free_name, lines_of, parse_size
from underdraw.errors import ConfigError, InputError

if TYPE_CHECKING:
    from underdraw.generation import Axis, Batch, Drawing, Drawn, Frame, Studio, Wish

__all__ = ["COMMANDS", "generate", "verify"]

PREVIEW_STEPS = 4
"""Between two previews; decoding takes as long as a step or more."""


def generate(
    prompt: Annotated[str | None, Argument(help="What to draw, in English or Chinese.")] = None,
    control: Control = None,
    output: Output = None,
    seed: Seed = None,
    steps: Steps = None,
    size: Size = None,
    count: Count = 1,
    guidance: Cfg = None,
    scheduler: Scheduler = None,
    preset: Preset = None,
    negative: Negative = None,
    prompts: Prompts = None,
    source: Source = None,
    image: Image = None,
    strength: Strength = None,
    inpaint: Inpaint = None,
    outpaint: Outpaint = None,
    mask_blur: Blur = 4,
    image_guidance: ImageCfg = 1.5,
    hires: Upscale = None,
    hires_strength: HiresStrength = 0.5,
    hires_steps: HiresSteps = 0,
    hires_upscaler: Upscaler = "picture",
    tile: Tile = None,
    variation: Subseed = None,
    interval: Interval = None,
    rescale: Rescale = None,
    grid: Grid = None,
    preview: Preview = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Draw pictures from a prompt, under any number of controls. The files carry their whole recipe."""
    from underdraw.generation import Axis, ControlRequest, Wish, native_size, plan, read_drawing, redrawn

    if prompt is not None and prompts is not None:
        raise ConfigError("a prompt and --prompts were given; choose one of them")
    plain = {"seed": seed, "steps": steps, "guidance": guidance, "scheduler": scheduler, "negative": negative}
    second = {"scale": hires, "strength": hires_strength, "steps": hires_steps, "how": hires_upscaler}
    wish = Wish(
        prompts=lines_of(prompts) if prompts else (prompt,) if prompt is not None else None,
        controls=tuple(ControlRequest.parse(text) for text in control) if control else None,
        size=parse_size(size) if size else None,
        count=count,
        picture=picture_asked(image, strength, inpaint, outpaint, mask_blur, image_guidance),
        preset=preset,
        settings=settings_asked(plain | {"rescale": rescale}, second, variation, interval),
    )
    if grid and source is not None:
        raise ConfigError("--grid draws from what is said, not --from a picture; leave one of them out")
    axes = [Axis.parse(text) for text in grid or ()]
    target = free_name(Path("out.png")) if output is None else picture_path(output)
    old = None if source is None else read_drawing(source)
    studio = _opened(old, source, base, device, dtype)
    if tile is not None:
        wish = replace(wish, settings=wish.settings | {"tiling": tiling_asked(tile, native_size(studio.backbone))})
    if axes:
        _draw_grid(studio, wish, axes, target, preview, as_json)
    else:
        batches = plan(studio, wish, say) if old is None else redrawn(studio, old, wish, str(source), say)
        _draw(studio, list(batches), target, preview, as_json)


def _opened(
    old: "Drawing | None", source: Path | None, base: str | None, device: str | None, dtype: str | None
) -> "Studio":
    """The base, opened: the one that is said, or that of an old recipe, whose weights must be the same."""
    from underdraw.generation import EMBEDDED, Studio, stranger

    if old is None:
        return Studio.open(base or EMBEDDED, device or "auto", dtype or "float32")
    studio = Studio.open(base or _base_of(old, source), device or _device_of(old), dtype or old.dtype)
    if (other := stranger(studio, old)) is not None:
        told = f"{source} was drawn with {other}"
        if base is None:
            raise InputError(f"{told}; give --base {studio.name} to draw it with the one here")
        say(f"{told}; the picture will differ")
    return studio


def _base_of(old: "Drawing", source: Path | None) -> str:
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


def _draw(studio: "Studio", batches: "Sequence[Batch]", target: Path, preview: Path | None, as_json: bool) -> None:
    total, number = sum(len(batch.kept) for batch in batches), 0
    with bar("drawing", sum(batch.steps for batch in batches)) as move:

        def begin(batch: "Batch") -> None:
            move(batch.drawings[0].prompt[:40], done=0)

        for drawn in studio.draw_all(batches, _watcher(studio, move, preview), say, begin):
            number += 1
            _keep(drawn, numbered(target, number, total), as_json)
    _tell_interruption(drawn, target)


def _draw_grid(
    studio: "Studio", wish: "Wish", axes: "Sequence[Axis]", target: Path, preview: Path | None, as_json: bool
) -> None:
    from underdraw import images
    from underdraw.generation import draw_grid

    with bar("drawing", None) as move:
        sheet, pictures = draw_grid(studio, wish, axes, _watcher(studio, move, preview), say)
    for number, drawn in enumerate(pictures, 1):
        _keep(drawn, numbered(target, number, 0), as_json)
    images.write(sheet, target.with_suffix(".png"))
    facts = {"file": str(target.with_suffix(".png")), "pictures": len(pictures)}
    result(f"{facts['file']}  {len(pictures)} pictures: {' × '.join(axis.name for axis in axes)}", facts, as_json)
    _tell_interruption(pictures[-1], target)


def _watcher(studio: "Studio", move: Bar, preview: Path | None) -> "Callable[[Frame], None]":
    """Moves the bar, and now and then writes what can be seen so far."""
    import torch

    from underdraw import images
    from underdraw.generation import Tiles, decode_frame, native_size

    tiles = Tiles(*native_size(studio.backbone), overlap=0.25)  # no larger than what the drawing itself holds at once

    def watch(frame: "Frame") -> None:
        move()
        if preview is not None and frame.step % PREVIEW_STEPS == 0:
            images.write(torch.cat(list(decode_frame(studio.backbone, frame.clean, tiles)), dim=-1), preview)

    return watch


def _tell_interruption(last: "Drawn", target: Path) -> None:
    if last.interrupted:
        say(f"stopped after {last.drawing.stopped} steps; what there is of it is written")
        raise Exit(130)


def _keep(drawn: "Drawn", path: Path, as_json: bool) -> None:
    drawn.save(path)
    drawing, seconds = drawn.drawing, drawn.seconds
    facts = drawing.model_dump(exclude={"controls", "given"}) | {"file": str(path), "seconds": round(seconds, 3)}
    facts["controls"] = [guide.model_dump(exclude={"map", "mask"}) for guide in drawing.controls]
    if drawing.given is not None:
        facts["given"] = drawing.given.model_dump(exclude={"picture", "mask"})
    result(f"{path}  seed {drawing.seed}  {drawing.width}×{drawing.height}  {seconds:.1f} s", facts, as_json)


def numbered(path: Path, number: int, total: int) -> Path:
    """`out.png` for one picture, `out-0001.png` and so on for several."""
    return path if total == 1 else path.with_name(f"{path.stem}-{number:04d}{path.suffix}")


def verify(
    pictures: Annotated[list[Path], Argument(help="PNGs or WebPs that carry their recipe.")],
    base: Base = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Draw pictures again from what they carry: do they show what their recipe says? Exit code 1: one does not."""
    from underdraw.generation import read_drawing
    from underdraw.generation import verify as check

    words = {"exact": "bit-exact", "close": "within tolerance", "altered": "altered"}
    good, studio, opened = True, None, ("", "")
    for path in pictures:
        drawing = read_drawing(path)
        if studio is None or opened != (drawing.base, drawing.dtype):
            studio, opened = _opened(drawing, path, base, device, None), (drawing.base, drawing.dtype)
        with bar("drawing", drawing.steps) as move:
            found = check(studio, path, lambda frame, move=move: move())  # type: ignore[misc]
        good = good and found.finding != "altered"
        told = f"largest difference {found.largest}/255, mean {found.mean:.3f}/255"
        facts = {"file": str(path), "finding": found.finding, "largest": found.largest, "mean": found.mean}
        result(f"{path}  {words[found.finding]}  {told}", facts, as_json)
    if not good:
        raise Exit(1)


COMMANDS = (generate, verify)
