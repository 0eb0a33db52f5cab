"""The annotator: people in photographs as OpenPose's skeletons."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators.keypoints import Person, Poses
from underdraw.annotators.mediapipe.bodies import SEARCHES, Seen, find_bodies
from underdraw.annotators.mediapipe.details import find_face, find_hands
from underdraw.annotators.mediapipe.mapping import body_of, face_of, hand_of
from underdraw.annotators.mediapipe.models import EXTRA, PACKAGE, WHEEL
from underdraw.annotators.mediapipe.squares import Photograph
from underdraw.annotators.pose import SKELETON
from underdraw.annotators.protocol import Annotator, Meaning, Needs, annotator, knob
from underdraw.annotators.skeleton import STICK, draw_poses

__all__ = ["OpenposeMediapipe"]

LARGEST = 1280
"""Longest side in pixels at which a photograph is looked at, unless `resolution` says otherwise."""
FEWEST = 3
"""Somebody of whom fewer points of the body are seen is left out."""


@annotator(
    "openpose_mediapipe",
    condition="pose",
    known_as={"mediapipe_holistic": {}, "mediapipe_pose": {"hands": False, "face": False}},
)
class OpenposeMediapipe(Annotator):
    """People in a photograph as OpenPose's skeletons, found by MediaPipe's networks (BlazePose, Bazarevsky et al. 2020;
    hands, Zhang et al. 2020; face mesh, Kartynnik et al. 2019), which run on one core.

    Good for everything that `pose` is good for, from a photograph. Made for people of whom head and shoulders are seen;
    far and crowded ones are found by looking at tiles of the picture, those seen from behind or cut off often not.
    """

    meaning: ClassVar[Meaning] = SKELETON
    needs: ClassVar[Needs] = Needs((PACKAGE,), EXTRA, f"seven .tflite files out of the wheel {WHEEL}, Apache-2.0")

    body: bool = knob(True, help="draw bodies")
    hands: bool = knob(True, help="look for hands and draw them")
    face: bool = knob(True, help="look for faces and draw them")
    search: str = knob("usual", help="how finely far people are looked for", choices=tuple(SEARCHES))
    surety: float = knob(0.35, 0.1, 0.9, "people that look less like people are left out")
    visibility: float = knob(0.3, 0, 1, "points of the body that are less likely to be seen are left out")
    stick: int = knob(STICK, 1, 32, "half the width of a limb and radius of a point, in pixels", usual=(3, 5))

    def find(self, picture: Tensor, size: tuple[int, int] | None = None) -> Poses:
        """The people in a picture 1×3×H×W, the clearest first, in pixels of a drawing of `size` = (w, h).

        By default that is the picture's own size. Raises MissingExtra without the runtime, CheckpointError without the
        files.
        """
        size = size or self.extent(picture)
        part = images.crop(picture, size)
        photograph = Photograph(images.to_uint8(images.resize(part, self._looked_at(part), "area")[0]))
        people = [self._person(photograph, seen) for seen in find_bodies(photograph, self.search, self.surety)]
        clear = tuple(person for person in people if sum(point[2] > 0 for point in person.body) >= FEWEST)
        return Poses(clear, (photograph.width, photograph.height)).on(size)

    def map(self, source: Any, size: tuple[int, int] | None = None) -> Tensor:
        """The skeletons 1×3×h×w in a picture for a drawing of `size`: points are scaled, not pixels."""
        size = size or self.extent(source)
        poses = self.find(source, size)
        drawn = draw_poses(poses, size, body=self.body, hands=self.hands, face=self.face, stick=self.stick)
        return images.from_uint8(drawn)[None].to(source.device)

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×3×H×W RGB in [0, 1] → skeletons B×3×H×W."""
        return torch.cat([self.map(picture[None]) for picture in pictures])

    def _looked_at(self, part: Tensor) -> tuple[int, int]:
        """The (width, height) at which a picture is looked at: its own as a rule, whatever is drawn."""
        size = self.extent(part)
        scale = min(1.0, LARGEST / max(size))
        return self.native(size) if self.resolution else (round(size[0] * scale), round(size[1] * scale))

    def _person(self, photograph: Photograph, seen: Seen) -> Person:
        hands = find_hands(photograph, seen) if self.hands else {}
        face = find_face(photograph, seen) if self.face else None
        body = body_of(seen, photograph.width, photograph.height, self.visibility)
        return Person(body, hand_of(hands.get("left")), hand_of(hands.get("right")), face_of(face))
