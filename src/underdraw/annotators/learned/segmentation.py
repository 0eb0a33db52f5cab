"""Segmentation that networks see in a photograph: each pixel in the colour of its class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators.learned.networks import Learned, Network, TransformersFolder, asks_for, model_knob
from underdraw.annotators.learned.weights import FOLDER, Weights, present
from underdraw.annotators.palettes import PALETTES, VOID, paint
from underdraw.annotators.protocol import Meaning, Needs, annotator
from underdraw.errors import CheckpointError

__all__ = ["SegDeepLab", "SegMask2Former", "SegOneFormer", "SegOneFormerCoco", "SegSegFormer", "SegUperNet"]

TOKENS = ("vocab.json", "merges.txt", "tokenizer_config.json")
"""What OneFormer reads its task with."""
ONEFORMER = {
    "tiny": Weights(
        "shi-labs/oneformer_ade20k_swin_tiny",
        "MIT",
        204,
        "05f2812b1eccf9909b3897777450f8d68148cafc",
        FOLDER + TOKENS,
        {"pytorch_model.bin": "909b07dbf4129c2bbb8df4498e35dcd46f305e3ec45329d3ff6d4f0360de27f3"},
    ),
    "large": Weights(
        "shi-labs/oneformer_ade20k_swin_large",
        "MIT",
        880,
        "4a5bac8e64f82681a12db2e151a4c2f4ce6092b2",
        FOLDER + TOKENS,
    ),
}
ONEFORMER_COCO = {"large": Weights("shi-labs/oneformer_coco_swin_large", "MIT", 880, files=FOLDER + TOKENS)}
MASK2FORMER = {
    "tiny": Weights(
        "facebook/mask2former-swin-tiny-ade-semantic",
        "see its page",
        190,
        "c8cf1b5e823aee214d937d0d001c1850ba44ef6a",
    ),
    "base": Weights("facebook/mask2former-swin-base-ade-semantic", "see its page", 430),
    "large": Weights(
        "facebook/mask2former-swin-large-ade-semantic",
        "see its page",
        866,
        "aa25c92404a40599614215e76514c79b427c7527",
    ),
}
SEGFORMER = {
    "b0": Weights(
        "nvidia/segformer-b0-finetuned-ade-512-512",
        "NVIDIA, not for commercial use",
        15,
        "489d5cd81a0b59fab9b7ea758d3548ebe99677da",
        sha256={"model.safetensors": "6ae39addd01de6b1b8bde2cf677d43a5cd733424b8d186de3f95d1c51fee23f9"},
    ),
    "b2": Weights("nvidia/segformer-b2-finetuned-ade-512-512", "NVIDIA, not for commercial use", 110),
    "b5": Weights(
        "nvidia/segformer-b5-finetuned-ade-640-640",
        "NVIDIA, not for commercial use",
        340,
        "739f5d4692954e4a185eac280dec1ba5a7d52f1d",
    ),
}
UPERNET = {
    "small": Weights("openmmlab/upernet-convnext-small", "MIT", 328, "550b68d291f9a7e4874065c6eec0676b2ba821e6"),
    "tiny": Weights("openmmlab/upernet-convnext-tiny", "MIT", 241, "876ffc56b819a829448f7e81e9f8606deef6fb65"),
    "large": Weights("openmmlab/upernet-convnext-large", "MIT", 940),
    "swin_tiny": Weights("openmmlab/upernet-swin-tiny", "MIT", 240),
}
DEEPLAB = {
    "mobilenet": Weights(
        "google/deeplabv3_mobilenet_v2_1.0_513", "Apache-2.0", 11, "5282e0eaf10de7cc7f35ee5e40f47981b801bf63"
    ),
    "mobilevit": Weights("apple/deeplabv3-mobilevit-small", "Apple, sample code", 26),
}


@dataclass(frozen=True)
class _OneFormerFolder(TransformersFolder):
    """OneFormer is told in words what it shall do; they are read once."""

    def __call__(self, folder: Path) -> Network:
        """Raises CheckpointError for a folder that does not hold such a model with its tokenizer."""
        network = super().__call__(folder)
        network.model.register_buffer("task", _task(folder, network.model.config.task_seq_len), persistent=False)
        return network


def _task(folder: Path, length: int) -> Tensor:
    """The words "the task is semantic" as numbers of CLIP's vocabulary 1×length, 0 where they end."""
    from transformers import CLIPTokenizer

    if not present(folder, ("tokenizer.json|vocab.json",)):  # the library would make up an empty vocabulary
        raise CheckpointError(f"{folder} has no tokenizer ({', '.join(TOKENS)}); get its own files")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = (str(error) or type(error).__name__).strip().partition("\n")[0]
        raise CheckpointError(f"{folder}: its tokenizer cannot be opened ({reason}); get its own files") from error
    words = tokenizer("the task is semantic", padding="max_length", max_length=length, return_tensors="pt")
    task: Tensor = words["input_ids"] * words["attention_mask"]
    return task


