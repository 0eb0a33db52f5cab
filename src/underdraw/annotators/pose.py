"""Pose: skeletons drawn from keypoints that somebody brings."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators.keypoint_files import read_poses
from underdraw.annotators.keypoints import Poses
from underdraw.annotators.protocol import ANNOTATORS, Annotator, Meaning, annotator, knob
from underdraw.annotators.skeleton import PALETTE, STICK, draw_poses, thinned
from underdraw.annotators.skeleton_discs import foreign
from underdraw.annotators.skeleton_reading import decode
from underdraw.errors import InputError

__all__ = ["SKELETON", "Pose"]

SKELETON = Meaning(
    channels=3, polarity="coloured skeletons on black (OpenPose's 18 points)", reduction="nearest", palette=PALETTE
)
"""What a map of people's poses says."""
STRAY = 0.02
"""Largest share of other colours in a picture that is taken for a drawn skeleton."""


@annotator("pose")
class Pose(Annotator):
    """Skeletons of people as OpenPose's annotator in ControlNet 1.1 draws them, from given keypoints: a coloured disc
    for each of 18 points of the body, a darker ellipse for each limb, hands as rainbows, faces as white dots.

    Good for saying how people stand, sit and gesture, how many there are and where, whatever they look like.

    Takes keypoints in a file (OpenPose's or COCO's JSON); a drawn skeleton is drawn anew from the points of its bodies.
    What a photograph shows takes a learned annotator.
    """

    meaning: ClassVar[Meaning] = SKELETON
    suffixes: ClassVar[tuple[str, ...]] = (*images.SUFFIXES, ".json")

    body: bool = knob(True, help="draw bodies")
    hands: bool = knob(True, help="draw hands, where they are given")
    face: bool = knob(True, help="draw faces, where they are given")
    stick: int = knob(
        STICK, 1, 32, "half the width of a limb and radius of a point, in pixels; fewer in small drawings", usual=(3, 5)
    )

    def read(self, path: str | Path) -> Any:
        """Poses from `.json`; a picture 1×3×H×W otherwise."""
        return read_poses(path) if Path(path).suffix.lower() == ".json" else images.read(path)

    def extent(self, source: Any) -> tuple[int, int]:
        """The (width, height) of the keypoints' canvas, or of a picture."""
        return source.extent if isinstance(source, Poses) else super().extent(source)

    def map(self, source: Any, size: tuple[int, int] | None = None) -> Tensor:
        """The skeletons of `Poses` (or of one drawn already) for a drawing of `size`: points are scaled, not pixels.

        Raises InputError for a photograph.
        """
        size = size or self.extent(source)
        poses = source if isinstance(source, Poses) else self._poses_in(source[0])
        return images.resize(self.draw(poses.on(size), self.native(size)), size, self.meaning.reduction)

    def draw(self, poses: Poses, size: tuple[int, int]) -> Tensor:
        """The skeletons 1×3×h×w."""
        stick = thinned(self.stick, size)
        drawn = draw_poses(poses, size, body=self.body, hands=self.hands, face=self.face, stick=stick)
        return images.from_uint8(drawn)[None]

    def __call__(self, pictures: Tensor) -> Tensor:
        """Drawn skeletons B×3×H×W → the same drawn anew. Raises InputError for photographs."""
        size = pictures.shape[-1], pictures.shape[-2]
        return torch.cat([self.draw(self._poses_in(picture), size) for picture in pictures]).to(pictures.device)

    def _poses_in(self, picture: Tensor) -> Poses:
        pixels = images.to_uint8(picture)
        poses = decode(pixels) if foreign(pixels) <= STRAY else Poses()
        if not poses.people and pixels.max() > 0:
            raise InputError(
                f"poses cannot be seen in a photograph without a learned annotator: take {_learned()}; "
                "or give keypoints: pose=FILE.json"
            )
        return poses


def _learned() -> str:
    """The annotators that find poses in photographs, and how to install what they need."""
    parts = [ANNOTATORS[kind] for kind in ANNOTATORS]
    able = [part for part in parts if part.condition == Pose.condition and part is not Pose]
    return ", ".join(_asked(part) for part in able)


def _asked(part: type[Annotator]) -> str:
    return f"{part.kind} (pip install 'underdraw[{part.needs.extra}]')" if part.needs.extra else part.kind
