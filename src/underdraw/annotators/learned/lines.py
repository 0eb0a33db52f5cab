"""Lines that networks see in a photograph, through controlnet_aux: soft edges, scribbles, straight lines, line art."""

from typing import Any, ClassVar

from underdraw.annotators.learned.auxiliary import Auxiliary, Detector, files_of, needs_auxiliary
from underdraw.annotators.learned.weights import Weights
from underdraw.annotators.protocol import Meaning, Needs, annotator, knob

__all__ = [
    "LineArtAnime",
    "LineArtRealistic",
    "Mlsd",
    "ScribbleHed",
    "ScribblePidiNet",
    "SoftEdgeAnyline",
    "SoftEdgeHed",
    "SoftEdgePidiNet",
    "SoftEdgeTeed",
]

SOFT = Meaning(channels=1, polarity="white edges on black, the brighter the surer", reduction="area")
SCRIBBLED = Meaning(channels=1, polarity="white strokes on black", reduction="max", binary=True)
DRAWN = Meaning(channels=1, polarity="white lines on black", reduction="area")
SAFE_HELP = "in three steps of grey, so that no faint detail of the photograph is carried over"

HED = files_of("ControlNetHED.pth", megabytes=29, licence="Apache-2.0")
PIDINET = files_of("table5_pidinet.pth", megabytes=3)
SKETCHES = files_of("sk_model.pth", "sk_model2.pth", megabytes=34)
MANGA = files_of("netG.pth", megabytes=218)
LINES = files_of("mlsd_large_512_fp32.pth", megabytes=6)
TEED = Weights("fal-ai/teed", "MIT", 1, files=("5_model.pth",))
ANYLINE = Weights(
    "TheMistoAI/MistoLine",
    "see its page",
    1,
    files=("Anyline/MTEED.pth",),
    sha256={"Anyline/MTEED.pth": "a3c2d8a8ce9422555c787160bd46362d761325a565333c0e3f6a53e0bae2abdb"},
)


@annotator("softedge_hed", condition="softedge", known_as={"hed": {}, "softedge_hedsafe": {"safe": True}})
class SoftEdgeHed(Auxiliary):
    """Soft edges by HED (Xie and Tu 2015, "Holistically-Nested Edge Detection"), in lllyasviel's retrained network.

    Outlines of things rather than textures, with their strength: recolouring and restyling that keeps every shape.
    """

    detector: ClassVar[Detector] = Detector("HEDdetector", HED.files)
    weights: ClassVar[Weights] = HED
    needs: ClassVar[Needs] = needs_auxiliary(HED)
    meaning: ClassVar[Meaning] = SOFT

    safe: bool = knob(False, help=SAFE_HELP)


@annotator(
    "softedge_pidinet",
    condition="softedge",
    known_as={"pidinet": {}, "softedge_pidisafe": {"safe": True}, "softedge_pidsafe": {"safe": True}},
)
class SoftEdgePidiNet(Auxiliary):
    """Soft edges by PiDiNet (Su et al. 2021, "Pixel Difference Networks for Efficient Edge Detection").

    As HED's, a little sharper and quicker; what ControlNet 1.1 advises for soft edges.
    """

    detector: ClassVar[Detector] = Detector("PidiNetDetector", PIDINET.files)
    weights: ClassVar[Weights] = PIDINET
    needs: ClassVar[Needs] = needs_auxiliary(PIDINET)
    meaning: ClassVar[Meaning] = SOFT

    safe: bool = knob(False, help=SAFE_HELP)


@annotator("scribble_hed", condition="scribble", known_as={"scribble_hedsafe": {"safe": True}})
class ScribbleHed(SoftEdgeHed):
    """Strokes as of a thick pen along HED's soft edges: thinned, blurred, binarised, as ControlNet 1.1 does it.

    Gives a scribble ControlNet the rough shape and leaves it all detail.
    """

    meaning: ClassVar[Meaning] = SCRIBBLED

    def parameters(self) -> dict[str, Any]:
        """What the detector is told beside the picture."""
        return super().parameters() | {"scribble": True}


@annotator("scribble_pidinet", condition="scribble", known_as={"scribble_pidsafe": {"safe": True}})
class ScribblePidiNet(SoftEdgePidiNet):
    """Strokes as of a thick pen along PiDiNet's soft edges: thinned, blurred, binarised.

    Gives a scribble ControlNet the rough shape and leaves it all detail.
    """

    meaning: ClassVar[Meaning] = SCRIBBLED

    def parameters(self) -> dict[str, Any]:
        """What the detector is told beside the picture."""
        return super().parameters() | {"scribble": True}


