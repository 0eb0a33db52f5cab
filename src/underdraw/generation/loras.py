"""LoRAs for a drawing: as a person asks for them, as a recipe keeps them, and worn by a base for as long as it draws.

They are asked for by name (`--lora NAME:0.8`), or in the prompt, as A1111 has it: `<lora:NAME:0.8>`. Several add up.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from underdraw.errors import ConfigError, InputError
from underdraw.formats.lora import load_lora
from underdraw.formats.places import locate_lora
from underdraw.generation.provenance import fingerprint
from underdraw.generation.sampler import Frame
from underdraw.generation.worn import Worn
from underdraw.model import Backbone, Lora, attach, block_weights

__all__ = ["LoraRequest", "Loras", "taken_out"]

_TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)
_NAMED = ("te", "unet", "lbw")
_LOUDEST = 100


@dataclass(frozen=True)
class LoraRequest:
    """A LoRA asked for: its name (a path, a name on the shelf, a hub's file), and how loud it is.

    weight: in the U-Net. text_weight: in the text encoders; None is the same. blocks: one more weight for each block of
    the U-Net, as kohya and A1111 count them (12, 17, 20 or 26 numbers).
    Raises InputError for weights that make no sense.
    """

    name: str
    weight: float = 1.0
    text_weight: float | None = None
    blocks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a LoRA has no name; write NAME:WEIGHT, for example style:0.8")
        for weight in (self.weight, self.text_weight or 0.0, *self.blocks):
            if not abs(weight) <= _LOUDEST:
                raise InputError(f"LoRA {self.name}: weight {weight:g} makes no sense; 0 is silent, 1 is usual")
        if self.blocks:
            block_weights(self.blocks)

    @classmethod
    def parse(cls, text: str) -> Self:
        """`NAME[:WEIGHT[:TEXT_WEIGHT]][:lbw=…]`. Raises ConfigError naming the part that is wrong."""
        name, numbers, named = _split(text, text)
        weights = dict(zip(("weight", "text_weight"), numbers, strict=False)) | _known(named, text)
        return cls(name, **weights)  # type: ignore[arg-type]

    @classmethod
    def tagged(cls, text: str) -> Self:
        """What stands between `<lora:` and `>`: `NAME[:TEXT[:UNET]]`, or named (`te=`, `unet=`, `lbw=`), as in A1111.

        Raises ConfigError naming the part that is wrong.
        """
        name, numbers, named = _split(text, f"<lora:{text}>")
        told = dict(zip(("text_weight", "weight"), numbers, strict=False)) | _known(named, f"<lora:{text}>")
        told.setdefault("text_weight", 1.0)
        told.setdefault("weight", told["text_weight"])
        return cls(name, **told)  # type: ignore[arg-type]


def _split(text: str, whole: str) -> tuple[str, list[float], dict[str, str]]:
    """The name (which may hold colons, as paths do on Windows), then at most two numbers, then what is named."""
    parts, named = text.strip().split(":"), {}
    while len(parts) > 1 and "=" in parts[-1] and parts[-1].partition("=")[0].strip() in (*_NAMED, "dyn"):
        key, _, value = parts.pop().partition("=")
        named[key.strip()] = value
    numbers: list[float] = []
    while len(parts) > 1 and len(numbers) < 2 and (number := _number(parts[-1])) is not None:
        numbers.insert(0, number)
        parts.pop()
    name = ":".join(parts).strip()
    if len(parts) > 1 and not Path(name).exists():
        raise ConfigError(f"LoRA {whole!r}: {parts[-1]!r} is not a number; write NAME:WEIGHT, for example style:0.8")
    return name, numbers, named


def _known(named: dict[str, str], whole: str) -> dict[str, float | tuple[float, ...]]:
    told: dict[str, float | tuple[float, ...]] = {}
    for key, value in named.items():
        if key == "dyn":
            raise ConfigError(f"LoRA {whole!r}: changing the rank (dyn) is not supported; leave it out")
        numbers = [_number(part) for part in value.split(",")]
        if None in numbers or (key != "lbw" and len(numbers) != 1):
            raise ConfigError(f"LoRA {whole!r}: {key} is {value!r}, which is not made of numbers")
        weights = tuple(number for number in numbers if number is not None)
        told |= {"blocks": weights} if key == "lbw" else {"text_weight" if key == "te" else "weight": weights[0]}
    return told


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def taken_out(prompt: str) -> tuple[str, tuple[LoraRequest, ...]]:
    """A prompt without its `<lora:…>`, and what they ask for. Raises as `LoraRequest.tagged`."""
    asked = tuple(LoraRequest.tagged(found[1]) for found in _TAG.finditer(prompt))
    return (_TAG.sub("", prompt).strip() if asked else prompt), asked


class Loras:
    """The LoRAs of one base, each read once, whatever its weight is from drawing to drawing."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._open: dict[Path, dict[str, Lora]] = {}

    def worn(self, request: LoraRequest) -> Worn:
        """What a recipe says of a request. Raises ConfigError or CheckpointError for what is missing, or no fit."""
        self._halves(request.name)
        text_weight = request.weight if request.text_weight is None else request.text_weight
        return Worn(
            name=request.name,
            hash=self.hash(request.name),
            weight=request.weight,
            text_weight=text_weight,
            blocks=request.blocks,
        )

    def hash(self, name: str) -> str:
        """The fingerprint of the LoRA of that name. Raises as `worn`."""
        return fingerprint(locate_lora(name))

    def during(self, frames: Iterator[Frame], worn: Sequence[Worn]) -> Iterator[Frame]:
        """The frames, each made while the base wears these LoRAs; between them it is bare, and others may draw."""
        while True:
            with self.on(worn):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    @contextmanager
    def on(self, worn: Sequence[Worn]) -> Iterator[None]:
        """Inside the block the base wears these LoRAs; afterwards it is bare, to the bit. Raises as `worn`."""
        with ExitStack() as stack:
            for each in worn:
                halves, blocks = self._halves(each.name), block_weights(each.blocks) if each.blocks else {}
                stack.enter_context(attach(self.backbone, halves["unet"], each.weight, blocks))
                stack.enter_context(attach(self.backbone, halves["text"], each.text_weight, blocks))
            yield

    def _halves(self, name: str) -> dict[str, Lora]:
        """What a LoRA changes in the U-Net and in the text encoders: each has its own weight."""
        place = locate_lora(name)
        if place not in self._open:
            adapters = load_lora(place, self.backbone).adapters
            text = {address for address in adapters if address.startswith("text_encoder")}
            self._open[place] = {
                "unet": Lora({address: each for address, each in adapters.items() if address not in text}),
                "text": Lora({address: each for address, each in adapters.items() if address in text}),
            }
        return self._open[place]
