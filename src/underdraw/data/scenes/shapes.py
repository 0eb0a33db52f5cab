"""Geometry of the four primitives in their own frames: first hit of a ray, normal, and distance.

Components come as tuples of tensors of one (broadcastable) shape. Origins lie outside; a miss is infinity.
"""

import math

import torch
from torch import Tensor

from underdraw.data.scenes.parts import BLOCK, ELLIPSOID, FRUSTUM, ROUND

Triple = tuple[Tensor, Tensor, Tensor]
Size = tuple[Tensor, Tensor, Tensor, Tensor]
FAR = math.inf


def first_hit(shape: int, origin: Triple, direction: Triple, size: Size) -> Tensor:
    """Smallest t ≥ 0 at which origin + t·direction meets the primitive, else infinity."""
    return _HITS[shape](origin, direction, size)


def normal(shape: int, point: Triple, size: Size) -> Triple:
    """Outward unit normal at a point of (or near) the surface."""
    return _NORMALS[shape](point, size)


def distance(shape: int, point: Triple, size: Size) -> Tensor:
    """Signed distance to the surface, negative inside: exact near the faces, never too large for blocks and frusta, a
    first-order estimate for ellipsoids."""
    return _DISTANCES[shape](point, size)


def _block_sides(size: Size) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Unit normals (outward, up) of the x and z sides, and their offsets from the centre."""
    x, y, z, ratio = size
    lean_x, lean_z, rise = x * (1 - ratio), z * (1 - ratio), 2 * y
    norm_x, norm_z = torch.rsqrt(rise * rise + lean_x * lean_x), torch.rsqrt(rise * rise + lean_z * lean_z)
    out_x, up_x, out_z, up_z = rise * norm_x, lean_x * norm_x, rise * norm_z, lean_z * norm_z
    return out_x, up_x, x * out_x - y * up_x, out_z, up_z, z * out_z - y * up_z


def _block_hit(origin: Triple, direction: Triple, size: Size) -> Tensor:
    """Three pairs of planes: the last entry comes before the first exit."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    out_x, up_x, reach_x, out_z, up_z, reach_z = _block_sides(size)
    enter = torch.full_like(dx * ox, -FAR)
    leave = torch.full_like(enter, FAR)
    planes = (
        (out_x * ox + up_x * oy - reach_x, out_x * dx + up_x * dy),
        (up_x * oy - out_x * ox - reach_x, up_x * dy - out_x * dx),
        (out_z * oz + up_z * oy - reach_z, out_z * dz + up_z * dy),
        (up_z * oy - out_z * oz - reach_z, up_z * dy - out_z * dz),
        (oy - size[1], dy),
        (-oy - size[1], -dy),
    )
    for above, slope in planes:
        t = -above / torch.where(slope.abs() < 1e-9, 1e-9, slope)
        facing = slope < 0
        enter = torch.where(facing, torch.maximum(enter, t), enter)
        leave = torch.where(facing, leave, torch.minimum(leave, t))
    return torch.where((enter <= leave) & (enter >= 0), enter, FAR)


def _block_normal(point: Triple, size: Size) -> Triple:
    px, py, pz = point
    out_x, up_x, reach_x, out_z, up_z, reach_z = _block_sides(size)
    side_x = out_x * px.abs() + up_x * py - reach_x
    side_z = out_z * pz.abs() + up_z * py - reach_z
    cap = py.abs() - size[1]
    is_x = (side_x >= side_z) & (side_x >= cap)
    is_z = ~is_x & (side_z >= cap)
    zero = torch.zeros_like(px)
    nx = torch.where(is_x, torch.copysign(out_x, px), zero)
    nz = torch.where(is_z, torch.copysign(out_z, pz), zero)
    ny = torch.where(is_x, up_x, torch.where(is_z, up_z, torch.copysign(torch.ones_like(py), py)))
    return nx, ny, nz


def _block_distance(point: Triple, size: Size) -> Tensor:
    px, py, pz = point
    out_x, up_x, reach_x, out_z, up_z, reach_z = _block_sides(size)
    side_x = out_x * px.abs() + up_x * py - reach_x
    side_z = out_z * pz.abs() + up_z * py - reach_z
    return torch.maximum(torch.maximum(side_x, side_z), py.abs() - size[1])


