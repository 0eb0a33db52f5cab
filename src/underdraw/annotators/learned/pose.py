"""People that networks see in a photograph, drawn as OpenPose draws them."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators.keypoint_files import COCO
from underdraw.annotators.keypoints import BODY, FACE, HAND, Person, Point, Points, Poses
from underdraw.annotators.learned.auxiliary import Detector, files_of, hushed, needs_auxiliary, require_auxiliary
from underdraw.annotators.learned.fetching import provide
from underdraw.annotators.learned.networks import (
    Learned,
    Network,
    TransformersFolder,
    asks_for,
    framed,
    model_knob,
    open_once,
)
from underdraw.annotators.learned.weights import Weights
from underdraw.annotators.pose import SKELETON
from underdraw.annotators.protocol import Meaning, Needs, annotator, knob
from underdraw.annotators.skeleton import STICK, draw_poses

__all__ = ["OpenPose", "Posed", "VitPose", "body_from_coco"]

NOWHERE: Point = (0.0, 0.0, 0.0)
VITPOSE = {
    "base": Weights(
        "usyd-community/vitpose-base-simple", "Apache-2.0", 344, "a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45"
    ),
    "plus_small": Weights(
        "usyd-community/vitpose-plus-small", "Apache-2.0", 133, "0c30b6534bb621af0162b481176742577264e36e"
    ),
    "plus_base": Weights(
        "usyd-community/vitpose-plus-base", "Apache-2.0", 500, "92be54d7a29e42fad47b6e2ca01dd9e685a61e0d"
    ),
    "plus_large": Weights(
        "usyd-community/vitpose-plus-large", "Apache-2.0", 1740, "e211df377e49c89dba508ab3e83ddef13c0832b4"
    ),
}
DETECTORS = {
    "rtdetr": Weights("PekingU/rtdetr_r50vd_coco_o365", "Apache-2.0", 172, "457857cec8ac28ddede40ecee9eed2beca321af8"),
    "rtdetr_small": Weights("PekingU/rtdetr_r18vd", "Apache-2.0", 81, "ac77a11ff0170a41b771c03264987f8ce2b0d753"),
}
BOXES = TransformersFolder("AutoModelForObjectDetection")
POINTS = TransformersFolder("VitPoseForPoseEstimation")
OPENPOSE = files_of(
    "body_pose_model.pth", "hand_pose_model.pth", "facenet.pth", megabytes=510, licence="CMU, not for commercial use"
)


class Posed(Learned):
    """People found by networks. `find` says where their points are; the map is drawn at the drawing's own size."""

    meaning: ClassVar[Meaning] = SKELETON
    side: ClassVar[int] = 512
    stick: int

    @abstractmethod
    def people(self, picture: Tensor) -> tuple[Person, ...]:
        """Who is in a picture 1×3×H×W; points in its pixels."""

    @torch.no_grad()
    def find(self, picture: Tensor, size: tuple[int, int] | None = None) -> Poses:
        """The people in a picture 1×3×H×W, in pixels of a drawing of `size` = (w, h), by default the picture's."""
        size = size or self.extent(picture)
        seen = images.resize(images.crop(picture, size), self.native(size), "area")
        return Poses(self.people(framed(seen)), (seen.shape[-1], seen.shape[-2])).on(size)

    def map(self, source: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The drawing 1×3×h×w of the people in a picture, with limbs as wide as they are published at any size."""
        size = size or self.extent(source)
        return self._drawn(self.find(source, size), size).to(source.device)

    def draw(self, picture: Tensor) -> Tensor:
        """One picture 1×3×H×W → the drawing of its people 1×3×H×W."""
        size = self.extent(picture)
        return self._drawn(Poses(self.people(picture), size), size).to(picture.device)

    def _drawn(self, poses: Poses, size: tuple[int, int]) -> Tensor:
        return images.from_uint8(draw_poses(poses, size, stick=self.stick))[None]


@annotator("pose_vitpose", condition="pose", known_as={"vitpose": {}})
class VitPose(Posed):
    """Bodies of 18 points by ViTPose (Xu et al. 2022, arXiv 2204.12484) in the boxes of RT-DETR (arXiv 2304.08069).

    Who stands, sits or moves how, whatever they look like. Neither hands nor faces; free for any use.
    """

    models: ClassVar[Mapping[str, Weights]] = VITPOSE
    needs: ClassVar[Needs] = asks_for(VITPOSE, DETECTORS)

    model: str = model_knob(VITPOSE)
    detector: str = model_knob(DETECTORS, "the published model that finds people, or a folder of one's own")
    surety: float = knob(0.3, 0.01, 1, "people that are less sure are left out", usual=(0.3, 0.5))
    visibility: float = knob(0.3, 0, 1, "points that are less sure are left out", usual=(0.2, 0.4))
    crowd: int = knob(20, 1, 100, "at most that many people, the surest ones")
    stick: int = knob(STICK, 1, 32, "half the width of a limb, in pixels")

    def people(self, picture: Tensor) -> tuple[Person, ...]:
        """Who is in a picture 1×3×H×W; points in its pixels."""
        finds = self.network(BOXES, self.detector, picture.device, DETECTORS)
        boxes = _people_in(finds, picture, self.surety)[: self.crowd]
        if not boxes:
            return ()
        network = self.network(POINTS, self.model, picture.device)
        return tuple(Person(body) for body in _bodies(network, picture, boxes, self.visibility))


def _people_in(network: Network, picture: Tensor, surety: float) -> list[list[float]]:
    """Boxes (left, top, width, height) in pixels of the people in a picture 1×3×H×W, the surest first."""
    said = network.model(**network.prepare(picture))
    network.sound(said.logits)
    height, width = picture.shape[-2:]
    found = network.processor.post_process_object_detection(said, threshold=surety, target_sizes=[(height, width)])[0]
    person = network.model.config.label2id.get("person", 0)
    rows = found["boxes"][found["labels"] == person].cpu()
    left, top = rows[:, 0].clamp(0, width), rows[:, 1].clamp(0, height)
    across, down = rows[:, 2].clamp(0, width) - left, rows[:, 3].clamp(0, height) - top
    boxes = torch.stack([left, top, across, down], 1)
    kept: list[list[float]] = boxes[(across >= 2) & (down >= 2)].tolist()
    return kept


def _bodies(network: Network, picture: Tensor, boxes: list[list[float]], visibility: float) -> Iterable[Points]:
    """The body of 18 points in each box."""
    given = network.prepare(picture, boxes=[boxes])
    experts = getattr(network.model.config.backbone_config, "num_experts", 1)
    which = {"dataset_index": torch.zeros(len(boxes), dtype=torch.long, device=picture.device)} if experts > 1 else {}
    said = network.model(**given, **which)
    network.sound(said.heatmaps)
    for found in network.processor.post_process_pose_estimation(said, boxes=[boxes])[0]:
        rows = zip(found["keypoints"].tolist(), found["scores"].tolist(), strict=True)
        yield body_from_coco([_seen(x, y, score, picture, visibility) for (x, y), score in rows])


def _seen(x: float, y: float, score: float, picture: Tensor, visibility: float) -> Point:
    """A point, if it is sure enough and in the picture or just outside."""
    height, width = picture.shape[-2:]
    near = math.isfinite(x + y) and -width <= x <= 2 * width and -height <= y <= 2 * height
    return (x, y, min(score, 1.0)) if near and score > max(visibility, 0.0) else NOWHERE


def body_from_coco(points: Iterable[Point]) -> Points:
    """COCO's 17 points in its order → OpenPose's 18; the neck is half-way between the shoulders, if both are there."""
    named = dict(zip(COCO, points, strict=True))
    (x0, y0, first), (x1, y1, second) = named["right shoulder"], named["left shoulder"]
    sure = min(first, second)
    named["neck"] = ((x0 + x1) / 2, (y0 + y1) / 2, sure) if sure > 0 else NOWHERE
    return tuple(named[name] for name in BODY)


@annotator(
    "openpose",
    condition="pose",
    known_as={
        "openpose_hand": {"hands": True},
        "openpose_face": {"face": True},
        "openpose_faceonly": {"body": False, "face": True},
        "openpose_full": {"hands": True, "face": True},
    },
)
class OpenPose(Posed):
    """Bodies, hands and faces by OpenPose (Cao et al. 2019, arXiv 1812.08008), through controlnet_aux.

    What the pose ControlNets were trained with. Who stands or moves how, with gestures and looks where hands and faces
    are asked for; not for commercial use.
    """

    weights: ClassVar[Weights] = OPENPOSE
    needs: ClassVar[Needs] = needs_auxiliary(OPENPOSE)
    detector: ClassVar[Detector] = Detector("OpenposeDetector", OPENPOSE.files)

    body: bool = knob(True, help="draw bodies")
    hands: bool = knob(False, help="look for hands, and draw them")
    face: bool = knob(False, help="look for faces, and draw them")
    stick: int = knob(STICK, 1, 32, "half the width of a limb, in pixels")

    def people(self, picture: Tensor) -> tuple[Person, ...]:
        """Who is in a picture 1×3×H×W; points in its pixels."""
        require_auxiliary()
        detector = open_once(self.detector, provide(self.weights, self.kind), picture.device, self.weights)
        pixels = np.ascontiguousarray(images.to_uint8(picture[0]))
        with hushed():
            found = detector.detect_poses(pixels, include_hand=self.hands, include_face=self.face)
        return tuple(self._person(each, self.extent(picture)) for each in found)

    def _person(self, found: Any, size: tuple[int, int]) -> Person:
        return Person(
            _points(found.body.keypoints, len(BODY), size) if self.body else (),
            _points(found.left_hand, HAND, size),
            _points(found.right_hand, HAND, size),
            _points(found.face, FACE, size),
        )


def _points(found: Any, count: int, size: tuple[int, int]) -> Points:
    """A part's points from shares of the picture, None or below 0 where one is missing; none where the part is."""
    if found is None:
        return ()
    there = [NOWHERE if at is None or at.x < 0 or at.y < 0 else (at.x * size[0], at.y * size[1], 1.0) for at in found]
    return tuple((there + [NOWHERE] * count)[:count])
