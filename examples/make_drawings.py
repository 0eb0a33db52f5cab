"""Draws the drawings in `pictures/drawings`: strokes of a simulated hand (no person drew them).

Run: python examples/make_drawings.py [FOLDER]

A drawing is a list of strokes, a stroke a list of points that a smooth curve passes through, in a square of side 1 (x
to the right, y down). The hand trembles slowly, is a little out of place, and presses less at the ends of a stroke.
Pen drawings are white on black, thin, and can serve as edge maps as they are (`canny=FILE,map`); marker drawings are
dark on paper and are pictures like any other (`canny=FILE`). Hurried scribbles on squared paper and the window of a
drawing program look as if photographed and cut from a screen (`sketch=FILE`).
"""

import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = list[tuple[float, float]]
Curve = NDArray[np.float64]

SIDE = 512
FINE = 3
"""Drawn this many times larger, then averaged."""


def arc(x: float, y: float, across: float, down: float, begin: float = 0, end: float = 360) -> Points:
    """Points of an ellipse's arc, in degrees clockwise from the right; a whole one closes with a little overlap."""
    angles = np.radians(np.linspace(begin, end + (8 if end - begin == 360 else 0), 17))
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


def corners(*points: tuple[float, float]) -> list[Points]:
    """Straight strokes from corner to corner."""
    return [[begin, end] for begin, end in pairwise(points)]


def star() -> list[Points]:
    """Five points."""
    turns = [math.radians(36 * turn - 90) for turn in range(11)]
    reach = [0.42 if turn % 2 == 0 else 0.18 for turn in range(11)]
    return corners(*((0.5 + r * math.cos(a), 0.53 + r * math.sin(a)) for a, r in zip(turns, reach, strict=True)))


