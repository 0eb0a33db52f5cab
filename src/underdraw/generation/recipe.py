"""A drawing's whole recipe: all that says how a picture was drawn, as one value that can be written and read."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

import underdraw
from underdraw.config import Config
from underdraw.generation.cutout import LONGEST, Box, Cutout, shaped
from underdraw.generation.engines import ENGINES
from underdraw.generation.presets import CURVES, PRESETS
from underdraw.generation.prompts import Grammar, Learned
from underdraw.generation.reuse import Reuse
from underdraw.generation.schedulers import SCHEDULERS, find_scheduler
from underdraw.generation.sizes import LARGEST
from underdraw.generation.tasks import Content
from underdraw.generation.tiles import Tiles
from underdraw.generation.worn import Brief, OtherVae, Worn

__all__ = ["LAST_SEED", "Drawing", "Given", "Guide", "Hires", "Tiling", "Variation"]

LAST_SEED = 2**63
"""Seeds are below it."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(gt=0, le=1)]
Side = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=LAST_SEED)]
Picture = str
"""A PNG in base64."""


class Guide(Brief):
    """One control of a drawing: its map itself, the name of the file that it came from, and how it is heard.

    curve: a name, or a factor for each place where the net speaks. side: "both", "conditional", or how loud it is on
    the unconditional half. mask: where it is heard. net: which one, as it was said; nothing for one beside the base.
    """

    later = frozenset({"curve", "side", "times", "scale", "mask", "net"})

    kind: str
    weight: float = 1.0
    start: Fraction = 0.0
    end: Fraction = 1.0
    source: str = ""
    is_map: bool = False
    net_hash: str = ""
    map: Picture
    curve: str | tuple[float, ...] = "flat"
    side: Literal["both", "conditional"] | float = "both"
    times: tuple[float, ...] = ()
    scale: float = 1.0
    mask: Picture = ""
    net: str = ""

    @field_validator("curve")
    @classmethod
    def _known(cls, curve: str | tuple[float, ...]) -> str | tuple[float, ...]:
        if isinstance(curve, str):
            _ = CURVES[curve]
        return curve

    @property
    def way(self) -> tuple[object, ...]:
        """How it is heard: what guides that are one control of a batch have in common."""
        return (self.kind, self.net_hash, self.start, self.end, self.curve, self.side, self.times, self.scale)

    @property
    def mode(self) -> str:
        """The preset that it is, or "custom"."""
        known = {(PRESETS[name].curve, PRESETS[name].side): name for name in PRESETS.names()}
        flat = not self.times and self.scale == 1 and isinstance(self.curve, str)
        return known.get((str(self.curve), self.side), "custom") if flat else "custom"


class Given(Brief):
    """A picture that a drawing starts from, and what is done with it.

    strength: how far it is taken into noise. mask: where it is drawn anew (white); the rest stays to the pixel, and
    `softness` pixels inside it lead over. guidance: how strongly a base that sees pictures (InstructPix2Pix) keeps it.
    box: the part of the picture that is drawn, and laid back into it; None is all. content: as in `Task`.
    """

    later = frozenset({"box", "content"})

    picture: Picture
    source: str = ""
    strength: Strength = 1.0
    mask: Picture = ""
    softness: int = Field(4, ge=0, le=256)
    guidance: float = Field(1.5, ge=0, le=100)
    box: Box | None = None
    content: Content = "original"

    @field_validator("box")
    @classmethod
    def _a_box(cls, box: Box | None) -> Box | None:
        if box is not None and not (box[0] < box[2] and box[1] < box[3] and max(map(abs, box)) <= LONGEST):
            raise ValueError(f"the box {box} is not left, top, right, bottom in pixels")
        return box

    def cutout(self, whole: tuple[int, int]) -> Cutout | None:
        """The part of its picture of size `whole` = (width, height) that is drawn."""
        return None if self.box is None else Cutout(whole, self.box)

    def reshaped(self, size: tuple[int, int]) -> Self:
        """The same for a drawing of other proportions: of a part its centre."""
        return self if self.box is None else self.model_copy(update={"box": shaped(self.box, size)})


class Variation(Config):
    """Another seed, and how far the noise is turned towards that one's."""

    seed: Seed
    strength: Fraction


class Hires(Config):
    """A second pass: first everything at 1/scale of the size, then enlarged and taken into noise again by `strength`.

    steps: of the second pass; 0 is as many as of the first. how: what is enlarged, the latents or the picture.
    """

    scale: float = Field(2.0, gt=1, le=8)
    strength: Strength = 0.5
    steps: int = Field(0, ge=0)
    how: Literal["picture", "latent"] = "picture"


class Tiling(Config):
    """The windows in which a large picture is drawn, in pixels, and the share of a side that neighbours have both."""

    width: Side
    height: Side
    overlap: float = Field(0.5, ge=0, le=0.9)

    @property
    def tiles(self) -> Tiles:
        """As the sampler takes them."""
        return Tiles(self.width, self.height, self.overlap)