@annotator("softedge_teed", condition="softedge", known_as={"teed": {}})
class SoftEdgeTeed(Auxiliary):
    """Soft edges by TEED (Soria et al. 2023, "Tiny and Efficient Model for the Edge Detection Generalization").

    Thin, clean and very quick; in drawings too.
    """

    detector: ClassVar[Detector] = Detector("TEEDdetector", TEED.files, (("filename", TEED.files[0]),))
    weights: ClassVar[Weights] = TEED
    needs: ClassVar[Needs] = needs_auxiliary(TEED)
    meaning: ClassVar[Meaning] = SOFT

    steps: int = knob(2, 0, 10, "steps of grey above black; 0: all of them")

    def look(self, detector: Any, pixels: Any) -> Any:
        """H×W×3 RGB bytes → H×W×3."""
        return detector(pixels, detect_resolution=min(pixels.shape[:2]), safe_steps=self.steps, output_type="np")


@annotator("softedge_anyline", condition="softedge", known_as={"anyline": {}})
class SoftEdgeAnyline(Auxiliary):
    """Anyline (TheMisto.ai 2024): TEED's edges joined with the dark lines that differ from their blurred surroundings.

    For MistoLine, and wherever small drawn detail shall survive: diagrams, comics, patterns.
    """

    detector: ClassVar[Detector] = Detector("AnylineDetector", ANYLINE.files, (("filename", ANYLINE.files[0]),))
    weights: ClassVar[Weights] = ANYLINE
    needs: ClassVar[Needs] = needs_auxiliary(ANYLINE)
    meaning: ClassVar[Meaning] = SOFT
    side: ClassVar[int] = 1280

    sigma: float = knob(2.0, 0.5, 20, "blur that lines are compared with, in pixels")
    threshold: int = knob(3, 0, 255, "lines fainter than this do not set the contrast")

    def look(self, detector: Any, pixels: Any) -> Any:
        """H×W×3 RGB bytes → H×W×3."""
        told = {"guassian_sigma": self.sigma, "intensity_threshold": self.threshold}
        return detector(pixels, detect_resolution=min(pixels.shape[:2]), output_type="np", **told)


@annotator("mlsd", condition="lines")
class Mlsd(Auxiliary):
    """Straight lines by M-LSD (Gu et al. 2022, "Towards Light-weight and Real-time Line Segment Detection").

    Rooms, buildings, furniture: keeps the perspective and the straight edges, and forgets all that is round.
    """

    detector: ClassVar[Detector] = Detector("MLSDdetector", LINES.files)
    weights: ClassVar[Weights] = LINES
    needs: ClassVar[Needs] = needs_auxiliary(LINES)
    meaning: ClassVar[Meaning] = Meaning(channels=1, polarity="white segments on black", reduction="max", binary=True)

    score: float = knob(0.1, 0.01, 2, "lines that are less sure are dropped", usual=(0.05, 0.3))
    length: float = knob(0.1, 0.01, 200, "lines that are shorter are dropped, in units of two pixels", usual=(0.1, 20))

    def parameters(self) -> dict[str, Any]:
        """What the detector is told beside the picture."""
        return {"thr_v": self.score, "thr_d": self.length}


@annotator("lineart_realistic", condition="lineart", known_as={"lineart_coarse": {"coarse": True}})
class LineArtRealistic(Auxiliary):
    """Line art of photographs by "Informative Drawings" (Chan et al. 2022, arXiv 2203.12691).

    Drawn lines instead of edges: faces, folds and buildings as an illustrator would ink them.
    """

    detector: ClassVar[Detector] = Detector("LineartDetector", SKETCHES.files)
    weights: ClassVar[Weights] = SKETCHES
    needs: ClassVar[Needs] = needs_auxiliary(SKETCHES)
    meaning: ClassVar[Meaning] = DRAWN

    coarse: bool = knob(False, help="by the network of fewer and rougher lines")


@annotator("lineart_anime", condition="lineart_anime")
class LineArtAnime(Auxiliary):
    """Line art of anime pictures by Anime2Sketch (Xiang et al. 2021, arXiv 2104.05703).

    For the anime line art ControlNet, which wants a prompt in full.
    """

    detector: ClassVar[Detector] = Detector("LineartAnimeDetector", MANGA.files)
    weights: ClassVar[Weights] = MANGA
    needs: ClassVar[Needs] = needs_auxiliary(MANGA)
    meaning: ClassVar[Meaning] = DRAWN
