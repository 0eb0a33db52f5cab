"""What there is to learn: the tables that `[learn]` of a recipe can be."""

from typing import Annotated, Literal

from pydantic import Field

from underdraw.config import Config
from underdraw.model import ControlConfig, LoraConfig

__all__ = [
    "BesideRun",
    "Clip",
    "Consistency",
    "ControlRun",
    "Count",
    "Denoiser",
    "FinetuneRun",
    "Fraction",
    "InversionRun",
    "LoraRun",
    "MapRun",
    "Objective",
    "Prior",
    "ReaderRun",
    "Tuning",
    "Vae",
]

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


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
    """A second loss that rewards hearing the map (`training.consistency`).

    form: "map": the estimated picture, annotated again, must show the map. "features": what the branch makes of the map
    must tell, through a learnt projection, what the locked decoder makes of the picture.
    weight: λ. below: the timesteps at which the picture is clear enough to look at. most: samples looked at a step,
    which bounds the memory, as does crop: the side of the decoded window in latent pixels (0: the whole). reader: the
    file of a reader for conditions that no differentiable annotator sees; never the one that judges. The latter two are
    the map form's.
    """

    form: Literal["map", "features"] = "map"
    weight: float = Field(0.5, gt=0)
    below: int = Field(200, ge=1)
    most: Count = 4
    crop: int = Field(0, ge=0)
    reader: str | None = None


class MapRun(Objective):
    """Drawing under condition maps; `condition` is a map of the data set or else an annotator's kind, or several.

    join: several conditions are a family (each sample shows one of them) or a stack (all at once, in the channels; as
    many are the net's hint channels). condition_drop: share of maps that are left black. Where there are several, the
    first is what the run is watched and rewarded by.
    """

    base: str
    condition: str | list[str] = Field(min_length=1)
    join: Literal["family", "stack"] = "family"
    condition_drop: Fraction = 0.0
    prompt_dropout: Fraction = 0.5

    @property
    def kinds(self) -> list[str]:
        """The conditions, as a list."""
        return [self.condition] if isinstance(self.condition, str) else self.condition


class ControlRun(MapRun):
    """A ControlNet on the locked base.

    warm_start: the folder of a ControlNet of the same shape whose weights it starts from.
    lora: the branch's copy of the encoder learns as a LoRA alone; hint encoder, taps and fusions learn whole
    (Control-LoRA).
    unlock: what of the base learns beside the net, its decoder or all of its U-Net; saved as what it differs by from
    the base, and (`merged`) as a whole base with the net beside it, which every tool reads.
    """

    task: Literal["control"] = "control"
    warm_start: str | None = None
    lora: LoraConfig | None = None
    unlock: Literal["decoder", "all"] | None = None
    merged: bool = True
    consistency: Consistency | None = None
    control: ControlConfig = ControlConfig()

    def control_of(self, channels: int) -> ControlConfig:
        """The control network for maps of so many channels."""
        branch = self.control.branch.model_copy(update={"hint_channels": channels})
        return self.control.model_copy(update={"branch": branch})


class BesideRun(MapRun):
    """The base itself, which sees the map beside its latents as InstructPix2Pix sees a picture: what ControlNets are
    compared with.

    lora: its first convolution and adapters learn, and not all of its U-Net.
    """

    task: Literal["beside"] = "beside"
    lora: LoraConfig | None = None


class Prior(Config):
    """DreamBooth's prior preservation (Ruiz et al. 2023): what the base itself draws of the class is learnt beside.

    prompt: the class without the new word ("a dog"). count: how many pictures it draws before the run begins.
    weight: λ of their loss.
    """

    prompt: str
    count: Count = 100
    weight: float = Field(1.0, gt=0)


class Tuning(Objective):
    """A base that learns from a few captioned pictures.

    caption: what all pictures are called, `{}` in it being what they are called anyway ("{}, in the style of sks").
    prior: makes a DreamBooth of it.
    """

    base: str
    caption: str = "{}"
    prior: Prior | None = None


class LoraRun(Tuning):
    """A LoRA on the locked base, on its text encoders, or (`control`, a ControlNet's folder) inside a control branch.

    condition: the map that the branch sees, as in a ControlNet's recipe.
    """

    task: Literal["lora"] = "lora"
    lora: LoraConfig = LoraConfig()
    control: str | None = None
    condition: str | None = None


class FinetuneRun(Tuning):
    """The base's U-Net itself, all of it or its decoder (`unlock`, `merged`: as in a ControlNet's recipe)."""

    task: Literal["finetune"] = "finetune"
    unlock: Literal["decoder", "all"] = "all"
    merged: bool = True


class InversionRun(Tuning):
    """Textual inversion (Gal et al. 2022): a new word for the locked base, which every caption must hold.

    word: how it is written ("<chalk>"). initial: the words whose vectors it starts from. vectors: how many it has, each
    in the place of a token.
    """

    task: Literal["textual-inversion"] = "textual-inversion"
    word: str = Field(min_length=1)
    initial: str = Field(min_length=1)
    vectors: Count = 1
    prompt_dropout: Fraction = 0.0


class ReaderRun(Config):
    """A small network that reads maps from pictures, to judge drawn ones or to teach a net (`annotators.readers`).

    reads: the kinds; depth, normal and segmentation stand in `data.maps`, the people of pose among the attributes.
    kind: of the trunk, unet (channels: the widths from the finest level down) or dilated (its one width).
    """

    task: Literal["reader"] = "reader"
    reads: list[Literal["depth", "normal", "segmentation", "pose"]] = Field(min_length=1)
    kind: Literal["unet", "dilated"] = "unet"
    channels: list[Annotated[int, Field(ge=8, multiple_of=8)]] = Field([16, 32, 48], min_length=1)