class Drawing(Brief):
    """All that says how one picture was drawn.

    `seed` is this picture's. It was number `index` (from 0) of `batch` pictures drawn together with consecutive seeds:
    the last bits of a float depend on what else is in a batch, so the same bytes need the same company.
    interval, rescale, parallel: as in `Guidance`. stopped: after how many steps the drawing was broken off (0: not).
    grammar, clip_skip: as in `Reading`. embeddings: the learned words that the prompts name. reuse, backend: as in
    `denoise`.
    """

    later = frozenset(
        {
            *("given", "variation", "hires", "tiling", "interval", "rescale", "parallel", "stopped", "loras", "vae"),
            *("grammar", "clip_skip", "embeddings", "reuse", "backend"),
        }
    )

    prompt: str
    negative: str = ""
    seed: Seed = 0
    index: int = Field(0, ge=0)
    batch: int = Field(1, ge=1, le=64)
    width: Side
    height: Side
    steps: int = Field(20, ge=1)
    guidance: float = Field(4.0, ge=0, le=100)
    scheduler: str = "dpm++ 2m"
    dtype: str = "float32"
    device: str = "cpu"
    base: str
    base_hash: str
    controls: tuple[Guide, ...] = ()
    version: str = underdraw.__version__
    given: Given | None = None
    variation: Variation | None = None
    hires: Hires | None = None
    tiling: Tiling | None = None
    interval: tuple[Fraction, Fraction] = (0.0, 1.0)
    rescale: Fraction = 0.0
    parallel: float = Field(1.0, ge=-10, le=10)
    stopped: int = Field(0, ge=0)
    grammar: Grammar = "literal"
    clip_skip: int = Field(1, ge=1, le=64)
    embeddings: tuple[Learned, ...] = ()
    loras: tuple[Worn, ...] = ()
    vae: OtherVae | None = None
    reuse: Reuse = Reuse()
    backend: str = "torch"

    @field_validator("scheduler")
    @classmethod
    def _known(cls, name: str) -> str:
        return find_scheduler(name).name

    @field_validator("backend")
    @classmethod
    def _there(cls, name: str) -> str:
        _ = ENGINES[name]
        return name

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.index >= self.batch or self.index > self.seed:
            raise ValueError(f"picture {self.index} with seed {self.seed} cannot be one of {self.batch}")
        if self.interval[0] > self.interval[1]:
            raise ValueError(f"the interval {self.interval[0]:g}..{self.interval[1]:g} ends before it starts")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    @property
    def company(self) -> tuple["Drawing", ...]:
        """The recipes of all pictures of its batch."""
        first = self.seed - self.index
        return tuple(self.model_copy(update={"seed": first + place, "index": place}) for place in range(self.batch))

    @property
    def way(self) -> str:
        """What all pictures of one batch must have in common, in words that can be compared."""
        own = {"prompt", "negative", "seed", "index", "batch", "controls", "variation", "given"}
        told = self.model_dump(exclude=own)
        if self.given is not None:
            alike = {"strength", "softness", "guidance", "content"}
            told["given"] = self.given.model_dump(include=alike) | {"masked": bool(self.given.mask)}
        return repr(told)

    def parameters(self) -> str:
        """The recipe as A1111 writes it; the size is that of the first pass."""
        scale = 1.0 if self.hires is None else self.hires.scale
        told = {
            "Steps": self.steps,
            "Sampler": SCHEDULERS[self.scheduler].label,
            "CFG scale": f"{self.guidance:g}",
            "Seed": self.seed,
            "Size": f"{round(self.width / scale)}x{round(self.height / scale)}",
            "Model hash": self.base_hash[:10],
            "Model": self.base,
            **self._extras(),
            **{f"ControlNet {place}": _net(guide) for place, guide in enumerate(self.controls)},
            "Version": f"underdraw {self.version}",
        }
        negative = [f"Negative prompt: {self.negative}"] if self.negative else []
        prompt = " ".join([self.prompt, *(lora.tag for lora in self.loras)])
        return "\n".join([prompt, *negative, ", ".join(f"{name}: {value}" for name, value in told.items())])

    def _extras(self) -> dict[str, Any]:
        """What only some pictures have, in A1111's words."""
        told: dict[str, Any] = (
            {} if self.vae is None else {"VAE hash": self.vae.hash[:10], "VAE": Path(self.vae.name).name}
        )
        told |= {"CFG Rescale": f"{self.rescale:g}"} if self.rescale else {}
        if self.given is not None:
            told["Denoising strength"] = f"{self.given.strength:g}"
            told |= {"Mask blur": self.given.softness} if self.given.mask else {}
            told |= {"Inpaint area": "Only masked"} if self.given.box else {}
            told |= {"Masked content": self.given.content} if self.given.content != "original" else {}
        if self.variation is not None:
            told["Variation seed"] = self.variation.seed
            told["Variation seed strength"] = f"{self.variation.strength:g}"
        told |= {"Clip skip": self.clip_skip} if self.clip_skip != 1 else {}
        if self.embeddings:
            told["TI hashes"] = '"' + ", ".join(f"{each.name}: {each.hash[:12]}" for each in self.embeddings) + '"'
        if self.hires is not None:
            told |= {"Hires upscale": f"{self.hires.scale:g}", "Hires steps": self.hires.steps}
            told |= {"Hires upscaler": self.hires.how, "Denoising strength": f"{self.hires.strength:g}"}
        return told


def _net(guide: Guide) -> str:
    mode = "" if guide.mode == "balanced" else f", Control Mode: {guide.mode}"
    name = Path(guide.net).stem if guide.net else f"controlnet-{guide.kind}"
    return (
        f'"Module: {"none" if guide.is_map else guide.kind}, Model: {name} [{guide.net_hash[:8]}],'
        f" Weight: {guide.weight:g}, Guidance Start: {guide.start:g}, Guidance End: {guide.end:g}{mode}" + '"'
    )
