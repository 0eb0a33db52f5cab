"""The options of `underdraw generate`, and what they say as the values that a wish is made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from underdraw.apps.values import parse_size
from underdraw.errors import ConfigError, InputError

if TYPE_CHECKING:
    from underdraw.generation import Axis, PictureRequest

__all__ = [
    "AsJson",
    "Backend",
    "Base",
    "Blur",
    "Cfg",
    "ClipSkip",
    "Control",
    "Count",
    "Device",
    "Dtype",
    "Embedding",
    "Grid",
    "HiresSteps",
    "HiresStrength",
    "Image",
    "ImageCfg",
    "Inpaint",
    "Interval",
    "Lora",
    "MaskedContent",
    "Measure",
    "Negative",
    "Offload",
    "OnlyMasked",
    "Outpaint",
    "Output",
    "Preset",
    "Preview",
    "Prompts",
    "Rescale",
    "Reuse",
    "Scheduler",
    "Seed",
    "Size",
    "Source",
    "Steps",
    "Strength",
    "Style",
    "Subseed",
    "Tile",
    "Upscale",
    "Upscaler",
    "Vae",
    "axes_asked",
    "picture_asked",
    "picture_path",
    "reuse_asked",
    "settings_asked",
    "tiling_asked",
]

Control = Annotated[
    list[str] | None,
    Option(
        metavar="KIND=PATH",
        help="KIND=PATH[,weight=..][,start=..][,end=..][,preset=..][,curve=..][,side=..][,times=..][,scale=..]"
        "[,mask=FILE][,net=NAME][,map]; may be given several times.",
    ),
]
Base = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="sd15, sd21, sdxl, a hub id, a name on the shelf, a folder or one file; default: the embedded base.",
    ),
]
Vae = Annotated[str | None, Option(metavar="NAME", help="Another autoencoder, by the same kinds of names.")]
Lora = Annotated[
    list[str] | None,
    Option(
        metavar="NAME[:WEIGHT]",
        help="NAME[:WEIGHT[:TEXT_WEIGHT]][:lbw=..], several times; or <lora:NAME:WEIGHT> in the prompt.",
    ),
]
Offload = Annotated[
    bool, Option("--offload", help="On a GPU: text encoders, autoencoder and nets wait in the computer's own memory.")
]
Device = Annotated[str | None, Option(help="auto, cpu, cuda, mps; default: auto.")]
Dtype = Annotated[str | None, Option(help="float32, bfloat16 or float16; default: float32.")]
Seed = Annotated[int | None, Option(help="Of the first picture; the next ones count up. Default: random.")]
Size = Annotated[str | None, Option(metavar="WxH", help="In pixels; sides become multiples of what the base needs.")]
Steps = Annotated[int | None, Option(help="Default: 20.")]
Count = Annotated[int, Option(help="Pictures of each prompt.")]
Cfg = Annotated[
    float | None, Option("--guidance", "--cfg", help="How strongly the prompt pulls; 1 is not at all. Default: 4.")
]
Scheduler = Annotated[
    str | None,
    Option(
        "--scheduler",
        "--sampler",
        help="ddim, ddpm, euler, euler a, heun, lms, dpm2, dpm2 a, dpm++ 2m, dpm++ 2m sde, dpm++ 3m sde, dpm++ 2s,"
        " dpm++ sde, deis, unipc, lcm or tcd; most also with karras, exponential, beta or trailing behind."
        " Default: dpm++ 2m.",
    ),
]
Preset = Annotated[
    str | None,
    Option(
        help="Few steps: lcm, tcd, turbo, lightning, hyper. Approximate: quick, quicker. How controls are heard:"
        " balanced, my prompt is more important, controlnet is more important, guess mode, resolution weighting.",
    ),
]
Negative = Annotated[str | None, Option(help="What to keep away from.")]
Style = Annotated[
    list[str] | None,
    Option(metavar="NAME", help="Words behind the prompts: quality, usual negative, controlnet demo; several times."),
]
ClipSkip = Annotated[
    int | None, Option(help="As A1111 counts: 1 is the text encoder's usual layer, 2 the one before it. Default: 1.")
]
Embedding = Annotated[
    list[Path] | None,
    Option(metavar="FILE", help="A textual inversion; prompts name it by its file's name. Several times."),
]
Prompts = Annotated[Path | None, Option(metavar="FILE", help="One prompt a line, instead of PROMPT.")]
Source = Annotated[
    Path | None, Option("--from", metavar="PNG", help="Draw this picture again; what else is given changes it.")
]
Image = Annotated[Path | None, Option(metavar="PICTURE", help="Start from this picture.")]
Strength = Annotated[
    float | None, Option("--strength", "--denoising", help="How far from the picture: above 0, up to 1. Default: 0.75.")
]
Inpaint = Annotated[Path | None, Option(metavar="MASK", help="Draw anew where this picture is white; the rest stays.")]
Outpaint = Annotated[str | None, Option(metavar="L,T,R,B", help="Pixels to draw beyond the picture's edges.")]
OnlyMasked = Annotated[
    int | None,
    Option(
        "--only-masked",
        metavar="PADDING",
        help="Draw what the mask holds and so many pixels beside it at the full size, and put it back. Usual: 32.",
    ),
]
MaskedContent = Annotated[
    str, Option("--masked-content", help="What the mask holds at first: original, fill, latent noise, latent nothing.")
]
Blur = Annotated[int, Option("--mask-blur", help="Pixels inside the mask's border that lead over.")]
ImageCfg = Annotated[float, Option("--image-guidance", help="How strongly InstructPix2Pix keeps the picture.")]
Upscale = Annotated[float | None, Option("--hires", metavar="SCALE", help="A second pass, this many times as large.")]
HiresStrength = Annotated[float, Option(help="How far the second pass goes from the first.")]
HiresSteps = Annotated[int, Option(help="Steps of the second pass; 0: as many as of the first.")]
Upscaler = Annotated[str, Option("--hires-upscaler", help="picture or latent.")]
Tile = Annotated[str | None, Option(metavar="WxH|auto", help="Draw in windows of this size; auto: the base's own.")]
Subseed = Annotated[str | None, Option(metavar="SEED:STRENGTH", help="Turn the noise towards another seed's.")]
Interval = Annotated[str | None, Option(metavar="A:B", help="The share of the steps with guidance. Default: 0:1.")]
Rescale = Annotated[float | None, Option(help="Keep guidance from over-exposing: 0 to 1, usual 0.7.")]
Reuse = Annotated[
    str | None,
    Option(
        metavar="PART=NUMBER,…",
        help="Approximate, quicker: compute what controls say (control=2), or the base's first half (encoder=2), at"
        " every second step only; let this share of the places attend with others (merge=0.5); after=0.3 spares the"
        " first steps.",
    ),
]
Backend = Annotated[
    str | None,
    Option(
        help="torch; compile (torch's compiler); openvino (the extra of that name, CPU), or approximate and quicker"
        " openvino-int8. Default: torch."
    ),
]
Measure = Annotated[
    bool, Option("--measure", help="Draw again without what is approximate, and say how far the pictures are apart.")
]
Grid = Annotated[
    list[str] | None,
    Option(metavar="NAME=A,B,…", help="Every value of this (weight, prompt, seed, steps, …); the first runs across."),
]
Preview = Annotated[Path | None, Option(metavar="PNG", help="Keep writing here what can be seen so far.")]
AsJson = Annotated[bool, Option("--json", help="One JSON object a picture on stdout.")]
Output = Annotated[
    Path | None, Option("--output", "-o", help="A PNG or WebP; several pictures become NAME-0001.png and so on.")
]


def settings_asked(
    plain: Mapping[str, Any], second: Mapping[str, Any], variation: str | None, interval: str | None
) -> dict[str, Any]:
    """The settings of a drawing that were said: plain ones, a second pass, a variation, an interval of guidance."""
    said = {name: value for name, value in plain.items() if value is not None}
    if second["scale"] is not None:
        said["hires"] = dict(second)
    if variation is not None:
        seed, strength = _pair(variation, "--variation", "SEED:STRENGTH, for example 7:0.2")
        said["variation"] = {"seed": int(seed), "strength": strength}
    if interval is not None:
        said["interval"] = _pair(interval, "--interval", "A:B, for example 0.1:0.8")
    return said


def reuse_asked(text: str) -> dict[str, float]:
    """What is reused from step to step, by the fields of `Reuse`. Raises ConfigError."""
    try:
        return {name.strip(): float(value) for name, value in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise ConfigError(f"--reuse {text!r} is not PART=NUMBER, for example control=2,encoder=3") from error


def _pair(text: str, option: str, form: str) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise ConfigError(f"{option} {text!r} is not {form}") from error
    return first, second


def picture_asked(
    image: Path | None,
    strength: float | None,
    mask: Path | None,
    outpaint: str | None,
    softness: int,
    guidance: float,
    padding: int | None,
    content: str,
) -> "PictureRequest | None":
    """The picture to start from, if one was given. Raises InputError for a mask or a strength without one."""
    from underdraw.generation import PictureRequest

    said = {"--strength": strength, "--inpaint": mask, "--outpaint": outpaint, "--only-masked": padding}
    if image is None:
        for option, value in said.items():
            if value is not None:
                raise InputError(f"{option} says what is done with a picture, and there is none; give --image PICTURE")
        return None
    return PictureRequest(image, strength, mask, _edges(outpaint), softness, guidance, padding, content)


def _edges(text: str | None) -> tuple[int, int, int, int]:
    """Pixels beyond the left, top, right and bottom edge; one number is all four."""
    if text is None:
        return 0, 0, 0, 0
    try:
        edges = [int(part) for part in text.split(",")]
        left, top, right, bottom = edges * 4 if len(edges) == 1 else edges
    except ValueError as error:
        raise ConfigError(f"--outpaint {text!r} is not L,T,R,B in pixels, for example 0,0,64,0") from error
    return left, top, right, bottom


def axes_asked(grid: Sequence[str], again: bool, measure: bool) -> "list[Axis]":
    """What a grid varies. Raises ConfigError for a grid of a picture that is drawn again, or that is to be measured."""
    from underdraw.generation import Axis

    if grid and again:
        raise ConfigError("--grid draws from what is said, not --from a picture; leave one of them out")
    if grid and measure:
        raise ConfigError("--measure compares single pictures, and --grid draws many; leave one of them out")
    return [Axis.parse(text) for text in grid]


def tiling_asked(text: str, native: tuple[int, int]) -> dict[str, int]:
    """The windows to draw in: `WxH`, or those of the size that the base was trained at. Raises ConfigError."""
    width, height = native if text.strip().lower() == "auto" else parse_size(text)
    return {"width": width, "height": height}


def picture_path(path: Path) -> Path:
    """The path, if a picture that carries its recipe can stand there. Raises InputError."""
    from underdraw.generation.provenance import SUFFIXES

    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"output {path} must end with {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise InputError(f"output {path} is a folder; give the name of a file")
    return path
