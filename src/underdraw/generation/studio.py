"""A base and the ControlNets beside it, opened once; drawings go in, pictures come out."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from underdraw.annotators import as_hint
from underdraw.errors import CheckpointError, ConfigError, InputError
from underdraw.generation import plan as plans
from underdraw.generation.blend import blend
from underdraw.generation.company import Batch, assemble, given_tensors, voices
from underdraw.generation.controls import ControlRequest, control_folder, make_map, read_source
from underdraw.generation.memory import within_memory
from underdraw.generation.passes import passes
from underdraw.generation.presets import layer_curve
from underdraw.generation.provenance import fingerprint, pack, pack_map, write_drawing
from underdraw.generation.recipe import Drawing, Guide
from underdraw.generation.sampler import Frame, decode_frame
from underdraw.generation.sources import PictureRequest, Source, as_mask, each, name_of
from underdraw.generation.wish import Wish
from underdraw.model import Backbone, Control, ControlNet, load_control

__all__ = ["DTYPES", "EMBEDDED", "Drawn", "Studio", "base_folder", "pick_device"]

EMBEDDED = "embedded"
"""The name of the base that ships inside the package."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture 3×H×W in [0, 1] on the CPU and the recipe that draws it again.

    interrupted: whether somebody broke it off. seconds: its share of the time that its batch took.
    """

    picture: Tensor
    drawing: Drawing
    interrupted: bool = False
    seconds: float = 0.0

    def save(self, path: str | Path) -> None:
        """Write it as a PNG or lossless WebP that carries its recipe."""
        write_drawing(self.picture, self.drawing, Path(path))


class Studio:
    """What drawings need: the base, where it lies, its name and hash, and its ControlNets as they are asked for."""

    def __init__(self, backbone: Backbone, folder: Path, name: str) -> None:
        self.backbone, self.folder, self.name = backbone, folder, name
        self.hash = fingerprint(folder)
        self._nets: dict[str, ControlNet] = {}
        self._hashes: dict[str, str] = {}

    @classmethod
    def open(cls, base: str = EMBEDDED, device: str = "auto", dtype: str = "float32") -> Self:
        """The base called "embedded", or the one in a folder in diffusers layout.

        Raises CheckpointError for weights that are missing or broken, ConfigError for an unknown device or dtype.
        """
        if dtype not in DTYPES:
            raise ConfigError(f"unknown dtype {dtype!r}; there is {', '.join(DTYPES)}")
        folder = base_folder(base)
        if base == EMBEDDED and not (folder / "model_index.json").exists():
            raise CheckpointError("the embedded base is not in this installation; give another one: --base FOLDER")
        backbone = Backbone.load(folder, pick_device(device), DTYPES[dtype])
        return cls(backbone, folder, base if base == EMBEDDED else folder.resolve().name)

    def net(self, kind: str) -> ControlNet:
        """The ControlNet of a kind. Raises ConfigError naming those that exist, CheckpointError for broken weights."""
        if kind not in self._nets:
            self._nets[kind] = load_control(control_folder(self.folder, kind), self.backbone.unet)
        return self._nets[kind]

    def net_hash(self, kind: str) -> str:
        """The fingerprint of the ControlNet of a kind. Raises as `net`."""
        if kind not in self._hashes:
            self._hashes[kind] = fingerprint(control_folder(self.folder, kind))
        return self._hashes[kind]

    def guide(self, request: ControlRequest, size: tuple[int, int], source: Any = None) -> Guide:
        """The control asked for, with its map made for a drawing of `size`; `source` spares reading the file again."""
        condition = make_map(request, read_source(request) if source is None else source, size)
        assert request.mask is None or isinstance(request.mask, Source), "a request for several is made item by item"
        mask = None if request.mask is None else as_mask(request.mask, size)
        return Guide(
            kind=request.kind,
            source=name_of(request.picture),
            is_map=request.is_map,
            net_hash=self.net_hash(request.kind),
            map=pack_map(condition),
            mask="" if mask is None else pack(mask),
            **request.told,
        )

    def controls(
        self, guides: Sequence[Sequence[Guide]], size: tuple[int, int], name: str = "the recipe"
    ) -> list[Control]:
        """The guides of each drawing of a batch as controls of this base; `name` says where their maps came from."""
        return [
            Control(
                net := self.net(voice.like.kind),
                as_hint(voice.condition).to(self.backbone.device, self.backbone.dtype),
                weight=voice.weight,
                span=(voice.like.start, voice.like.end),
                mask=voice.mask,
                side=voice.like.side,
                curve=layer_curve(voice.like.curve, net.sites),
                times=voice.like.times,
                scale=voice.like.scale,
            )
            for voice in voices(guides, size, name)
        ]

    def frames(self, drawings: Sequence[Drawing]) -> Iterator[Frame]:
        """Draw a batch of recipes that are drawn in one way: one frame a step, pass after pass."""
        return islice(passes(self, drawings), drawings[0].stopped or None)

    def finish(self, drawings: Sequence[Drawing], latents: Tensor) -> Tensor:
        """The pictures B×3×H×W in [0, 1] of a batch's latents; what a mask does not hold is as it was."""
        tiling = drawings[0].tiling
        pictures = decode_frame(self.backbone, latents, None if tiling is None else tiling.tiles)
        before, mask = given_tensors([each.given for each in drawings], (pictures.shape[-1], pictures.shape[-2]))
        given = drawings[0].given
        if given is None or before is None or mask is None:
            return pictures
        count = len(pictures)
        return blend(pictures, before.expand(count, -1, -1, -1), mask.expand(count, -1, -1, -1), given.softness)

    def draw_batch(self, batch: Batch, tell: Callable[[Frame], None] = lambda frame: None) -> list[Drawn]:
        """What was asked for of a batch; interrupted, what there is after the last whole step.

        Raises KeyboardInterrupt where there is no step yet, and what `denoise` raises.
        """
        last, count, interrupted, begun = None, 0, False, time.monotonic()
        try:
            for last in self.frames(batch.drawings):
                count += 1
                tell(last)
        except KeyboardInterrupt:
            if last is None:
                raise
            interrupted = True
        assert last is not None, "a drawing has at least one step"
        stopped = count if interrupted else batch.drawings[0].stopped
        pictures = self.finish(batch.drawings, last.clean if stopped else last.latents)
        recipes = [drawing.model_copy(update={"stopped": stopped}) for drawing in batch.drawings]
        seconds = (time.monotonic() - begun) / len(recipes)
        return [Drawn(pictures[place], recipes[place], interrupted, seconds) for place in batch.kept]

    def draw_all(
        self,
        batches: Iterable[Batch],
        tell: Callable[[Frame], None] = lambda frame: None,
        say: Callable[[str], None] = lambda line: None,
        begin: Callable[[Batch], None] = lambda batch: None,
    ) -> Iterator[Drawn]:
        """The pictures of batches, one by one; fewer at once where the memory is short, which `say` hears of.

        `begin` hears of each batch, `tell` of each of its frames. Interrupted, it ends with what there is of the batch
        that is being drawn.
        """

        def one(batch: Batch) -> list[Drawn]:
            begin(batch)
            return self.draw_batch(batch, tell)

        for _, pictures in within_memory(batches, one, say):
            yield from pictures
            if pictures[-1].interrupted:
                return

    def draw(
        self,
        prompt: str | Sequence[str] = "",
        *,
        controls: Sequence[ControlRequest] = (),
        seeds: int | Iterable[int] | None = None,
        negative: str | Sequence[str] = "",
        image: Source | Sequence[Source] | None = None,
        strength: float | None = None,
        mask: Source | Sequence[Source] | None = None,
        outpaint: tuple[int, int, int, int] = (0, 0, 0, 0),
        size: tuple[int, int] | None = None,
        preset: str | None = None,
        tell: Callable[[Frame], None] = lambda frame: None,
        **settings: Any,
    ) -> list[Drawn]:
        """Draw pictures, one a seed, in as few batches as the memory holds.

        Prompts, negative prompts, images, masks and what a control hears may be lists, with one for each picture.
        image: a picture to start from; strength: how far from it; mask: where it is drawn anew; outpaint: pixels beyond
        its (left, top, right, bottom) edge. preset: as in `Wish`; settings: further fields of `Drawing` (steps,
        guidance, scheduler, hires, tiling, variation, …). Interrupted, it returns what there is.
        Raises InputError or ConfigError for what makes no sense, UnderdrawError where numbers overflow.
        """
        prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
        chosen = plans.seeds_for(seeds, len(prompts))
        if image is None and (mask is not None or strength is not None or any(outpaint)):
            raise InputError("strength, mask and outpaint say what is done with an image, and there is none; give one")
        picture = None if image is None else PictureRequest(image, strength, mask, outpaint)
        wish = Wish(prompts, tuple(controls), size, picture=picture, preset=preset, settings=settings)
        drawings = plans.plan_each(self, wish, chosen)
        negatives = each(negative, len(drawings), "negative prompts")
        recipes = (one.model_copy(update={"negative": no}) for one, no in zip(drawings, negatives, strict=True))
        return list(self.draw_all(assemble(recipes), tell))


def base_folder(base: str) -> Path:
    """Where a base lies."""
    return Path(__file__).parents[1] / EMBEDDED if base == EMBEDDED else Path(base)


def pick_device(device: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU. Raises ConfigError for one that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {device!r} is not there; use --device cpu, or auto") from error
    return torch.device(device)
