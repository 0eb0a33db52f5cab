"""From what a person asks for to recipes, and to batches of them."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from underdraw.config import parse
from underdraw.errors import ConfigError, InputError
from underdraw.generation.company import Batch, assemble, ground
from underdraw.generation.controls import ControlRequest, extent, read_source
from underdraw.generation.loras import taken_out
from underdraw.generation.provenance import pack, unpack_map
from underdraw.generation.recipe import LAST_SEED, Drawing, Given, Guide
from underdraw.generation.sizes import enlarged, fitting_size, native_size, reduced, rounded
from underdraw.generation.sources import PictureRequest, each, fitted, name_of
from underdraw.generation.tasks import sees_pictures
from underdraw.generation.wish import Wish
from underdraw.generation.worn import OtherVae

if TYPE_CHECKING:
    from underdraw.generation.studio import Studio

__all__ = ["plan", "plan_each", "redrawn", "seeds_for", "stranger"]

LARGE = 2.25
"""A picture of more than this many times the pixels that a base was trained at is drawn smaller, unless asked for."""
KEPT = (
    *("negative", "seed", "steps", "guidance", "scheduler"),
    *("given", "variation", "hires", "tiling", "interval", "rescale", "parallel", "clip_skip", "loras"),
    *("reuse", "backend"),
)
"""What of an old recipe stays where nothing else is said."""
Tell = Callable[[str], None]
Size = tuple[int, int]


def _to_nobody(line: str) -> None:
    """Where nobody listens."""


def plan(studio: "Studio", wish: Wish, tell: Tell = _to_nobody) -> Iterator[Batch]:
    """The batches that a wish comes to, those of each prompt by themselves; `tell` hears of a size that was rounded.

    Raises InputError or ConfigError for what makes no sense.
    """
    desk = Desk(studio, wish, tell)
    for prompt in wish.prompts or ("",):
        seeds = _seeds(wish.settings.get("seed"), wish.count)
        yield from assemble(desk.drawings([prompt] * wish.count, seeds))


def plan_each(
    studio: "Studio",
    wish: Wish,
    seeds: Sequence[int],
    tell: Tell = _to_nobody,
    known: dict[Any, Any] | None = None,
) -> list[Drawing]:
    """One drawing a seed; prompts, pictures and what controls hear may be lists, with one for each.

    known: what other wishes have read and annotated already, which is added to. Raises as `plan`.
    """
    desk = Desk(studio, wish, tell, known)
    return desk.drawings(each(list(wish.prompts or ("",)), len(seeds), "prompts"), seeds)


def seeds_for(seeds: int | Iterable[int] | None, count: int) -> list[int]:
    """The seeds that were given, or as many random ones as there are prompts (one seed serves several prompts)."""
    if seeds is None:
        return [secrets.randbelow(2**31) for _ in range(count)]
    return [seeds] * count if isinstance(seeds, int) else list(seeds)


class Desk:
    """What the drawings of a wish share: their size, and maps and pictures, each made once."""

    def __init__(
        self, studio: "Studio", wish: Wish, tell: Tell = _to_nobody, known: dict[Any, Any] | None = None
    ) -> None:
        spoken = any(prompt.strip() for prompt in wish.prompts or ())
        if not (spoken or wish.controls or wish.picture) and studio.backbone.text_encoders:
            raise InputError("there is neither a prompt nor a control; say what to draw, or give --control KIND=PATH")
        self.studio, self.wish, self.tell = studio, wish, tell
        self._known: dict[Any, Any] = {} if known is None else known
        self._size: Size | None = None
        for request in wish.heard:
            if (doubt := studio.nets.doubt(request.kind, request.net)) is not None:
                self._once(partial(tell, doubt), "doubt", doubt)
        self._worn = tuple(map(studio.loras.worn, wish.loras or ()))

    def drawings(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Drawing]:
        """The recipes of as many pictures as there are seeds. Raises as `plan`."""
        count = len(seeds)
        asked = [request.items(count) for request in self.wish.heard]
        pictures = self.wish.picture.items(count) if self.wish.picture else [None] * count
        size = self._size = self._size or self._fitting([row[0] for row in asked], pictures[0])
        made = []
        for place, (prompt, seed, picture) in enumerate(zip(prompts, seeds, pictures, strict=True)):
            guides = tuple(self._guide(row[place], size, picture) for row in asked)
            told = self.wish.laid | {"seed": seed, "given": self._given(picture, size), "loras": self._worn}
            made.append(_drawing(self.studio, prompt, size, guides, told))
        return made

    def _once(self, make: Callable[[], Any], *key: Any) -> Any:
        """What `make` makes, once for a key; the key is kept too, so that no other object takes its place."""
        name = tuple(part if isinstance(part, str | Path | bool | None) else id(part) for part in key)
        if name not in self._known:
            self._known[name] = (make(), key)
        return self._known[name][0]

    def _source(self, request: ControlRequest) -> Any:
        return self._once(lambda: read_source(request), request.kind, request.is_map, request.picture)

    def _guide(self, request: ControlRequest, size: Size, picture: PictureRequest | None) -> Guide:
        part = None if picture is None else picture.cutout(self._picture(picture)[1], size)
        heard = ("guide", request.kind, request.net, request.is_map, request.is_cut, request.picture, request.mask)
        made: Guide = self._once(
            lambda: self.studio.guide(request, size, self._source(request), part), *heard, *map(str, (*size, part))
        )
        return made.model_copy(update=self.studio.told(request))

    def _picture(self, request: PictureRequest) -> tuple[Tensor, Tensor | None]:
        read: tuple[Tensor, Tensor | None] = self._once(
            request.tensors, "picture", request.picture, request.mask, str(request.expand)
        )
        return read

    def _given(self, request: PictureRequest | None, size: Size) -> Given | None:
        if request is None:
            return None
        key = ("given", request.picture, request.mask, str((request.strength, request.padding)), *map(str, size))
        made: Given = self._once(lambda: make_given(self.studio, request, self._picture(request), size), *key)
        return made

    def _fitting(self, requests: Sequence[ControlRequest], picture: PictureRequest | None) -> Size:
        """The size of the pictures: what is asked for, or what fits the picture or the first control."""
        backbone, native = self.studio.backbone, native_size(self.studio.backbone)
        like = None if picture is None else self._picture(picture)[0].shape[:-3:-1]
        if self.wish.size:
            size = rounded(backbone, self.wish.size, self.tell)
        elif picture is not None and picture.padding is not None:
            size = native
        elif like is not None and like[0] * like[1] <= LARGE * native[0] * native[1]:
            size = rounded(backbone, (like[0], like[1]), self.tell)
        elif like is not None:
            size = fitting_size(backbone, (like[0], like[1]))
            self.tell(f"the picture of {like[0]}x{like[1]} is drawn at {size[0]}x{size[1]}; --size says otherwise")
        else:
            size = fitting_size(backbone, extent(requests[0], self._source(requests[0]))) if requests else native
        return enlarged(backbone, size, _scale(self.wish.laid))


def redrawn(studio: "Studio", old: Drawing, wish: Wish, name: str, tell: Tell = _to_nobody) -> Iterator[Batch]:
    """What the recipe `old` of the file `name` comes to with a wish laid over it; the very same without one.

    `tell` and errors as in `plan`.
    """
    if wish.nothing:
        guides = tuple(
            guide.model_copy(update={"net_hash": studio.net_hash(guide.kind, guide.net)}) for guide in old.controls
        )
        loras = tuple(lora.model_copy(update={"hash": studio.loras.hash(lora.name)}) for lora in old.loras)
        here = old.model_copy(update=_here(studio) | {"controls": guides, "loras": loras})
        yield Batch(here.company, (old.index,))
        return
    settings = {name: getattr(old, name) for name in KEPT} | wish.laid
    if wish.prompts is None and "negative" not in wish.laid:
        settings |= {"grammar": old.grammar, "embeddings": old.embeddings}
    if wish.loras is not None:
        settings["loras"] = tuple(map(studio.loras.worn, wish.loras))
    first = wish.size or reduced(studio.backbone, old.size, 1.0 if old.hires is None else old.hires.scale)
    size = enlarged(studio.backbone, rounded(studio.backbone, first, tell), _scale(settings))
    given: Given | None = settings["given"]
    if wish.picture is not None:
        given = make_given(studio, wish.picture, wish.picture.tensors(), size)
    elif given is not None and size != old.size:
        given = given.reshaped(size)
    if wish.controls is None:
        guides = tuple(_resized(studio, guide, size, name) for guide in old.controls)
    else:
        part = None if given is None else ground(given, name)[2]
        guides = tuple(studio.guide(request, size, part=part) for request in wish.heard)
    settings["given"] = given
    for prompt in wish.prompts or (old.prompt,):
        seeds = _seeds(settings["seed"], wish.count)
        yield from assemble(_drawing(studio, prompt, size, guides, settings | {"seed": seed}) for seed in seeds)


def stranger(studio: "Studio", old: Drawing) -> str | None:
    """Which weights of a recipe are not the ones here, in words; None where all are the same."""
    if studio.hash != old.base_hash:
        return f"base {old.base!r} with other weights (hash {old.base_hash}, here {studio.hash})"
    if old.vae != studio.vae:
        return f"{_named(old.vae)}, not {_named(studio.vae)}"
    for guide in old.controls:
        if guide.net_hash != studio.net_hash(guide.kind, guide.net):
            return f"a ControlNet for {guide.kind} with other weights (hash {guide.net_hash})"
    for lora in old.loras:
        if lora.hash != studio.loras.hash(lora.name):
            return f"a LoRA {lora.name!r} with other weights (hash {lora.hash})"
    for word in old.embeddings:
        if word.hash != studio.embeddings.hash(word.name):
            return f"another textual inversion {word.name!r} (hash {word.hash})"
    return None


def _named(vae: OtherVae | None) -> str:
    return "the base's own autoencoder" if vae is None else f"the autoencoder {vae.name!r} (hash {vae.hash})"


def make_given(studio: "Studio", request: PictureRequest, read: tuple[Tensor, Tensor | None], size: Size) -> Given:
    """The picture that a drawing of `size` starts from, as its recipe carries it. Raises ConfigError."""
    picture, mask = read
    part = request.cutout(mask, size)
    usual = 1.0 if mask is not None or sees_pictures(studio.backbone) else 0.75
    told = {
        "picture": pack(picture if part else fitted(picture, size)),
        "source": name_of(request.picture),
        "strength": usual if request.strength is None else request.strength,
        "mask": "" if mask is None else pack(mask if part else fitted(mask, size)),
        "softness": request.softness,
        "guidance": request.guidance,
        "box": part.box if part else None,
        "content": request.content,
    }
    return parse(Given, told, "the picture")


def _scale(settings: dict[str, Any]) -> float:
    """How much larger the second pass is than the first."""
    hires = settings.get("hires")
    return 1.0 if hires is None else float(hires["scale"] if isinstance(hires, dict) else hires.scale)


def _seeds(seed: int | None, count: int) -> list[int]:
    """`count` consecutive seeds, from a random one if none is said."""
    first = secrets.randbelow(2**31) if seed is None else seed
    if first + count > LAST_SEED:
        raise ConfigError(f"seed = {first} leaves no room for {count} pictures; give one below {LAST_SEED - count}")
    return list(range(first, first + count))


def _drawing(studio: "Studio", prompt: str, size: Size, guides: tuple[Guide, ...], settings: dict[str, Any]) -> Drawing:
    prompt, asked = taken_out(prompt)
    worn = (*settings.get("loras", ()), *map(studio.loras.worn, asked))
    told = {"prompt": prompt, "width": size[0], "height": size[1], "controls": guides}
    made = parse(Drawing, _here(studio) | {"grammar": "a1111"} | told | settings | {"loras": worn}, "the drawing")
    return made if "embeddings" in settings else studio.embeddings.worded(made)


def _here(studio: "Studio") -> dict[str, Any]:
    """What of a recipe the opened base decides."""
    dtype = str(studio.backbone.dtype).removeprefix("torch.")
    place = {"base": studio.name, "base_hash": studio.hash, "vae": studio.vae}
    return place | {"device": studio.backbone.device.type, "dtype": dtype}


def _resized(studio: "Studio", guide: Guide, size: Size, name: str) -> Guide:
    request = ControlRequest(guide.kind, guide.source, is_map=True, net=guide.net)
    made = studio.guide(request, size, unpack_map(guide, name))
    return guide.model_copy(update={"map": made.map, "net_hash": made.net_hash})