SEMANTIC = TransformersFolder("AutoModelForSemanticSegmentation")
UNIVERSAL = TransformersFolder("AutoModelForUniversalSegmentation")
WHOLE = TransformersFolder("AutoModelForSemanticSegmentation", (("do_center_crop", False),))
TOLD = _OneFormerFolder(
    "AutoModelForUniversalSegmentation",
    (("class_info_file", None), ("repo_path", None)),  # the names of classes, which the library would fetch
)

VOC = (
    *("", "airplane", "bicycle", "animal", "boat", "bottle", "bus", "car", "animal", "chair", "animal"),
    *("table", "animal", "animal", "minibike", "person", "plant", "animal", "sofa", "", "television receiver"),
)
"""The 21 classes of PASCAL VOC in order, as the classes of ADE20K that hold them: none the background and trains."""


class _Segmentation(Learned):
    """Classes by one of the networks that the library knows, in a published palette."""

    opener: ClassVar[TransformersFolder] = SEMANTIC
    palette: ClassVar[str] = "ade20k"
    meaning: ClassVar[Meaning] = Meaning(
        channels=3,
        polarity="each of ADE20K's 150 classes in its colour, black for none",
        reduction="nearest",
        palette=PALETTES["ade20k"].colours,
    )
    side: ClassVar[int] = 512
    most: ClassVar[int] = 1024 * 1536  # of 150 scores each
    model: str

    def draw(self, picture: Tensor) -> Tensor:
        """1×3×H×W → 1×3×H×W, the colours of the palette."""
        network = self.network(self.opener, self.model, picture.device)
        ids = _painted_as(self.palette, network)[self.classes(network, picture).cpu()]
        return images.from_uint8(paint(ids.numpy(), PALETTES[self.palette].colours))[None].to(picture.device)

    def classes(self, network: Network, picture: Tensor) -> Tensor:
        """The network's classes H×W, whole numbers, of a picture 1×3×H×W."""
        return _classes(network, network.model(**network.prepare(picture)), picture)


def _classes(network: Network, said: Any, picture: Tensor) -> Tensor:
    """The likeliest class of each pixel H×W, by the library's own rule: scores first grow to the picture's size."""
    network.sound(said["class_queries_logits"] if "class_queries_logits" in said else said["logits"])
    size = (picture.shape[-2], picture.shape[-1])
    ids: Tensor = network.processor.post_process_semantic_segmentation(said, target_sizes=[size])[0]
    return ids


def _painted_as(palette: str, network: Network) -> Tensor:
    """The palette's class of each of the network's classes. Raises CheckpointError for a network of other classes."""
    many, names = network.model.config.num_labels, PALETTES[palette].names
    if many == len(names):
        return torch.arange(many)
    if palette == "ade20k" and many == len(VOC):
        return torch.tensor([names.index(name) if name else VOID for name in VOC])
    raise CheckpointError(f"{network.folder} knows {many} classes; {palette} has {len(names)}: take a model of those")