DRAWINGS: dict[str, list[Points]] = {
    "apple": [
        [(0.50, 0.30), (0.40, 0.25), (0.24, 0.29), (0.14, 0.46), (0.18, 0.68), (0.30, 0.85), (0.42, 0.90), (0.50, 0.87),
         (0.58, 0.90), (0.70, 0.85), (0.82, 0.68), (0.86, 0.46), (0.76, 0.29), (0.60, 0.25), (0.50, 0.30)],
        [(0.50, 0.30), (0.49, 0.20), (0.53, 0.10)],
        [(0.53, 0.20), (0.60, 0.10), (0.74, 0.09), (0.68, 0.19), (0.53, 0.20)],
    ],
    "cat": [
        [(0.20, 0.42), (0.19, 0.28), (0.22, 0.11)], [(0.22, 0.11), (0.30, 0.18), (0.39, 0.26)],
        [(0.39, 0.26), (0.50, 0.24), (0.61, 0.26)], [(0.61, 0.26), (0.70, 0.18), (0.78, 0.11)],
        [(0.78, 0.11), (0.81, 0.28), (0.80, 0.42)],
        [(0.80, 0.42), (0.87, 0.58), (0.80, 0.76), (0.64, 0.87), (0.50, 0.89), (0.36, 0.87), (0.20, 0.76), (0.13, 0.58),
         (0.20, 0.42)],
        arc(0.35, 0.53, 0.055, 0.075), arc(0.65, 0.53, 0.055, 0.075),
        [(0.46, 0.65), (0.54, 0.65), (0.50, 0.70), (0.46, 0.65)],
        [(0.50, 0.70), (0.49, 0.75), (0.43, 0.78), (0.38, 0.75)],
        [(0.50, 0.70), (0.51, 0.75), (0.57, 0.78), (0.62, 0.75)],
        [(0.27, 0.66), (0.06, 0.62)], [(0.27, 0.70), (0.07, 0.74)],
        [(0.73, 0.66), (0.94, 0.62)], [(0.73, 0.70), (0.93, 0.74)],
    ],
    "cup": [
        arc(0.43, 0.36, 0.29, 0.085), [(0.14, 0.36), (0.16, 0.56), (0.21, 0.74), (0.29, 0.84)],
        [(0.29, 0.84), (0.43, 0.87), (0.57, 0.84)], [(0.72, 0.36), (0.70, 0.56), (0.65, 0.74), (0.57, 0.84)],
        [(0.71, 0.44), (0.84, 0.42), (0.91, 0.52), (0.85, 0.65), (0.68, 0.69)],
        [(0.70, 0.51), (0.80, 0.50), (0.83, 0.55), (0.79, 0.61), (0.69, 0.62)],
        [(0.34, 0.22), (0.38, 0.17), (0.33, 0.12), (0.37, 0.06)],
        [(0.50, 0.22), (0.54, 0.17), (0.49, 0.12), (0.53, 0.06)],
    ],
    "fish": [
        [(0.72, 0.50), (0.58, 0.34), (0.40, 0.28), (0.20, 0.36), (0.08, 0.51), (0.20, 0.66), (0.40, 0.74), (0.58, 0.67),
         (0.72, 0.52)],
        [(0.71, 0.50), (0.82, 0.38), (0.93, 0.29)], [(0.93, 0.29), (0.88, 0.50), (0.93, 0.73)],
        [(0.93, 0.73), (0.82, 0.64), (0.71, 0.52)],
        arc(0.22, 0.46, 0.035, 0.035), [(0.33, 0.36), (0.38, 0.51), (0.33, 0.67)],
        [(0.36, 0.28), (0.46, 0.15), (0.60, 0.20), (0.56, 0.33)],
        [(0.46, 0.52), (0.57, 0.50), (0.54, 0.60), (0.46, 0.57)],
    ],
    "heart": [
        [(0.50, 0.31), (0.43, 0.19), (0.29, 0.14), (0.15, 0.23), (0.12, 0.41), (0.22, 0.60), (0.37, 0.76),
         (0.50, 0.89)],
        [(0.50, 0.31), (0.57, 0.19), (0.71, 0.14), (0.85, 0.23), (0.88, 0.41), (0.78, 0.60), (0.63, 0.76),
         (0.50, 0.89)],
    ],
    "house": [
        *corners((0.20, 0.46), (0.20, 0.88), (0.80, 0.88), (0.80, 0.46)),
        *corners((0.11, 0.48), (0.50, 0.13), (0.89, 0.48), (0.11, 0.48)),
        *corners((0.68, 0.29), (0.68, 0.14), (0.77, 0.14), (0.77, 0.37)),
        *corners((0.28, 0.88), (0.28, 0.60), (0.45, 0.60), (0.45, 0.88)),
        *corners((0.55, 0.58), (0.72, 0.58), (0.72, 0.75), (0.55, 0.75), (0.55, 0.58)),
        [(0.635, 0.58), (0.635, 0.75)], [(0.55, 0.665), (0.72, 0.665)],
    ],
    "mushroom": [
        [(0.10, 0.54), (0.14, 0.34), (0.28, 0.18), (0.50, 0.12), (0.72, 0.18), (0.86, 0.34), (0.90, 0.54)],
        [(0.10, 0.54), (0.28, 0.61), (0.50, 0.63), (0.72, 0.61), (0.90, 0.54)],
        [(0.40, 0.63), (0.39, 0.74), (0.35, 0.86)], [(0.60, 0.63), (0.61, 0.74), (0.65, 0.86)],
        [(0.35, 0.86), (0.50, 0.91), (0.65, 0.86)],
        arc(0.34, 0.36, 0.075, 0.07), arc(0.60, 0.29, 0.085, 0.075), arc(0.74, 0.47, 0.06, 0.055),
    ],
    "room": [
        *corners((0.04, 0.06), (0.22, 0.18), (0.22, 0.62), (0.04, 0.90)), [(0.22, 0.18), (0.96, 0.18)],
        [(0.22, 0.62), (0.96, 0.62)],
        *corners((0.32, 0.25), (0.54, 0.25), (0.54, 0.48), (0.32, 0.48), (0.32, 0.25)),
        [(0.43, 0.25), (0.43, 0.48)], [(0.32, 0.365), (0.54, 0.365)],
        *corners((0.42, 0.80), (0.54, 0.69), (0.92, 0.69), (0.86, 0.80), (0.42, 0.80)),
        [(0.45, 0.80), (0.45, 0.95)], [(0.83, 0.80), (0.83, 0.95)], [(0.90, 0.73), (0.90, 0.86)],
        *corners((0.63, 0.48), (0.81, 0.48), (0.76, 0.33), (0.68, 0.33), (0.63, 0.48)), [(0.72, 0.48), (0.72, 0.72)],
        [(0.67, 0.74), (0.77, 0.74)],
    ],
    "star": star(),
    "tree": [
        [(0.44, 0.62), (0.44, 0.78), (0.38, 0.91)], [(0.56, 0.62), (0.56, 0.78), (0.62, 0.91)],
        [(0.38, 0.91), (0.62, 0.91)],
        [(0.44, 0.63), (0.30, 0.66), (0.17, 0.59), (0.16, 0.46), (0.23, 0.40), (0.21, 0.27), (0.32, 0.18), (0.42, 0.19),
         (0.50, 0.10), (0.62, 0.12), (0.68, 0.20), (0.80, 0.25), (0.80, 0.38), (0.86, 0.48), (0.80, 0.61), (0.68, 0.66),
         (0.56, 0.63)],
    ],
    "umbrella": [
        [(0.08, 0.52), (0.14, 0.32), (0.30, 0.18), (0.50, 0.13), (0.70, 0.18), (0.86, 0.32), (0.92, 0.52)],
        [(0.08, 0.52), (0.18, 0.46), (0.29, 0.52)], [(0.29, 0.52), (0.40, 0.46), (0.50, 0.52)],
        [(0.50, 0.52), (0.60, 0.46), (0.71, 0.52)], [(0.71, 0.52), (0.82, 0.46), (0.92, 0.52)],
        [(0.50, 0.13), (0.34, 0.30), (0.29, 0.52)], [(0.50, 0.13), (0.66, 0.30), (0.71, 0.52)],
        [(0.50, 0.07), (0.50, 0.13)], [(0.50, 0.50), (0.50, 0.80), (0.46, 0.89), (0.37, 0.89), (0.34, 0.81)],
    ],
}  # fmt: skip

