"""What is much the same is not computed anew: at the next step, or at the next place.

What controls say changes little from step to step, and so do the features of the base's first half (Li et al. 2023,
"Faster Diffusion"); what the second half makes of them does not. And places of a picture that look alike can attend as
one (`merged`). This is approximate, and off unless it is asked for: `--measure` says what it changed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from underdraw.config import Config
from underdraw.errors import ConfigError
from underdraw.model import Control, ControlNet, Encoding, Lay, Split, Text, Waist, embed, overlaid
from underdraw.model.merged import MOST, merged

__all__ = ["Recall", "Reuse"]

Every = Annotated[int, Field(ge=1, le=10)]


class Reuse(Config):
    """What is not computed anew. control, encoder: what controls say, and the base's first half, are computed every so
    many steps; 1 is at each. merge: the share of places that attend with others, where the network attends at its
    widest. after: the share of the steps before which nothing is reused.
    """

    control: Every = 1
    encoder: Every = 1
    merge: Annotated[float, Field(ge=0, le=MOST)] = 0.0
    after: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def nothing(self) -> bool:
        """Whether all is computed, at each step and place."""
        return self.control == self.encoder == 1 and not self.merge


@dataclass
class _Kept:
    """What was computed at calls of one kind, in the order of the calls within a step."""

    fresh: bool = True
    place: int = 0
    known: list[tuple[tuple[int, ...], Any]] = field(default_factory=list)

    def begin(self, fresh: bool) -> None:
        """A new step; a fresh one forgets."""
        self.fresh, self.place = fresh, 0
        if fresh:
            self.known.clear()

    def find(self, sample: Tensor) -> Any:
        """What was kept of this call, if it was for as many samples of this size; else None."""
        here = self.known[self.place] if self.place < len(self.known) else None
        self.place += 1
        return here[1] if here is not None and here[0] == tuple(sample.shape) else None

    def keep(self, sample: Tensor, told: Any) -> None:
        """For the next steps."""
        here = (tuple(sample.shape), told)
        self.known[self.place - 1 : self.place] = [here]


class Recall:
    """A waist that remembers, and control networks that do: what `reuse` says is taken from an earlier step.

    Anything that the next steps do not see as before (a control whose span begins, fewer samples) is computed anew.
    Raises ConfigError for places to merge where not torch computes.
    """

    def __init__(self, reuse: Reuse, waist: Waist, unet: Any, nets: Sequence[Any]) -> None:
        self.reuse, self.waist, self.unet = reuse, waist, unet
        self.encodings = _Kept()
        speaking = list(dict.fromkeys(net for net in nets if isinstance(net, ControlNet)))
        self.signals = [(net, _Kept()) for net in speaking]
        self.heard: list[tuple[int, int]] = []
        if reuse.merge and not isinstance(waist, Split):
            raise ConfigError(f"merge={reuse.merge:g} is for --backend torch; others compute all places")
        self.clock = [0]
        self.merged = merged(reuse.merge, self.clock, unet, *dict.fromkeys(nets)) if reuse.merge else []

    @contextmanager
    def at(self, step: int, steps: int, controls: Sequence[Control]) -> Iterator[None]:
        """A block in which the network is asked at this step, under these controls."""
        heard = [(id(control.net), id(control.condition)) for control in controls]
        early = step < self.reuse.after * steps
        anew = heard != self.heard or early
        self.heard, self.clock[0] = heard, step
        self.encodings.begin(anew or step % self.reuse.encoder == 0)
        for _, kept in self.signals:
            kept.begin(anew or step % self.reuse.control == 0)
        lays: list[Lay] = [(net.branch, "forward", _Speech(kept)) for net, kept in self.signals]
        with overlaid([*([] if early else self.merged), *(lays if self.reuse.control > 1 else [])]):
            yield

    def encode(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        text: Text | None,
        injections: Sequence[Tensor | None] = (),
    ) -> Encoding:
        """The first half, or that of an earlier step with this one's time."""
        if self.reuse.encoder == 1:
            return self.waist.encode(sample, timestep, text, injections)
        known: Encoding | None = self.encodings.find(sample)
        if known is not None:
            return replace(known, embedding=embed(self.unet, sample, timestep, text))
        encoding = self.waist.encode(sample, timestep, text, injections)
        self.encodings.keep(sample, encoding)
        return encoding

    def decode(self, encoding: Encoding) -> Tensor:
        """The second half: always of this step."""
        return self.waist.decode(encoding)


@dataclass(frozen=True)
class _Speech:
    """A branch's `forward` that says again what it said at an earlier step."""

    kept: _Kept

    def __call__(self, before: Any) -> Any:
        def forward(hint: Tensor, sample: Tensor, *rest: Any) -> Any:
            known = self.kept.find(sample)
            if known is None:
                known = before(hint, sample, *rest)
                self.kept.keep(sample, known)
            return known

        return forward
