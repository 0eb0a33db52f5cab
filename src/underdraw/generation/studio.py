"""A base and the ControlNets beside it, opened once; drawings go in, pictures come out."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from underdraw.errors import CheckpointError, ConfigError, InputError
from underdraw.formats import open_base
from underdraw.formats.places import EMBEDDED, locate_base, locate_vae
from underdraw.generation import plan as plans
from underdraw.generation.company import Batch, Voice, assemble, laid_back, voices
from underdraw.generation.controls import ControlRequest, make_map, read_source
from underdraw.generation.cutout import Cutout
from underdraw.generation.devices import DTYPES, pick_device
from underdraw.generation.embeddings import Embeddings
from underdraw.generation.loras import LoraRequest, Loras
from underdraw.generation.memory import decoded_within, within_memory
from underdraw.generation.nets import Nets
from underdraw.generation.parking import check_parking, park, park_base
from underdraw.generation.passes import passes
from underdraw.generation.presets import layer_curve
from underdraw.generation.provenance import fingerprint, pack, pack_map, write_drawing
from underdraw.generation.recipe import Drawing, Guide
from underdraw.generation.sampler import Frame
from underdraw.generation.sources import PictureRequest, Source, as_mask, each, fitted, name_of
from underdraw.generation.styles import styled
from underdraw.generation.wish import Wish
from underdraw.generation.worn import OtherVae
from underdraw.model import Backbone, Control, ControlNet

__all__ = ["EMBEDDED", "Drawn", "Studio", "base_folder"]


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
    """What drawings need: the base, where it lies, its name and hash, its nets and LoRAs as they are asked for.

    place: the base's folder or file. folder: where nets beside it are looked for. vae: the autoencoder that took the
    place of its own. offloads: whether nets wait on the CPU.
    """

    def __init__(
        self, backbone: Backbone, place: Path, name: str, vae: OtherVae | None = None, offloads: bool = False
    ) -> None:
        self.backbone, self.place, self.name, self.vae = backbone, place, name, vae
        self.folder = place if place.is_dir() else place.parent
        self.hash = fingerprint(place)
        wait = partial(park, device=backbone.device) if offloads else _stay
        self.nets = Nets(backbone.unet, self.folder, name, wait)
        self.loras = Loras(backbone)
        self.embeddings = Embeddings(backbone)

    @classmethod
    def open(
        cls,
        base: str = EMBEDDED,
        device: str = "auto",
        dtype: str = "float32",
        vae: str | None = None,
        offload: bool = False,
    ) -> Self:
        """A base by its name: "embedded", sd15, sd21 or sdxl, a hub id, a name on the shelf, a folder, or a file.

        vae: another autoencoder, by the same kinds of names. offload: text encoders, autoencoder and nets wait in the
        computer's own memory while the GPU does not need them. Raises CheckpointError for weights that are missing or
        broken, ConfigError for an unknown name, device or dtype.
        """
        if dtype not in DTYPES:
            raise ConfigError(f"unknown dtype {dtype!r}; there is {', '.join(DTYPES)}")
        place, where = locate_base(base), pick_device(device)
        if base == EMBEDDED and not (place / "model_index.json").exists():
            raise CheckpointError("the embedded base is not in this installation; give another one: --base NAME")
        if offload:
            check_parking(where)
        other = None if vae is None else locate_vae(vae)
        backbone = open_base(place, "cpu" if offload else where, DTYPES[dtype], other)
        if offload:
            park_base(backbone, where)
        told = None if vae is None or other is None else OtherVae(name=vae, hash=fingerprint(other))
        return cls(backbone, place, _name_of(base, place), told, offload)

    def net(self, kind: str, name: str = "") -> ControlNet:
        """The ControlNet for maps of a kind, or the one of that name.

        Raises ConfigError naming those that exist, or for another kind of net; CheckpointError for broken weights.
        """
        net = self.nets.open(kind, name).speaker
        if not isinstance(net, ControlNet):
            raise ConfigError(f"{name} is a T2I-Adapter, not a ControlNet; ask for it in a control: net={name}")
        return net

    def net_hash(self, kind: str, name: str = "") -> str:
        """The fingerprint of the net for maps of a kind, or of the one of that name. Raises as `net`."""
        return self.nets.hash(kind, name)

    def told(self, request: ControlRequest) -> dict[str, Any]:
        """What a recipe says of how a control is heard; where the request says nothing, its net has the word."""
        side = self.nets.open(request.kind, request.net).about.side
        return request.told | ({"side": side} if request.plain else {})

    def guide(
        self, request: ControlRequest, size: tuple[int, int], source: Any = None, part: Cutout | None = None
    ) -> Guide:
        """The control asked for, with its map made for a drawing of `size`; `source` spares reading the file again.

        part: which part of a picture is drawn, None is all of it.
        """
        part = None if request.is_cut else part
        condition = make_map(request, read_source(request) if source is None else source, size, part)
        assert request.mask is None or isinstance(request.mask, Source), "a request for several is made item by item"
        mask = None if request.mask is None else fitted(as_mask(request.mask), size, part=part)
        return Guide(
            kind=request.kind,
            source=name_of(request.picture),
            is_map=request.is_map,
            net=self.nets.name(request.kind, request.net),
            net_hash=self.net_hash(request.kind, request.net),
            map=pack_map(condition),
            mask="" if mask is None else pack(mask),
            **self.told(request),
        )

    def controls(
        self, guides: Sequence[Sequence[Guide]], size: tuple[int, int], name: str = "the recipe"
    ) -> list[Control]:
        """The guides of each drawing of a batch as controls of this base; `name` says where their maps came from."""
        return [self._control(voice) for voice in voices(guides, size, name)]

    def _control(self, voice: Voice) -> Control:
        like = voice.like
        net = self.nets.open(like.kind, like.net)
        return net.control(
            voice.condition.to(self.backbone.device, self.backbone.dtype),
            weight=voice.weight,
            span=(like.start, like.end),
            mask=voice.mask,
            side=like.side,
            curve=layer_curve(like.curve, net.speaker.sites),
            times=like.times,
            scale=like.scale,
        )

    def frames(self, drawings: Sequence[Drawing]) -> Iterator[Frame]:
        """Draw a batch of recipes that are drawn in one way: one frame a step, pass after pass."""
        frames = islice(passes(self, drawings), drawings[0].stopped or None)
        return self.loras.during(frames, drawings[0].loras)

    def finish(self, drawings: Sequence[Drawing], latents: Tensor) -> list[Tensor]:
        """The pictures 3×H×W in [0, 1] of a batch's latents; what a mask does not hold is as it was."""
        tiling = drawings[0].tiling
        pictures = decoded_within(self.backbone, latents, None if tiling is None else tiling.tiles)
        return laid_back(pictures, [each.given for each in drawings])

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
        only_masked: int | None = None,
        masked_content: str = "original",
        size: tuple[int, int] | None = None,
        preset: str | None = None,
        styles: str | Sequence[str] = (),
        loras: Sequence[LoraRequest | str] = (),
        tell: Callable[[Frame], None] = lambda frame: None,
        **settings: Any,
    ) -> list[Drawn]:
        """Draw pictures, one a seed, in as few batches as the memory holds.

        Prompts, negative prompts, images, masks and what a control hears may be lists, with one for each picture.
        image: a picture to start from; strength: how far from it; mask: where it is drawn anew; outpaint: pixels beyond
        its (left, top, right, bottom) edge; only_masked: what the mask holds and so many pixels beside it are drawn at
        the full size, and put back; masked_content: what stands in the mask before, as in `Task`. preset: as in `Wish`;
        styles: names of words behind the prompts; loras: "NAME:WEIGHT" or requests; settings: further fields of
        `Drawing` (steps, guidance, clip_skip, hires, tiling, variation, …). Interrupted, it returns what there is.
        Raises InputError or ConfigError for what makes no sense, UnderdrawError where numbers overflow.
        """
        said = (prompt,) if isinstance(prompt, str) else prompt
        prompts = tuple(styled(words, styles=styles)[0] for words in said)
        chosen = plans.seeds_for(seeds, len(prompts))
        if image is None and (mask is not None or strength is not None or any(outpaint) or only_masked is not None):
            raise InputError("strength, mask and outpaint say what is done with an image, and there is none; give one")
        how: dict[str, Any] = {"padding": only_masked, "content": masked_content}
        picture = None if image is None else PictureRequest(image, strength, mask, outpaint, **how)
        asked = tuple(LoraRequest.parse(each) if isinstance(each, str) else each for each in loras)
        wish = Wish(
            prompts, tuple(controls), size, picture=picture, preset=preset, settings=settings, loras=asked or None
        )
        drawings = plans.plan_each(self, wish, chosen)
        negatives = each(negative, len(drawings), "negative prompts")
        styled_negatives = (styled("", words, styles)[1] for words in negatives)
        recipes = (one.model_copy(update={"negative": no}) for one, no in zip(drawings, styled_negatives, strict=True))
        return list(self.draw_all(assemble(map(self.embeddings.worded, recipes)), tell))


def base_folder(base: str) -> Path:
    """Where a base lies, if it is a folder that is here."""
    return locate_base(base) if base == EMBEDDED else Path(base)


def _name_of(base: str, place: Path) -> str:
    """What recipes call a base: by its path the name of its folder or file, else as a person said it."""
    if base == EMBEDDED or not Path(base).expanduser().exists():
        return base
    return place.resolve().name if place.is_dir() else place.stem


def _stay(module: nn.Module) -> None:
    """Where nothing waits."""
