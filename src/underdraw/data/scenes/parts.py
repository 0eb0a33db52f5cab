"""What a room is made of: frozen descriptions in metres, y up; no tensors and no randomness here."""

import math
from dataclasses import dataclass, field, replace

from underdraw.data.scenes.vocabulary import Rgb

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]
"""Rows of a rotation; columns are the local axes in the outer frame."""

BLOCK, ELLIPSOID, FRUSTUM, ROUND = range(4)
"""Shapes, with their four sizes: block (half x, half y, half z, top/bottom ratio) · ellipsoid (radius x, y, z, -) ·
frustum (bottom radius, top radius, half height, -), axis y · round cone (bottom radius, top radius, half distance of
the two centres, -), axis y."""

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def multiply(a: Matrix, b: Matrix) -> Matrix:
    """Matrix product a·b."""
    columns = turned_over(b)
    return turned_over((turn(a, columns[0]), turn(a, columns[1]), turn(a, columns[2])))


def turned_over(a: Matrix) -> Matrix:
    """The transpose."""
    (p, q, r), (s, t, u), (v, w, x) = a
    return ((p, s, v), (q, t, w), (r, u, x))


def turn(matrix: Matrix, v: Vector) -> Vector:
    """Matrix times vector."""
    a, b, c = matrix
    return (
        a[0] * v[0] + a[1] * v[1] + a[2] * v[2],
        b[0] * v[0] + b[1] * v[1] + b[2] * v[2],
        c[0] * v[0] + c[1] * v[1] + c[2] * v[2],
    )


def plus(a: Vector, b: Vector, scale: float = 1.0) -> Vector:
    """a + scale·b."""
    return (a[0] + scale * b[0], a[1] + scale * b[1], a[2] + scale * b[2])


def rotation(axis: str, degrees: float) -> Matrix:
    """Right-handed rotation about the x, y or z axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == "x":
        return ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c))
    if axis == "y":
        return ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c))
    return ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0))


def upright(direction: Vector) -> Matrix:
    """A rotation whose local y axis points along `direction` (need not be a unit vector)."""
    length = math.sqrt(sum(v * v for v in direction))
    y = (direction[0] / length, direction[1] / length, direction[2] / length)
    helper = (0.0, 0.0, 1.0) if abs(y[2]) < 0.9 else (1.0, 0.0, 0.0)
    x = (y[1] * helper[2] - y[2] * helper[1], y[2] * helper[0] - y[0] * helper[2], y[0] * helper[1] - y[1] * helper[0])
    norm = math.sqrt(sum(v * v for v in x))
    x = (x[0] / norm, x[1] / norm, x[2] / norm)
    z = (x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0])
    return ((x[0], y[0], z[0]), (x[1], y[1], z[1]), (x[2], y[2], z[2]))


@dataclass(frozen=True)
class Finish:
    """The surface of a part: a named colour and substance, two sRGB colours and a pattern with its period in metres."""

    colour: str
    substance: str
    rgb: Rgb
    second: Rgb
    pattern: str = "plain"
    period: float = 0.2
    glow: float = 0.0


@dataclass(frozen=True)
class Part:
    """One convex primitive. Parts that glow cast no shadow."""

    shape: int
    centre: Vector
    size: tuple[float, float, float, float]
    finish: Finish
    rotation: Matrix = IDENTITY

    def moved(self, rotation: Matrix, offset: Vector) -> "Part":
        """The part after turning the frame it lives in about the origin and shifting it."""
        return replace(
            self, centre=plus(turn(rotation, self.centre), offset), rotation=multiply(rotation, self.rotation)
        )

    @property
    def extent(self) -> Vector:
        """Half sizes of the bounding box in the part's own frame."""
        a, b, c, _ = self.size
        if self.shape in (BLOCK, ELLIPSOID):
            return (a, b, c)
        radius = max(a, b)
        return (radius, c + (radius if self.shape == ROUND else 0.0), radius)


@dataclass(frozen=True)
class Surface:
    """A horizontal place for small things: centre (x, height, z), half width and depth, free height above."""

    centre: Vector
    half: tuple[float, float]
    clearance: float = 9.0


@dataclass(frozen=True)
class Seat:
    """A place to sit that faces its thing's own +z: the middle of the front edge, at seat height."""

    front: Vector


@dataclass(frozen=True)
class Thing:
    """An object: until it is placed, parts in its own frame (footprint around the origin, on y = 0, facing +z).

    `finish` is what a caption says about it; `half` is the footprint; `on` is the index of the thing it stands on.
    """

    kind: str
    finish: Finish
    parts: tuple[Part, ...]
    half: tuple[float, float]
    height: float
    surfaces: tuple[Surface, ...] = ()
    seats: tuple[Seat, ...] = ()
    light: Vector | None = None
    on: int | None = None
    position: Vector = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    name: str = ""

    def placed(self, position: Vector, yaw: float, on: int | None = None) -> "Thing":
        """The thing standing at `position`, turned by `yaw` degrees about the vertical."""
        matrix = rotation("y", yaw)
        return replace(
            self,
            parts=tuple(part.moved(matrix, position) for part in self.parts),
            light=None if self.light is None else plus(turn(matrix, self.light), position),
            position=position,
            yaw=yaw,
            on=on,
        )


@dataclass(frozen=True)
class Window:
    """A rectangular hole in a wall: `wall` is one of back, left, right, front; `thing` its index among the things."""

    wall: str
    centre: Vector
    half: tuple[float, float]
    thing: int


@dataclass(frozen=True)
class Room:
    """The shell: inner corners and what floor, walls, ceiling and skirting are made of."""

    low: Vector
    high: Vector
    floor: Finish
    wall: Finish
    ceiling: Finish
    skirting: Rgb
    window: Window


@dataclass(frozen=True)
class Camera:
    """A pinhole: position, rotation (columns right, up, backward), angle of view in degrees across the shorter side."""

    position: Vector
    rotation: Matrix
    angle: float


@dataclass(frozen=True)
class Light:
    """The hour: a soft key light (window sky or lamp), a sun or moon, fill, and the view outside (linear colours)."""

    time_of_day: str
    key: Vector
    key_axes: tuple[Vector, Vector]
    key_rgb: Rgb
    key_normal: Vector | None
    sun: Vector
    sun_rgb: Rgb
    fill: Rgb
    sky: tuple[Rgb, Rgb, Rgb]
    outlook: float


@dataclass(frozen=True)
class Figure:
    """A mannequin: its thing, pose, and the 18 OpenPose points in metres with the flesh radius around each."""

    thing: int
    pose: str
    points: tuple[Vector, ...]
    radii: tuple[float, ...]
    outfit: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Scene:
    """Everything about one picture, decided by its seed; `render` draws it at any size on any device."""

    seed: int
    theme: str
    room: Room
    camera: Camera
    light: Light
    things: tuple[Thing, ...]
    figures: tuple[Figure, ...]
