"""`underdraw generate` and `underdraw verify`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Exit

from underdraw.apps.approximation import tell_error
from underdraw.apps.asking import (
    AsJson,
    Backend,
    Base,
    Blur,
    Cfg,
    ClipSkip,
    Control,
    Count,
    Device,
    Dtype,
    Embedding,
    Grid,
    HiresSteps,
    HiresStrength,
    Image,
    ImageCfg,
    Inpaint,
    Interval,
    Lora,
    MaskedContent,
    Measure,
    Negative,
    Offload,
    OnlyMasked,
    Outpaint,
    Output,
    Preset,
    Preview,
    Prompts,
    Rescale,
    Reuse,
    Scheduler,
    Seed,
    Size,
    Source,
    Steps,
    Strength,
    Style,
    Subseed,
    Tile,
    Upscale,
    Upscaler,
    Vae,
    axes_asked,
    picture_asked,
    picture_path,
    reuse_asked,
    settings_asked,
    tiling_asked,
)
from underdraw.apps.drawing import draw, draw_on_grid, opened
from underdraw.apps.terminal import bar, result, say
from underdraw.apps.values import free_name, lines_of, parse_size
from underdraw.errors import ConfigError

__all__ = ["COMMANDS", "generate", "verify"]


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
    style: Style = None,
    clip_skip: ClipSkip = None,
    embedding: Embedding = None,
    prompts: Prompts = None,
    source: Source = None,
    image: Image = None,
    strength: Strength = None,
    inpaint: Inpaint = None,
    outpaint: Outpaint = None,
    padding: OnlyMasked = None,
    content: MaskedContent = "original",
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
    reuse: Reuse = None,
    backend: Backend = None,
    measure: Measure = False,
    grid: Grid = None,
    preview: Preview = None,
    lora: Lora = None,
    base: Base = None,
    vae: Vae = None,
    device: Device = None,
    dtype: Dtype = None,
    offload: Offload = False,
    as_json: AsJson = False,
) -> None:
    """Draw pictures from a prompt, under any number of controls. The files carry their whole recipe."""
    from underdraw.generation import ControlRequest, LoraRequest, Wish, in_style, plan, read_drawing, redrawn
    from underdraw.generation.sizes import native_size

    if prompt is not None and prompts is not None:
        raise ConfigError("a prompt and --prompts were given; choose one of them")
    plain: dict[str, Any] = {"seed": seed, "steps": steps, "guidance": guidance, "scheduler": scheduler}
    plain |= {"negative": negative, "reuse": reuse_asked(reuse) if reuse else None, "backend": backend}
    second = {"scale": hires, "strength": hires_strength, "steps": hires_steps, "how": hires_upscaler}
    wish = Wish(
        prompts=lines_of(prompts) if prompts else (prompt,) if prompt is not None else None,
        controls=tuple(ControlRequest.parse(text) for text in control) if control else None,
        size=parse_size(size) if size else None,
        count=count,
        picture=picture_asked(image, strength, inpaint, outpaint, mask_blur, image_guidance, padding, content),
        preset=preset,
        settings=settings_asked(plain | {"rescale": rescale, "clip_skip": clip_skip}, second, variation, interval),
        loras=tuple(LoraRequest.parse(text) for text in lora) if lora else None,
    )
    axes = axes_asked(grid or (), source is not None, measure)
    target = free_name(Path("out.png")) if output is None else picture_path(output)
    old = None if source is None else read_drawing(source)
    wish = in_style(wish, style, old) if style else wish
    studio = opened(old, source, base, device, dtype, vae, offload, embedding or ())
    if tile is not None:
        wish = replace(wish, settings=wish.settings | {"tiling": tiling_asked(tile, native_size(studio.backbone))})
    if axes:
        draw_on_grid(studio, wish, axes, target, preview, as_json)
    else:
        batches = list(plan(studio, wish, say) if old is None else redrawn(studio, old, wish, str(source), say))
        draw(studio, batches, target, preview, as_json)
        if measure:
            tell_error(studio, batches, target, as_json, previews=preview is not None)


def verify(
    pictures: Annotated[list[Path], Argument(help="PNGs or WebPs that carry their recipe.")],
    base: Base = None,
    embedding: Embedding = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Draw pictures again from what they carry: do they show what their recipe says? Exit code 1: one does not."""
    from underdraw.generation import read_drawing
    from underdraw.generation import verify as check

    words = {"exact": "bit-exact", "close": "within tolerance", "altered": "altered"}
    good, studio, seen = True, None, None
    for path in pictures:
        drawing = read_drawing(path)
        if studio is None or seen != (drawing.base, drawing.dtype, drawing.vae):
            studio = opened(drawing, path, base, device, None, embeddings=embedding or ())
            seen = (drawing.base, drawing.dtype, drawing.vae)
        with bar("drawing", drawing.steps) as move:
            found = check(studio, path, lambda frame, move=move: move())  # type: ignore[misc]
        good = good and found.finding != "altered"
        told = f"largest difference {found.largest}/255, mean {found.mean:.3f}/255"
        facts = {"file": str(path), "finding": found.finding, "largest": found.largest, "mean": found.mean}
        result(f"{path}  {words[found.finding]}  {told}", facts, as_json)
    if not good:
        raise Exit(1)


COMMANDS = (generate, verify)