@annotator("seg_segformer", condition="segmentation")
class SegSegFormer(_Segmentation):
    """ADE20K's classes by SegFormer (Xie et al. 2021, arXiv 2105.15203).

    Says what is where and leaves every surface free: rooms, streets, landscapes. The smallest of these networks, and
    still good; not for commercial use.
    """

    models: ClassVar[Mapping[str, Weights]] = SEGFORMER
    needs: ClassVar[Needs] = asks_for(SEGFORMER)

    model: str = model_knob(SEGFORMER)


@annotator("seg_upernet", condition="segmentation", known_as={"upernet": {}})
class SegUperNet(_Segmentation):
    """ADE20K's classes by UPerNet (Xiao et al. 2018, arXiv 1807.10221) over ConvNeXt or Swin.

    Says what is where and leaves every surface free. What diffusers' guide for the segmentation ControlNet uses.
    """

    models: ClassVar[Mapping[str, Weights]] = UPERNET
    needs: ClassVar[Needs] = asks_for(UPERNET)

    model: str = model_knob(UPERNET)


@annotator("seg_mask2former", condition="segmentation", known_as={"mask2former": {}})
class SegMask2Former(_Segmentation):
    """ADE20K's classes by Mask2Former (Cheng et al. 2022, arXiv 2112.01527).

    Says what is where, with cleaner outlines of single things than networks that decide pixel by pixel.
    """

    opener: ClassVar[TransformersFolder] = UNIVERSAL
    models: ClassVar[Mapping[str, Weights]] = MASK2FORMER
    needs: ClassVar[Needs] = asks_for(MASK2FORMER)

    model: str = model_knob(MASK2FORMER)


class _OneFormer(_Segmentation):
    """OneFormer in one vocabulary or another."""

    opener: ClassVar[TransformersFolder] = TOLD

    def classes(self, network: Network, picture: Tensor) -> Tensor:
        """The network's classes H×W, whole numbers, of a picture 1×3×H×W."""
        pixels = network.prepare(picture)["pixel_values"]
        return _classes(network, network.model(pixel_values=pixels, task_inputs=network.model.task), picture)


@annotator("seg_ofade20k", condition="segmentation", known_as={"oneformer_ade20k": {}})
class SegOneFormer(_OneFormer):
    """ADE20K's classes by OneFormer (Jain et al. 2023, arXiv 2211.06220).

    Says what is where and leaves every surface free. What the segmentation ControlNet 1.1 and the numbers of the
    ControlNet paper were made with.
    """

    models: ClassVar[Mapping[str, Weights]] = ONEFORMER
    needs: ClassVar[Needs] = asks_for(ONEFORMER)

    model: str = model_knob(ONEFORMER)


@annotator("seg_ofcoco", condition="segmentation", known_as={"oneformer_coco": {}})
class SegOneFormerCoco(_OneFormer):
    """COCO's 133 classes by OneFormer (Jain et al. 2023, arXiv 2211.06220), in the colours of panopticapi.

    The other vocabulary that the segmentation ControlNet 1.1 knows: more animals, food and sports, fewer rooms.
    """

    palette: ClassVar[str] = "coco"
    meaning: ClassVar[Meaning] = Meaning(
        channels=3,
        polarity="each of COCO's 133 classes in its colour",
        reduction="nearest",
        palette=PALETTES["coco"].colours,
    )
    models: ClassVar[Mapping[str, Weights]] = ONEFORMER_COCO
    needs: ClassVar[Needs] = asks_for(ONEFORMER_COCO)

    model: str = model_knob(ONEFORMER_COCO)


@annotator("seg_deeplab", condition="segmentation", known_as={"deeplab": {}})
class SegDeepLab(_Segmentation):
    """Things by DeepLabv3 (Chen et al. 2017, arXiv 1706.05587), trained for PASCAL VOC, in ADE20K's colours.

    Small and quick, and knows twenty things only: people, animals, vehicles, some furniture; all else stays black.
    """

    opener: ClassVar[TransformersFolder] = WHOLE  # the published processors cut the border off
    models: ClassVar[Mapping[str, Weights]] = DEEPLAB
    needs: ClassVar[Needs] = asks_for(DEEPLAB)

    model: str = model_knob(DEEPLAB)
