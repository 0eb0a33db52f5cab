"""What every ray of the camera meets first: the shell for all rays, each part only inside its rectangle on the screen.

A ray is eye + t·(u·right + v·up + forward), so t is the depth in metres along the optical axis.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.data.scenes.parts import BLOCK, ROUND
from underdraw.data.scenes.shapes import first_hit
from underdraw.data.scenes.world import World

OFFSETS = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))
"""Samples within a pixel: its centre (labels and truth), then four for colour."""
NEAR = 0.05


@dataclass(frozen=True)
class Hits:
    """For every sample (B×S×H×W): depth in metres, row of the part, screen coordinates u and v (see `screen`)."""

    depth: Tensor
    part: Tensor
    u: Tensor
    v: Tensor


def screen(world: World, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Screen coordinates u (right) and v (up) at depth 1 of every sample, B×S×H×W."""
    offsets = torch.tensor(OFFSETS, device=world.device)
    half = min(width, height) / 2
    x = torch.arange(width, device=world.device) + offsets[:, 0, None] - width / 2
    y = height / 2 - torch.arange(height, device=world.device) - offsets[:, 1, None]
    scale = 1 / (half * world.focal)[:, None, None, None]
    shape = (world.count, len(OFFSETS), height, width)
    return (x[None, :, None, :] * scale).expand(shape), (y[None, :, :, None] * scale).expand(shape)


def trace(world: World, width: int, height: int) -> Hits:
    """First hits of all samples."""
    u, v = screen(world, width, height)
    keys = _shell_keys(world, u, v)
    boxes = _rectangles(world, width, height)
    for shape in range(BLOCK, ROUND + 1):
        _draw(world, shape, boxes, keys, width, height)
    depth = (keys >> 16).to(torch.int32).view(torch.float32)
    return Hits(depth, keys & 0xFFFF, u, v)


def _key(t: Tensor, part: Tensor) -> Tensor:
    """Depth and part in one integer whose order is the order of depth: the least one wins, ties by the lower part."""
    return (t.view(torch.int32).to(torch.int64) << 16) | part


def _shell_keys(world: World, u: Tensor, v: Tensor) -> Tensor:
    """The walls, seen from inside: the nearest exit of the room's box."""
    nearest = torch.full(u.shape, torch.inf, device=u.device)
    part = torch.zeros(u.shape, dtype=torch.int64, device=u.device)
    pairs = ((0, 4, 5), (1, 0, 1), (2, 2, 3))
    for axis, low_row, high_row in pairs:
        right, up, forward = (world.gaze[row * 3 + axis][:, None, None, None] for row in range(3))
        slope = right * u + up * v + forward
        eye, low, high = (value[axis][:, None, None, None] for value in (world.eye, world.room[0], world.room[1]))
        t = torch.where(slope < 0, low - eye, high - eye) / torch.where(slope.abs() < 1e-9, 1e-9, slope)
        row = torch.where(slope < 0, low_row, high_row)
        part = torch.where(t < nearest, row, part)
        nearest = torch.minimum(nearest, t)
    return _key(nearest, part)


def camera_frame(world: World, points: Tensor) -> Tensor:
    """Room coordinates 3×B×… to camera coordinates 3×B×… (right, up, forward)."""
    tail = (slice(None), slice(None), *([None] * (points.dim() - 2)))
    d = points - world.eye[tail]
    rows = [world.gaze[3 * i : 3 * i + 3][tail] for i in range(3)]
    return torch.stack([row[0] * d[0] + row[1] * d[1] + row[2] * d[2] for row in rows])


def _rectangles(world: World, width: int, height: int) -> Tensor:
    """Pixel rectangles (x0, y0, columns, rows)×B×P around the projected bounding boxes; empty where out of sight."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], device=world.device)] * 3).t()
    local = world.extent[..., None] * signs[:, None, None, :]
    corners = torch.stack(
        [
            sum(world.rotation[3 * i + j][..., None] * local[j] for j in range(3)) + world.centre[i][..., None]
            for i in range(3)
        ]
    )
    right, up, forward = camera_frame(world, corners)
    scale = (world.focal * min(width, height) / 2)[:, None, None]
    depth = forward.clamp_min(NEAR)
    x, y = width / 2 + right / depth * scale, height / 2 - up / depth * scale
    behind = (forward < NEAR).any(-1)
    gone = (forward < NEAR).all(-1) | (world.shape >= 4)

    def span(values: Tensor, size: int) -> tuple[Tensor, Tensor]:
        low = torch.where(behind, 0, values.amin(-1).floor().clamp(-1, size).long() - 1).clamp(0, size)
        high = torch.where(behind, size, values.amax(-1).ceil().clamp(-1, size).long() + 1).clamp(0, size)
        return low, torch.where(gone, 0, (high - low).clamp_min(0))

    (x0, columns), (y0, rows) = span(x, width), span(y, height)
    return torch.stack([x0, y0, columns, rows])


def _draw(world: World, shape: int, boxes: Tensor, keys: Tensor, width: int, height: int) -> None:
    """Trace all parts of one shape inside their rectangles; keeps the least key of every sample."""
    scene, part = ((world.shape == shape) & (boxes[2] * boxes[3] > 0)).nonzero(as_tuple=True)
    if scene.numel() == 0:
        return
    x0, y0, columns, rows = boxes[:, scene, part]
    counts = columns * rows
    owner = torch.repeat_interleave(counts)
    within = torch.arange(owner.numel(), device=owner.device) - (counts.cumsum(0) - counts)[owner]
    x, y = x0[owner] + within % columns[owner], y0[owner] + within // columns[owner]
    rotation = world.rotation[:, scene, part]
    gaze, eye = world.gaze[:, scene], world.eye[:, scene] - world.centre[:, scene, part]
    origin = torch.stack([rotation[i] * eye[0] + rotation[i + 3] * eye[1] + rotation[i + 6] * eye[2] for i in range(3)])
    axes = [
        rotation[i] * gaze[3 * j] + rotation[i + 3] * gaze[3 * j + 1] + rotation[i + 6] * gaze[3 * j + 2]
        for i in range(3)
        for j in range(3)
    ]
    table = torch.cat([origin, torch.stack(axes), world.size[:, scene, part], world.focal[None, scene]])[:, owner]
    scale = 1 / (table[16] * (min(width, height) / 2))
    cells = ((scene[owner] * len(OFFSETS)) * height + y) * width + x
    flat = keys.view(-1)
    names = part[owner]
    size = (table[12], table[13], table[14], table[15])
    for sample, (across, down) in enumerate(OFFSETS):
        u, v = (x + (across - width / 2)) * scale, (height / 2 - down - y) * scale
        x_way, y_way, z_way = (table[3 + 3 * i] * u + table[4 + 3 * i] * v + table[5 + 3 * i] for i in range(3))
        t = first_hit(shape, (table[0], table[1], table[2]), (x_way, y_way, z_way), size)
        index = cells + sample * height * width
        flat.scatter_reduce_(0, index, _key(t.clamp_max(1e30), names), "amin")


def places(world: World, hits: Hits) -> Tensor:
    """Room coordinates of the hits, 3×B×S×H×W."""
    out = []
    for axis in range(3):
        right, up, forward = (world.gaze[row * 3 + axis][:, None, None, None] for row in range(3))
        eye = world.eye[axis][:, None, None, None]
        out.append(eye + hits.depth * (right * hits.u + up * hits.v + forward))
    return torch.stack(out)
