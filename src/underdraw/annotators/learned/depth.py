"""Depth that networks see in a photograph. White is near, as in every depth map of ours."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from underdraw.annotators.depth import nearness, stretch
from underdraw.annotators.learned.auxiliary import Auxiliary, Detector, files_of, needs_auxiliary
from underdraw.annotators.learned.networks import Learned, Network, TransformersFolder, asks_for, model_knob
from underdraw.annotators.learned.weights import Weights
from underdraw.annotators.protocol import Meaning, Needs, annotator, knob
from underdraw.errors import ConfigError

__all__ = ["DepthAnything", "DepthAnythingV2", "DepthLeres", "DepthMidas", "DepthZoe"]

MIDAS = {
    "hybrid": Weights(
        "Intel/dpt-hybrid-midas",
        "Apache-2.0",
        490,
        "11eaf7a1cf4bd70740697dbc216f98980c0aeb03",
        sha256={"pytorch_model.bin": "b6c4d44f9d96ca3fa76dd3bbb153989a60b4ad5526559f3c598562a368d687ec"},
    ),
    "large": Weights("Intel/dpt-large", "Apache-2.0", 1370, "bc15f29aa3a80d532f2ed650b5e16ac48d8958f9"),
    "beit": Weights("Intel/dpt-beit-large-512", "MIT", 1580),
    "swin_tiny": Weights("Intel/dpt-swinv2-tiny-256", "MIT", 165, "f7f350e1a10a5ea58671b68ab5f49dc18ec00483"),
}
ANYTHING = {
    "small": Weights("LiheYoung/depth-anything-small-hf", "Apache-2.0", 99, "25216a913fa218ccb7d58cce818d52b728b6c1f6"),
    "base": Weights("LiheYoung/depth-anything-base-hf", "Apache-2.0", 390),
    "large": Weights(
        "LiheYoung/depth-anything-large-hf", "Apache-2.0", 1341, "27ccb0920352c0c37b3a96441873c8d37bd52fb6"
    ),
}
ANYTHING_V2 = {
    "small": Weights(
        "depth-anything/Depth-Anything-V2-Small-hf",
        "Apache-2.0",
        99,
        "5426e4f0f36572d16453bbda7a8389317b1bef99",
        sha256={"model.safetensors": "3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70"},
    ),
    "base": Weights(
        "depth-anything/Depth-Anything-V2-Base-hf", "CC-BY-NC-4.0", 390, "b1958afc87fb45a9e3746cb387596094de553ed8"
    ),
    "large": Weights(
        "depth-anything/Depth-Anything-V2-Large-hf",
        "CC-BY-NC-4.0",
        1341,
        "7581137eff8d4e94f6e796d3baea0e9fa79b22d2",
        sha256={"model.safetensors": "4e01e34ed5549b529b70b92d53226bc370f03041977b390d3dde45d47f516cf9"},
    ),
}
ZOE = {
    "both": Weights("Intel/zoedepth-nyu-kitti", "MIT", 1380, "f364d4c7936e91f465abba182208dd68142bf0ca"),
    "indoors": Weights("Intel/zoedepth-nyu", "MIT", 1380),
    "outdoors": Weights("Intel/zoedepth-kitti", "MIT", 1380),
}
LERES = files_of("res101.pth", "latest_net_G.pth", megabytes=849)
NEAR = Meaning(channels=1, polarity="near is white", reduction="area")
DEPTH = TransformersFolder("AutoModelForDepthEstimation")
JOINED = 160
"""The smallest picture that LeReS can take apart, its shorter side in pixels."""
METRIC = ("depth_pro", "glpn", "zoedepth")
"""Families of networks that say distances; the others say nearness, in no unit."""


class _Depth(Learned):
    """Depth by one of the networks that the library knows."""

    meaning: ClassVar[Meaning] = NEAR
    model: str

    def map(self, source: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """As of every annotator; stretched at the drawing's size: the nearest point there is 1, the farthest 0."""
        return stretch(super().map(source, size))

    def draw(self, picture: Tensor) -> Tensor:
        """1×3×H×W → 1×1×H×W in [0, 1]: the nearest point is 1, the farthest 0."""
        network = self.network(DEPTH, self.model, picture.device)
        field = nearness_field(network, picture)
        return self.near(field) if _says_distances(network) else stretch(field)

    def near(self, distances: Tensor) -> Tensor:
        """Distances 1×1×H×W in metres → nearness in [0, 1]."""
        return nearness(distances)


def nearness_field(network: Network, picture: Tensor) -> Tensor:
    """What a network says, 1×1×H×W, without the frame that its processor puts around a picture."""
    height, width = picture.shape[-2:]
    seen = network.sound(network.model(**network.prepare(picture)).predicted_depth)[:, None]
    down, across = _frame(network, height), _frame(network, width)
    whole = functional.interpolate(seen, (height + 2 * down, width + 2 * across), mode="bicubic", align_corners=False)
    return whole[..., down : down + height, across : across + width]