def _sphere_hit(origin: Triple, direction: Triple, radius: Tensor | float) -> Tensor:
    """Nearest root of |origin + t·direction|² = radius² that is not negative."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - radius * radius
    inside = b * b - a * c
    t = (-b - inside.clamp_min(0).sqrt()) / a
    return torch.where((inside >= 0) & (t >= 0), t, FAR)


def _ellipsoid_hit(origin: Triple, direction: Triple, size: Size) -> Tensor:
    ix, iy, iz = size[0].reciprocal(), size[1].reciprocal(), size[2].reciprocal()
    scaled = (origin[0] * ix, origin[1] * iy, origin[2] * iz)
    return _sphere_hit(scaled, (direction[0] * ix, direction[1] * iy, direction[2] * iz), 1.0)


def _ellipsoid_normal(point: Triple, size: Size) -> Triple:
    return _unit((point[0] / size[0] ** 2, point[1] / size[1] ** 2, point[2] / size[2] ** 2))


def _ellipsoid_distance(point: Triple, size: Size) -> Tensor:
    """k₀(k₀ - 1)/k₁ with k₀ = |p/r| and k₁ = |p/r²|: exact on spheres, to first order elsewhere."""
    scaled = (point[0] / size[0], point[1] / size[1], point[2] / size[2])
    twice = (scaled[0] / size[0], scaled[1] / size[1], scaled[2] / size[2])
    k0, k1 = _length(scaled), _length(twice)
    return k0 * (k0 - 1) / k1.clamp_min(1e-9)


def _cone_side(origin: Triple, direction: Triple, middle: Tensor, slope: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Nearest hit with ρ = middle + slope·y for low ≤ y ≤ high."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    at, fall = middle + slope * oy, slope * dy
    a = dx * dx + dz * dz - fall * fall
    b = ox * dx + oz * dz - at * fall
    c = ox * ox + oz * oz - at * at
    root = (b * b - a * c).clamp_min(0).sqrt()
    hit = b * b - a * c >= 0
    a = torch.where(a.abs() < 1e-12, 1e-12, a)
    nearest = torch.full_like(root, FAR)
    for t in ((-b - root) / a, (-b + root) / a):
        y = oy + t * dy
        valid = hit & (t >= 0) & (y >= low) & (y <= high)
        nearest = torch.where(valid, torch.minimum(nearest, t), nearest)
    return nearest


def _frustum_hit(origin: Triple, direction: Triple, size: Size) -> Tensor:
    bottom, top, half, _ = size
    slope = (top - bottom) / (2 * half)
    nearest = _cone_side(origin, direction, (bottom + top) / 2, slope, -half, half)
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    dy = torch.where(dy.abs() < 1e-9, 1e-9, dy)
    for height, radius in ((-half, bottom), (half, top)):
        t = (height - oy) / dy
        x, z = ox + t * dx, oz + t * dz
        nearest = torch.where((t >= 0) & (x * x + z * z <= radius * radius), torch.minimum(nearest, t), nearest)
    return nearest


def _frustum_side(point: Triple, size: Size) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Radius from the axis, distance to the side, and the side normal's outward and upward parts."""
    bottom, top, half, _ = size
    slope = (top - bottom) / (2 * half)
    outward = torch.rsqrt(1 + slope * slope)
    radius = (point[0] ** 2 + point[2] ** 2).sqrt()
    return radius, (radius - (bottom + top) / 2 - slope * point[1]) * outward, outward, -slope * outward


def _frustum_normal(point: Triple, size: Size) -> Triple:
    radius, side, outward, upward = _frustum_side(point, size)
    cap = point[1].abs() - size[2]
    on_side = side >= cap
    share = torch.where(on_side, outward / radius.clamp_min(1e-9), 0.0)
    up = torch.where(on_side, upward, torch.copysign(torch.ones_like(side), point[1]))
    return point[0] * share, up, point[2] * share


def _frustum_distance(point: Triple, size: Size) -> Tensor:
    _, side, _, _ = _frustum_side(point, size)
    return torch.maximum(side, point[1].abs() - size[2])


def _round_hit(origin: Triple, direction: Triple, size: Size) -> Tensor:
    """The hull of two spheres: both spheres and the cone that touches them."""
    bottom, top, half, _ = size
    sine = (bottom - top) / (2 * half)
    cosine = (1 - sine * sine).sqrt()
    low, high = -half + bottom * sine, half + top * sine
    slope = -sine / cosine
    nearest = _cone_side(origin, direction, bottom * cosine - slope * low, slope, low, high)
    for height, radius in ((-half, bottom), (half, top)):
        nearest = torch.minimum(nearest, _sphere_hit((origin[0], origin[1] - height, origin[2]), direction, radius))
    return nearest


def _round_axis(point: Triple, size: Size) -> Tensor:
    """Height on the axis from which the surface normal at a point starts, within the two centres."""
    bottom, top, half, _ = size
    sine = (bottom - top) / (2 * half)
    radius = (point[0] ** 2 + point[2] ** 2).sqrt()
    foot = point[1] - radius * sine / (1 - sine * sine).sqrt()
    return torch.minimum(torch.maximum(foot, -half), half)


def _round_normal(point: Triple, size: Size) -> Triple:
    return _unit((point[0], point[1] - _round_axis(point, size), point[2]))


def _round_distance(point: Triple, size: Size) -> Tensor:
    bottom, top, half, _ = size
    foot = _round_axis(point, size)
    radius = bottom + (top - bottom) * (foot + half) / (2 * half)
    return _length((point[0], point[1] - foot, point[2])) - radius


def _length(v: Triple) -> Tensor:
    return (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt()


def _unit(v: Triple) -> Triple:
    scale = torch.rsqrt((v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).clamp_min(1e-20))
    return v[0] * scale, v[1] * scale, v[2] * scale


_HITS = {BLOCK: _block_hit, ELLIPSOID: _ellipsoid_hit, FRUSTUM: _frustum_hit, ROUND: _round_hit}
_NORMALS = {BLOCK: _block_normal, ELLIPSOID: _ellipsoid_normal, FRUSTUM: _frustum_normal, ROUND: _round_normal}
_DISTANCES = {
    BLOCK: _block_distance,
    ELLIPSOID: _ellipsoid_distance,
    FRUSTUM: _frustum_distance,
    ROUND: _round_distance,
}
