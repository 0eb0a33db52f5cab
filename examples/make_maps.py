"""Draws the maps in `pictures/maps`: a segmentation, a pose and normals that no photograph is needed for.

Run: python examples/make_maps.py [FOLDER]
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from underdraw import images
from underdraw.annotators import PALETTES

SIDE = 512

# Outlines of an old house in the colours of ADE20K, from back to front.
HOUSE = [
    ("sky", [(0, 0), (512, 0), (512, 512), (0, 512)]),
    ("mountain", [(0, 300), (90, 235), (180, 290), (300, 225), (420, 280), (512, 240), (512, 512), (0, 512)]),
    ("grass", [(0, 372), (512, 356), (512, 512), (0, 512)]),
    ("tree", [(18, 380), (0, 250), (26, 150), (70, 118), (112, 168), (118, 262), (84, 330), (72, 396), (44, 398)]),
    ("house", [(150, 400), (150, 210), (240, 118), (330, 210), (330, 176), (400, 176), (440, 236), (440, 400)]),
    ("house", [(362, 180), (362, 138), (388, 138), (388, 180)]),
    ("windowpane", [(178, 232), (222, 232), (222, 282), (178, 282)]),
    ("windowpane", [(256, 232), (300, 232), (300, 282), (256, 282)]),
    ("windowpane", [(222, 164), (258, 164), (258, 198), (222, 198)]),
    ("windowpane", [(358, 258), (410, 258), (410, 312), (358, 312)]),
    ("door", [(212, 312), (262, 312), (262, 400), (212, 400)]),
    ("path", [(212, 400), (262, 400), (330, 512), (150, 512)]),
    ("fence", [(0, 408), (140, 402), (140, 430), (0, 440)]),
    ("fence", [(300, 404), (512, 396), (512, 424), (308, 432)]),
]

# A cook at the stove, from the waist up: OpenPose's 18 points, from the nose to the left ear.
CHEF = [
    *((256, 118), (256, 188), (190, 190), (146, 276), (196, 340), (322, 188), (374, 262), (404, 182)),
    *((216, 372), (0, 0), (0, 0), (300, 372), (0, 0), (0, 0)),
    *((240, 104), (272, 104), (218, 112), (294, 112)),
]


def house() -> torch.Tensor:
    colours = dict(zip(PALETTES["ade20k"].names, PALETTES["ade20k"].colours, strict=True))
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    for name, outline in HOUSE:
        cv2.fillPoly(picture, [np.array(outline, np.int32)], colours[name])
    return images.from_uint8(picture)


def chef() -> dict[str, object]:
    points = [number for x, y in CHEF for number in (x, y, float(x > 0))]
    return {"people": [{"pose_keypoints_2d": points}], "canvas_width": SIDE, "canvas_height": SIDE}


def head() -> torch.Tensor:
    """Normals of a bust with a wreath of balls for hair, red left, green up, blue to the viewer."""
    balls = [(256, 214, 0, 92, 122, 100), (256, 226, 92, 15, 26, 26), (256, 360, -20, 46, 110, 50)]
    balls += [
        (256, 520, -40, 210, 140, 110),
        (222, 206, 84, 16, 9, 10),
        (290, 206, 84, 16, 9, 10),
        (256, 272, 84, 28, 8, 10),
    ]
    rng = np.random.default_rng(3)
    for turn in np.linspace(np.pi * 1.02, np.pi * 1.98, 13):
        for reach in (0.86, 1.06):
            wobble = rng.uniform(-6, 6, 2)
            x, y = 256 + reach * 100 * np.cos(turn) + wobble[0], 196 + reach * 124 * np.sin(turn) + wobble[1]
            balls.append((x, y, 42 if reach < 1 else 8, 31, 31, 31))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    nearest = np.full((SIDE, SIDE), -np.inf)
    facing = np.zeros((3, SIDE, SIDE))
    facing[2] = 1
    for x, y, z, wide, high, deep in balls:
        across, down = (columns - x) / wide, (rows - y) / high
        inside = across**2 + down**2 < 1
        front = np.sqrt(np.clip(1 - across**2 - down**2, 0, None))
        seen = inside & (z + deep * front > nearest)
        normal = np.stack([across / wide, -down / high, front / deep])
        normal /= np.linalg.norm(normal, axis=0).clip(1e-12)
        facing[:, seen] = normal[:, seen]
        nearest[seen] = (z + deep * front)[seen]
    signs = np.array([-1.0, 1.0, 1.0])[:, None, None]
    return torch.from_numpy((signs * facing + 1) / 2).float()


def side(left: bool) -> torch.Tensor:
    """A mask of one half, soft in the middle."""
    ramp = ((torch.arange(SIDE) - SIDE / 2) / 32 + 0.5).clamp(0, 1).expand(1, SIDE, -1)
    return 1 - ramp if left else ramp


def main(folder: Path) -> None:
    """Write all of them."""
    images.write(side(left=True), folder / "left.png")
    images.write(side(left=False), folder / "right.png")
    images.write(house(), folder / "house-segmentation.png")
    images.write(head(), folder / "head-normal.png")
    (folder / "chef-pose.json").write_text(json.dumps(chef()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures" / "maps")
