"""What a training is told: one TOML file, checked, with a spelling for each thing."""

from typing import Annotated, Literal

from pydantic import Field

from underdraw.config import Config
from underdraw.model import ControlConfig, LoraConfig

__all__ = [
    "Clip",
    "Consistency",
    "ControlRun",
    "Data",
    "Denoiser",
    "LoraRun",
    "Objective",
    "Optimizer",
    "Prior",
    "ReaderRun",
    "Recipe",
    "Vae",
    "Watch",
]

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Data(Config):
    """The picture sets (prepared data, or image folders with pictures of one size), and the splits seen and watched."""

    folders: list[str] = Field(min_length=1)
    split: str = "train"
    watch_split: str = "watch"
    maps: list[str] = []
    """Kinds of condition maps to read beside the pictures."""
    pictures: Count | None = None
    """Learn from so many of them only; each smaller number is a part of each larger one."""


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


class Vae(Config):
    """An `AutoencoderKL`: reconstruction (L1), edges (L1 of the gradients) and a little KL."""

    task: Literal["vae"] = "vae"
    channels: list[int] = [32, 64, 128]
    latent_channels: Count = 4
    crop: int = Field(64, ge=16)
    edge_weight: float = Field(1.0, ge=0)
    kl_weight: float = Field(1e-5, ge=0)


class Clip(Config):
    """A small CLIP: contrastive text and image towers, with a byte-level BPE learned from the captions.

    wrong_captions: each picture must also be told from its own caption with a wrong colour or thing (Yuksekgonul et al.
    2023, "NegCLIP"); without them a CLIP hardly looks at what stands where.
    """

    task: Literal["clip"] = "clip"
    vocabulary: int = Field(3072, ge=512)
    tokens: int = Field(48, ge=8)
    width: Count = 192
    layers: Count = 6
    heads: Count = 4
    patch: Count = 8
    wrong_captions: bool = False


class Objective(Config):
    """What a denoising step draws at random, and how its error counts.

    prompt_dropout: share of prompts replaced by the empty one. snr_gamma: of min-SNR-γ (Hang et al. 2023), or none.
    timesteps: evenly; around the middle (sigmoid of a normal number, Esser et al. 2024); or rather late ones, where the
    structure is decided (1 - u³, T2I-Adapter, Mou et al. 2023). offset_noise: this much of a constant per channel is
    added to the noise (0.05 to 0.1 lets a model learn very dark and very bright pictures). loss: squared error, or
    pseudo-Huber with `huber_c`, which outliers pull less. mask: a kind of map of the data set; where it is black the
    error is free.
    """

    prompt_dropout: Fraction = 0.1
    snr_gamma: float | None = Field(5.0, gt=0)
    timesteps: Literal["uniform", "logit_normal", "cubic"] = "uniform"
    offset_noise: Fraction = 0.0
    loss: Literal["mse", "huber"] = "mse"
    huber_c: float = Field(0.1, gt=0)
    mask: str | None = None


class Denoiser(Objective):
    """The latent U-Net with cross-attention to the frozen text tower; `vae` and `clip` are finished runs.

    warm_start: the folder of a base of the same shape whose U-Net it starts from; its text tower may be another one.
    """

    task: Literal["denoiser"] = "denoiser"
    vae: str
    clip: str
    warm_start: str | None = None
    channels: list[int] = [96, 160, 192]
    layers: Count = 1
    heads: Count = 4
    attention: list[bool] = [False, True, True]
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"


class Consistency(Config):
    """A second loss: the estimated picture, annotated again, must show the map (`training.consistency`).

    weight: λ. below: the timesteps at which the estimate is good enough to look at. most: samples decoded a step, and
    crop: the side of the decoded window in latent pixels (0: the whole), which bound the memory. reader: the file of a
    reader for conditions that no differentiable annotator sees; never the one that judges.
    """

    weight: float = Field(0.5, gt=0)
    below: int = Field(200, ge=1)
    most: Count = 4
    crop: int = Field(0, ge=0)
    reader: str | None = None