PENS = ("apple", "cat", "fish", "house", "mushroom", "room", "star", "umbrella")
MARKERS = ("cup", "heart", "tree")


def smooth(points: Points) -> Curve:
    """A Catmull-Rom spline through the points, about 250 places to a side."""
    knots = np.array([points[0], *points, points[-1]])
    pieces = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        t = np.linspace(0, 1, max(3, int(250 * np.hypot(*(c - b)))))[:, None]
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate(pieces)


def tremble(curve: Curve, chance: np.random.Generator) -> Curve:
    """Slow waves along the stroke, and the whole of it a little out of place and out of scale."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])[:, None]
    middle = curve.mean(0)
    moved: Curve = (curve - middle) * chance.normal(1.006, 0.008, 2) + middle + chance.normal(0, 0.0025, 2)
    for frequency in (9, 17, 31):
        moved += chance.normal(0, 0.0026, 2) * np.sin(along * frequency + chance.uniform(0, 6.3, 2))
    return moved


def strokes(name: str, chance: np.random.Generator, width: float) -> Image.Image:
    """The drawing of that name as coverage: a grey picture, white where the pen went."""
    return inked(DRAWINGS[name], chance, width)


def inked(lines: list[Points], chance: np.random.Generator, width: float) -> Image.Image:
    """Strokes as coverage."""
    sheet = Image.new("L", (SIDE * FINE, SIDE * FINE))
    pen = ImageDraw.Draw(sheet)
    for points in lines:
        curve = tremble(smooth(points), chance) * SIDE * FINE
        press = np.minimum(1, 0.7 + 6 * np.minimum(np.linspace(0, 1, len(curve)), np.linspace(1, 0, len(curve))))
        press = press * (1 + 0.12 * np.sin(np.linspace(0, chance.uniform(3, 9), len(curve))))
        for (x, y), radius in zip(curve, press * width * FINE / 2, strict=True):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return sheet.resize((SIDE, SIDE), Image.Resampling.BOX)


def pen_drawing(name: str, chance: np.random.Generator) -> Image.Image:
    """White on black."""
    return strokes(name, chance, width=3.4)


def marker_drawing(name: str, chance: np.random.Generator) -> Image.Image:
    """A dark marker on slightly yellow, slightly uneven paper."""
    ink = np.asarray(strokes(name, chance, width=13), np.float64)[..., None] / 255
    grain = Image.fromarray(chance.normal(128, 40, (SIDE, SIDE)).clip(0, 255).astype(np.uint8))
    rough = (np.asarray(grain.filter(ImageFilter.GaussianBlur(1.2)), np.float64)[..., None] - 128) / 128
    light = np.linspace(1.0, 0.94, SIDE)[:, None, None]
    paper = np.array([246, 242, 230]) * light + 14 * rough
    picture = paper * (1 - ink) + (np.array([38, 36, 46]) + 10 * rough) * ink
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def scribbled(name: str, chance: np.random.Generator, width: float) -> Image.Image:
    """A drawing in a hurry: the hand trembles thrice as much."""
    hurried = [tremble(tremble(tremble(smooth(points), chance), chance), chance) for points in DRAWINGS[name]]
    return inked([[tuple(point) for point in curve[::12]] for curve in hurried], chance, width)


def notebook(name: str, chance: np.random.Generator) -> Image.Image:
    """A photograph, as it were, of a pencil scribble on squared paper: turned a little, darker towards one corner."""
    ink = np.asarray(scribbled(name, chance, width=7), np.float64)[..., None] / 255
    squares = np.zeros((SIDE, SIDE, 1))
    squares[::32] = squares[:, ::32] = 1
    sheet = np.array([240, 238, 232.0]) * (1 - 0.22 * squares * np.array([1.0, 0.6, 0.2]))
    rough = chance.normal(0, 0.12, (SIDE, SIDE, 1))
    drawn = sheet * (1 - ink * (0.75 + rough)) + 62 * ink * (0.75 + rough)
    paper = Image.fromarray(drawn.clip(0, 255).astype(np.uint8))
    turned = np.asarray(paper.rotate(-4, Image.Resampling.BICUBIC, fillcolor=(96, 74, 56)), np.float64)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE][..., None] / SIDE
    lit = turned * (1.02 - 0.22 * rows - 0.10 * columns)
    return Image.fromarray((lit + chance.normal(0, 3, lit.shape)).clip(0, 255).astype(np.uint8))


def screenshot(name: str, chance: np.random.Generator) -> Image.Image:
    """The window of a made-up drawing program: a bar, tools, colours, and strokes of two pens on its white canvas."""
    window = Image.new("RGB", (680, 580), (232, 234, 238))
    pen = ImageDraw.Draw(window)
    pen.rectangle((0, 0, 680, 30), fill=(58, 64, 78))
    for place, fill in enumerate(((236, 96, 88), (244, 190, 80), (98, 200, 92))):
        pen.ellipse((12 + 22 * place, 9, 24 + 22 * place, 21), fill=fill)
    for place in range(7):
        pen.rounded_rectangle(
            (12, 48 + 46 * place, 48, 84 + 46 * place), 6, fill=(214, 218, 226), outline=(170, 176, 188)
        )
        pen.line((20, 76 + 46 * place, 40, 56 + 46 * place), fill=(70, 76, 92), width=1 + place)
    for place, fill in enumerate(((20, 20, 24), (40, 84, 190), (196, 48, 48), (52, 150, 72), (250, 200, 60))):
        pen.rectangle((12, 380 + 36 * place, 48, 408 + 36 * place), fill=fill, outline=(120, 124, 134))
    canvas = np.full((SIDE, SIDE, 3), 255.0)
    halves = DRAWINGS[name][: len(DRAWINGS[name]) // 2], DRAWINGS[name][len(DRAWINGS[name]) // 2 :]
    for lines, ink in zip(halves, ((40, 84, 190), (196, 48, 48)), strict=True):
        cover = np.asarray(inked(lines, chance, width=6), np.float64)[..., None] / 255
        canvas = canvas * (1 - cover) + np.array(ink, np.float64) * cover
    window.paste(Image.fromarray(canvas.astype(np.uint8)), (140, 48))
    return window


def main(folder: Path) -> None:
    """Write all drawings."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(sorted(DRAWINGS)):
        chance = np.random.default_rng(2000 + place)
        drawing = pen_drawing(name, chance) if name in PENS else marker_drawing(name, chance)
        drawing.save(folder / f"{name}.{'png' if name in PENS else 'jpg'}", quality=90)
    for name in ("fish", "cup"):
        notebook(name, np.random.default_rng(3000 + len(name))).save(folder / f"notebook-{name}.jpg", quality=90)
    screenshot("house", np.random.default_rng(4000)).save(folder / "screenshot-house.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures" / "drawings")
