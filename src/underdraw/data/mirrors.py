"""Mirrored maps: what left and right mean in a map turns with the picture."""

from dataclasses import replace

import torch
from torch import Tensor

from underdraw.annotators import ANNOTATORS, Pose
from underdraw.annotators.keypoints import Person, Point, Points, Poses
from underdraw.annotators.skeleton_reading import decode
from underdraw.data.encoding import to_bytes
from underdraw.data.sources import POSE

__all__ = ["MIRRORED", "draw_people", "mirror_map", "mirror_poses"]

MIRRORED: dict[int, tuple[int, ...]] = {
    18: (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16),
    21: tuple(range(21)),
    70: (
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *range(27, 31),  # bridge of the nose
        *range(35, 30, -1),  # its wings
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),  # lips
        *(69, 68),  # pupils
    ),
}
"""Which point takes the place of which in a mirror, by how many there are: a body, a hand (which becomes the other
one), a face."""


def mirror_map(kind: str, pixels: Tensor) -> Tensor:
    """A map C×H×W uint8 for the mirrored picture.

    Normals also turn their x, the first channel (black is nothing, and stays). Label maps stay what they are, for their
    colours name classes. Drawn bodies have other colours on the left than on the right: their points are read from the
    drawing, mirrored and drawn.
    """
    condition = ANNOTATORS[kind].condition if kind in ANNOTATORS else kind
    if condition == POSE:
        poses = decode(pixels.permute(1, 2, 0).numpy())
        return draw_people(mirror_poses(poses.on((pixels.shape[-1], pixels.shape[-2]))))
    turned = pixels.flip(-1)
    if not condition.startswith("normal"):
        return turned
    x = torch.where(turned.amax(0) > 0, 255 - turned[0], turned[0])
    return torch.cat([x[None], turned[1:]])


def draw_people(poses: Poses) -> Tensor:
    """Bodies as the annotator draws them on their canvas, 3×H×W uint8."""
    return to_bytes(Pose().draw(poses, poses.extent))[0]


def mirror_poses(poses: Poses) -> Poses:
    """People in the mirrored picture: x becomes width − x, and what was left is right. Shares stay shares."""
    width = 1.0 if poses.relative else float(poses.extent[0])

    def turn(points: Points) -> Points:
        turned: list[Point] = [(width - x if seen else x, y, seen) for x, y, seen in points]
        return tuple(turned[place] for place in MIRRORED[len(turned)]) if turned else ()

    people = (
        Person(turn(each.body), turn(each.right_hand), turn(each.left_hand), turn(each.face)) for each in poses.people
    )
    return replace(poses, people=tuple(people))