class ControlRun(Objective):
    """A ControlNet on the locked base; `condition` is a map of the data set or else an annotator's kind, or several.

    join: several conditions are a family (each sample shows one of them) or a stack (all at once, in the channels; as
    many are the net's hint channels). condition_drop: share of maps that are left black. Where there are several, the
    first is what the run is watched and rewarded by.
    warm_start: the folder of a ControlNet of the same shape whose weights it starts from.
    unlock: what of the base learns beside the net, its decoder or all of its U-Net; saved as what it differs by from
    the base, and (`merged`) as a whole base with the net beside it, which every tool reads.
    """

    task: Literal["control"] = "control"
    base: str
    condition: str | list[str] = Field(min_length=1)
    join: Literal["family", "stack"] = "family"
    condition_drop: Fraction = 0.0
    warm_start: str | None = None
    unlock: Literal["decoder", "all"] | None = None
    merged: bool = True
    consistency: Consistency | None = None
    control: ControlConfig = ControlConfig()
    prompt_dropout: Fraction = 0.5

    @property
    def kinds(self) -> list[str]:
        """The conditions, as a list."""
        return [self.condition] if isinstance(self.condition, str) else self.condition

    def control_of(self, channels: int) -> ControlConfig:
        """The control network for maps of so many channels."""
        branch = self.control.branch.model_copy(update={"hint_channels": channels})
        return self.control.model_copy(update={"branch": branch})


class Prior(Config):
    """DreamBooth's prior preservation (Ruiz et al. 2023): what the base itself draws of the class is learnt beside.

    prompt: the class without the new word ("a dog"). count: how many pictures it draws before the run begins.
    weight: λ of their loss.
    """

    prompt: str
    count: Count = 100
    weight: float = Field(1.0, gt=0)


class LoraRun(Objective):
    """A LoRA on the locked base, on its text encoders, or (`control`, a ControlNet's folder) inside a control branch.

    caption: what all pictures are called, `{}` in it being what they are called anyway ("{}, in the style of sks").
    condition: the map that the branch sees, as in a ControlNet's recipe. With `prior` it is DreamBooth.
    """

    task: Literal["lora"] = "lora"
    base: str
    lora: LoraConfig = LoraConfig()
    caption: str = "{}"
    prior: Prior | None = None
    control: str | None = None
    condition: str | None = None


class ReaderRun(Config):
    """A small network that reads maps of one kind from pictures, to judge drawn ones; `kind` stands in `data.maps`."""

    task: Literal["reader"] = "reader"
    kind: str = "depth"
    channels: list[Annotated[int, Field(ge=8, multiple_of=8)]] = Field([24, 48, 64], min_length=1)
    edge_weight: float = Field(2.0, ge=0)


class Watch(Config):
    """How a ControlNet's run is watched: every `steps` steps (0: never) `items` pictures are drawn and scored.

    reader: the file of a reader that sees the condition in a drawn picture; where none is given and no annotator sees
    it, the denoising loss is what is compared. patience: looks without a better one that end the run (0: never).
    """

    steps: int = Field(500, ge=0)
    items: int = Field(16, ge=8)
    reader: str | None = None
    patience: int = Field(0, ge=0)


class Recipe(Config):
    """One run.

    accumulate: the parts of a batch that are computed after each other, for cards that do not hold all of it.
    checkpointing: compute the U-Net's insides again on the way back instead of keeping them: less memory, more time.
    trackers: where the losses go beside `log.jsonl` (the extras `tensorboard` and `wandb`).
    """

    output: str
    steps: Count
    batch: Count = 64
    seed: int = Field(0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
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
    learn: Annotated[Vae | Clip | Denoiser | ControlRun | LoraRun | ReaderRun, Field(discriminator="task")]
