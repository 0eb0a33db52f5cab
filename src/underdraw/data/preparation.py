"""What a preparation is told: one frozen table, kept beside the data that it made."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from underdraw.annotators import ANNOTATORS, Annotator, build
from underdraw.config import Config
from underdraw.data.buckets import Size, bucket_sizes
from underdraw.errors import ConfigError

__all__ = ["Made", "Preparation"]

Side = Annotated[int, Field(ge=8, le=4096)]


class Made(Config):
    """Maps to make: an annotator and its knobs."""

    kind: str
    knobs: dict[str, Any] = {}

    def look(self) -> Annotator:
        """The annotator. Raises ConfigError for an unknown kind, knob or value."""
        return build(self.kind, self.knobs)


class Preparation(Config):
    """How pictures become samples.

    size: (width, height); with buckets its area counts. step: sides are multiples of it. stretch: the largest
    proportion of a bucket. enlarge: pictures that would have to grow more than this are left out. draws: maps of each
    kind a picture, the first with the knobs given, the others with random usual ones, and (resolutions) looked at with
    a random shorter side between two. caption: a template. watch: the share of pictures that are kept for watching a
    training. form: of pictures; "auto" is JPEG for what comes from a lossy file. duplicates: whether pictures that are
    there twice are left out: all, only exact ones, or none.
    """

    size: tuple[Side, Side] = (512, 512)
    bucket: bool = True
    step: int = Field(64, ge=8, le=1024, multiple_of=8)
    stretch: float = Field(2.0, ge=1, le=8)
    enlarge: float = Field(2.0, ge=1)
    annotators: list[Made] = []
    draws: int = Field(1, ge=1, le=100)
    resolutions: tuple[Side, Side] | None = None
    caption: str = "{text}"
    captioner: str = ""
    watch: float = Field(0.05, ge=0, lt=1)
    seed: int = Field(0, ge=0)
    form: Literal["auto", "jpg", "png"] = "auto"
    quality: int = Field(95, ge=50, le=100)
    duplicates: Literal["drop", "exact", "keep"] = "drop"
    shard_megabytes: int = Field(256, ge=1, le=65536)

    @model_validator(mode="after")
    def _fits(self) -> "Preparation":
        if any(side % self.step for side in self.size):
            width, height = self.size
            raise ConfigError(
                f"size {width}×{height} is not a multiple of {self.step}; choose another, or a smaller --step"
            )
        if self.resolutions and self.resolutions[0] > self.resolutions[1]:
            raise ConfigError(f"resolutions {self.resolutions[0]}-{self.resolutions[1]}: give the smaller one first")
        kinds = [made.kind for made in self.annotators]
        if len(set(kinds)) < len(kinds):
            raise ConfigError(
                f"annotators {', '.join(kinds)}: each kind is named once; --draws makes several maps of one"
            )
        return self

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The bucket sizes."""
        return bucket_sizes(self.size, self.step, self.stretch) if self.bucket else (self.size,)

    @property
    def needed(self) -> int:
        """The shorter side at which pictures are needed: that of the largest bucket, or of an annotator."""
        sides: list[int] = [max(map(min, self.sizes)), *(self.resolutions or ())]
        for made in self.annotators:
            look = made.look()
            sides.append(look.resolution or ANNOTATORS[made.kind].side)
        return max(sides)
