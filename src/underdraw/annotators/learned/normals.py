"""Normals that networks see in a photograph: which way surfaces face."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from underdraw.annotators.learned.auxiliary import Auxiliary, Detector, files_of, needs_auxiliary
from underdraw.annotators.learned.depth import DEPTH, MIDAS, nearness_field
from underdraw.annotators.learned.networks import Learned, asks_for, model_knob
from underdraw.annotators.learned.weights import Weights
from underdraw.annotators.normals import Normal
from underdraw.annotators.protocol import Meaning, Needs, annotator, knob

__all__ = ["NormalBae", "NormalMidas"]

BAE = files_of("scannet.pt", megabytes=291)


@annotator("normal_bae", condition="normal", known_as={"normalbae": {}})
class NormalBae(Auxiliary):
    """Normals by NormalBae (Bae et al. 2021, "Estimating and Exploiting the Aleatoric Uncertainty in Surface Normals").

    For the normal ControlNet 1.1. Keeps the shape of surfaces, faces and folds too, and frees colour and light.
    """

    detector: ClassVar[Detector] = Detector("NormalBaeDetector", BAE.files)
    weights: ClassVar[Weights] = BAE
    needs: ClassVar[Needs] = needs_auxiliary(BAE)
    meaning: ClassVar[Meaning] = Meaning(
        channels=3, polarity="red faces left, green up, blue the viewer", reduction="area"
    )


@annotator("normal_midas", known_as={"normal_map": {}})
class NormalMidas(Learned):
    """Slopes of MiDaS' nearness beside a constant, as ControlNet 1.0 made its normal maps.

    For the normal ControlNet 1.0 only; that of 1.1 wants normal_bae's.
    """

    meaning: ClassVar[Meaning] = Meaning(
        channels=3,
        polarity="red is towards the viewer, green and blue the slopes downwards and to the right",
        reduction="area",
    )
    side: ClassVar[int] = 512
    models: ClassVar[Mapping[str, Weights]] = MIDAS
    needs: ClassVar[Needs] = asks_for(MIDAS)

    model: str = model_knob(MIDAS)
    bg_threshold: float = knob(0.4, 0, 1, "what is less near than this share of the whole is background, and flat")

    def draw(self, picture: Tensor) -> Tensor:
        """1×3×H×W → 1×3×H×W."""
        field = nearness_field(self.network(DEPTH, self.model, picture.device), picture)
        return Normal(convention="midas", relief=0.0, bg_threshold=self.bg_threshold)(field)