def _frame(network: Network, side: int) -> int:
    """Pixels that ZoeDepth's processor adds on either side (Bhat et al. 2023, its `infer_pil`)."""
    framed = network.model.config.model_type == "zoedepth" and network.processor.do_pad
    return int((side / 2) ** 0.5 * 3) if framed else 0


def _says_distances(network: Network) -> bool:
    config = network.model.config
    return config.model_type in METRIC or getattr(config, "depth_estimation_type", "") == "metric"


@annotator("depth_midas", condition="depth", known_as={"midas": {}})
class DepthMidas(_Depth):
    """Nearness by MiDaS (Ranftl et al. 2021, "Vision Transformers for Dense Prediction"), stretched over each picture.

    What most depth ControlNets were trained with. Keeps the layout of a room or a landscape while all surfaces change;
    soft at thin things and far away.
    """

    side: ClassVar[int] = 384
    models: ClassVar[Mapping[str, Weights]] = MIDAS
    needs: ClassVar[Needs] = asks_for(MIDAS)

    model: str = model_knob(MIDAS)


@annotator("depth_anything", condition="depth")
class DepthAnything(_Depth):
    """Nearness by Depth Anything (Yang et al. 2024, "Unleashing the Power of Large-Scale Unlabeled Data").

    Finer and steadier than MiDaS; for any photograph, drawings and paintings too.
    """

    side: ClassVar[int] = 518
    models: ClassVar[Mapping[str, Weights]] = ANYTHING
    needs: ClassVar[Needs] = asks_for(ANYTHING)

    model: str = model_knob(ANYTHING)


@annotator("depth_anything_v2", condition="depth")
class DepthAnythingV2(_Depth):
    """Nearness by Depth Anything V2 (Yang et al. 2024, arXiv 2406.09414), stretched over each picture.

    The sharpest of the quick ones: hair, leaves and furniture legs stay apart. Where in doubt, take this. The base and
    large models are not for commercial use.
    """

    side: ClassVar[int] = 518
    models: ClassVar[Mapping[str, Weights]] = ANYTHING_V2
    needs: ClassVar[Needs] = asks_for(ANYTHING_V2)

    model: str = model_knob(ANYTHING_V2)


@annotator("depth_zoe", condition="depth", known_as={"zoe": {}})
class DepthZoe(_Depth):
    """Nearness from metres by ZoeDepth (Bhat et al. 2023, "Zero-shot Transfer by Combining Relative and Metric Depth").

    Good for rooms and streets, where true proportions of near and far matter; slower than the others.
    """

    side: ClassVar[int] = 384
    models: ClassVar[Mapping[str, Weights]] = ZOE
    needs: ClassVar[Needs] = asks_for(ZOE)

    model: str = model_knob(ZOE)
    scale: str = knob(
        "inverse",
        help="inverse: as MiDaS, 1/distance; linear: distance from the 2nd to the 85th percentile, as other tools",
        choices=("inverse", "linear"),
    )

    def near(self, distances: Tensor) -> Tensor:
        """Distances 1×1×H×W in metres → nearness in [0, 1]."""
        if self.scale == "inverse":
            return nearness(distances)
        low, high = (torch.quantile(_thinned(distances), share) for share in (0.02, 0.85))
        return (1 - (distances - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)


@annotator("depth_leres", condition="depth", known_as={"leres": {}, "depth_leres++": {"boost": True}})
class DepthLeres(Auxiliary):
    """Nearness by LeReS (Yin et al. 2021, "Learning to Recover 3D Scene Shape"), through controlnet_aux.

    More detail in backgrounds than MiDaS. boost ("++", Miangoleh et al. 2021) looks at many parts and joins them: finer
    and much slower.
    """

    detector: ClassVar[Detector] = Detector("LeresDetector", LERES.files)
    weights: ClassVar[Weights] = LERES
    needs: ClassVar[Needs] = needs_auxiliary(LERES)
    meaning: ClassVar[Meaning] = NEAR

    boost: bool = knob(False, help="look at parts of the picture too, and join them")
    remove_near: float = knob(0.0, 0, 100, "what is nearer than this many hundredths becomes the nearest")
    remove_background: float = knob(0.0, 0, 100, "what is less near than this many hundredths becomes black")

    def map(self, source: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """As of every annotator; stretched at the drawing's size: the nearest point there is 1, the farthest 0."""
        return stretch(super().map(source, size))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.boost and 0 < self.resolution < JOINED:
            raise ConfigError(f"depth_leres: boost needs a resolution of {JOINED} or more (got {self.resolution})")

    def parameters(self) -> dict[str, Any]:
        """What the detector is told beside the picture."""
        return {"boost": self.boost, "thr_a": self.remove_near, "thr_b": self.remove_background}


def _thinned(values: Tensor) -> Tensor:
    """At most a few million of them, evenly: `torch.quantile` takes no more than 16 million."""
    flat = values.flatten()
    return flat[:: 1 + flat.numel() // 4_000_000]
