"""What a training is told: one TOML file, checked, with a spelling for each thing."""

from typing import Annotated, Literal

from pydantic import Field

from underdraw.config import Config
from underdraw.training.kinds import (
    BesideRun,
    Clip,
    Consistency,
    ControlRun,
    Count,
    Denoiser,
    FinetuneRun,
    InversionRun,
    LoraRun,
    MapRun,
    Objective,
    Prior,
    ReaderRun,
    Tuning,
    Vae,
)

__all__ = [
    "BesideRun",
    "Clip",
    "Consistency",
    "ControlRun",
    "Data",
    "Denoiser",
    "FinetuneRun",
    "InversionRun",
    "LoraRun",
    "MapRun",
    "Objective",
    "Optimizer",
    "Prior",
    "ReaderRun",
    "Recipe",
    "Tuning",
    "Vae",
    "Watch",
]


class Data(Config):
    """The picture sets (prepared data, or image folders with pictures of one size), and the splits seen and watched."""

    folders: list[str] = Field(min_length=1)
    split: str = "train"
    watch_split: str = "watch"
    maps: list[str] = []
    """Kinds of condition maps to read beside the pictures."""
    pictures: Count | None = None
    """Learn from so many of them only; each smaller number is a part of each larger one."""
    mirror: bool = False
    """ControlNets and LoRAs, prepared data: learn from every picture mirrored as well."""


class Optimizer(Config):
    """Who takes the steps, with a warm-up, a level stretch and, at the very end, a linear cool-down (all in steps).

    adamw8bit needs the extra `8bit` and a GPU. The first of `betas` is SGD's momentum; adafactor uses neither.
    """

    kind: Literal["adamw", "adam", "sgd", "adafactor", "adamw8bit"] = "adamw"
    lr: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.01, ge=0)
    warmup: int = Field(200, ge=0)
    cooldown: int = Field(0, ge=0)
    clip: float = Field(1.0, gt=0)


class Watch(Config):
    """How a ControlNet's run is watched: every `steps` steps (0: never) `items` pictures are drawn and scored.

    reader: the file of a reader that sees the condition in a drawn picture (default: the one that ships); where there
    is none and no annotator sees it, the denoising loss is what is compared. patience: looks without a better one that
    end the run (0: never).
    """

    steps: int = Field(500, ge=0)
    items: int = Field(16, ge=8)
    reader: str | None = None
    patience: int = Field(0, ge=0)


class Recipe(Config):
    """One run.

    precision: fp32; bf16 or fp16, in which layers compute while the weights stay fp32 (fp16 is for GPUs without bf16);
    or bf16-weights, in which U-Net, net and the optimizer's moments are kept as well, each new weight rounded up or
    down at random (`training.rounding`).
    accumulate: the parts of a batch that are computed after each other, for cards that do not hold all of it.
    checkpointing: compute the U-Net's insides again on the way back instead of keeping them: less memory, more time.
    trackers: where the losses go beside `log.jsonl` (the extras `tensorboard` and `wandb`).
    """

    output: str
    steps: Count
    batch: Count = 64
    seed: int = Field(0, ge=0)
    precision: Literal["fp32", "bf16", "fp16", "bf16-weights"] = "fp32"
    device: str = "cpu"
    threads: int | None = Field(None, ge=1)
    accumulate: Count = 1
    checkpointing: bool = False
    average: float = Field(0.999, ge=0, lt=1)
    checkpoint_minutes: float = Field(5.0, gt=0)
    sheet_steps: int = Field(500, ge=1)
    log_steps: int = Field(20, ge=1)
    trackers: list[Literal["tensorboard", "wandb"]] = []
    data: Data
    optimizer: Optimizer = Optimizer()
    watch: Watch = Watch()
    learn: Annotated[
        Vae | Clip | Denoiser | ControlRun | BesideRun | LoraRun | FinetuneRun | InversionRun | ReaderRun,
        Field(discriminator="task"),
    ]
