"""Exact truth besides the picture: normals, the depth condition map, visible straight lines, and body points."""

from collections.abc import Sequence

import torch
from torch import Tensor

from underdraw.data.scenes.parts import BLOCK, Scene
from underdraw.data.scenes.trace import NEAR
from underdraw.data.scenes.vocabulary import KINDS, LABELS
from underdraw.data.scenes.world import World

CORNERS = tuple((x, y, z) for y in (-1.0, 1.0) for x, z in ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)))
"""Corners of a box: four below (counted around), four above."""
EDGES = (
    tuple((i, (i + 1) % 4) for i in range(4))
    + tuple((4 + i, 4 + (i + 1) % 4) for i in range(4))
    + tuple((i, i + 4) for i in range(4))
)
FACES = ((4, 2), (4, 1), (4, 3), (4, 0), (5, 2), (5, 1), (5, 3), (5, 0), (0, 2), (1, 2), (1, 3), (0, 3))
"""The two faces at every edge: 0 -x, 1 +x, 2 -z, 3 +z, 4 below, 5 above."""
NO_LINES = ("person", "plant", "curtain", "cushion")


def condition_map(depth: Tensor) -> Tensor:
    """Depth in metres (…×H×W, > 0) to the usual depth map: inverse depth, scaled over each picture so that the nearest
    pixel is 1 (white) and the farthest 0 (black)."""
    near = depth.reciprocal()
    low, high = near.amin((-2, -1), keepdim=True), near.amax((-2, -1), keepdim=True)
    return (near - low) / (high - low).clamp_min(1e-9)


def camera_normals(world: World, normal: Tensor) -> Tensor:
    """Room normals 3×B×H×W to encoded camera normals B×3×H×W: (n + 1)/2 with x right, y up, z towards the viewer."""
    rows = [world.gaze[3 * i : 3 * i + 3][..., None, None] for i in range(3)]
    turned = [(row * normal).sum(0) for row in rows]
    return ((torch.stack([turned[0], turned[1], -turned[2]], 1) + 1) / 2).clamp(0, 1)


def palette(labels: Tensor) -> Tensor:
    """Semantic labels …×H×W (long) to RGB …×3×H×W in [0, 1] by the colours of `vocabulary.KINDS`."""
    table = torch.tensor([kind.rgb for kind in KINDS.values()], dtype=torch.float32, device=labels.device) / 255
    return table[labels].movedim(-1, -3)


def lines(world: World, depth: Tensor) -> Tensor:
    """Visible straight edges of walls, furniture and solids: B×1×H×W, white on black, anti-aliased, one pixel wide.

    depth: B×H×W in metres at the pixel centres, which hides what lies behind.
    """
    scene, start, end = _segments(world)
    height, width = depth.shape[-2:]
    keep, start, end = _before_lens(camera_frame_of(world, scene, start), camera_frame_of(world, scene, end))
    scene = scene[keep]
    scale = world.focal[scene] * min(width, height) / 2
    ends = [
        (width / 2 + p[0] / p[2] * scale, height / 2 - p[1] / p[2] * scale, p[2].reciprocal()) for p in (start, end)
    ]
    canvas = torch.zeros(depth.numel(), device=depth.device)
    upright = (ends[0][0] - ends[1][0]).abs() < (ends[0][1] - ends[1][1]).abs()
    for steep in (False, True):
        chosen = (upright == steep).nonzero(as_tuple=True)[0]
        if chosen.numel() > 0:
            first, second = ([value[chosen] for value in end_point] for end_point in ends)
            _stroke(canvas, depth, scene[chosen], first, second, steep)
    return canvas.view(depth.shape)[:, None]


def camera_frame_of(world: World, scene: Tensor, point: Tensor) -> Tensor:
    """Camera coordinates (right, up, forward) of points 3×N that belong to scenes N."""
    offset = point - world.eye[:, scene]
    gaze = world.gaze[:, scene]
    return torch.stack([(gaze[3 * i : 3 * i + 3] * offset).sum(0) for i in range(3)])


def _segments(world: World) -> tuple[Tensor, Tensor, Tensor]:
    """Scene N and both ends 3×N, in the room, of the room's edges and of block edges that touch a face the eye sees."""
    device = world.device
    corner = torch.tensor(CORNERS, device=device).t()
    edges, faces = torch.tensor(EDGES, device=device).t(), torch.tensor(FACES, device=device).t()
    plain = torch.tensor([LABELS[name] for name in NO_LINES], device=device)
    scene, part = ((world.shape == BLOCK) & ~torch.isin(world.kind, plain)).nonzero(as_tuple=True)
    size, rotation, centre = world.size[:, scene, part], world.rotation[:, scene, part], world.centre[:, scene, part]
    taper = torch.where(corner[1] > 0, size[3, :, None], 1.0)
    local = size[:3, :, None] * corner[:, None] * torch.stack([taper, torch.ones_like(taper), taper])
    room = torch.stack([(rotation[3 * i : 3 * i + 3, :, None] * local).sum(0) + centre[i, :, None] for i in range(3)])
    seen = _faces_seen(world, scene, part)
    block, edge = seen[:, faces].any(1).nonzero(as_tuple=True)
    starts, ends = room[:, block, edges[0, edge]], room[:, block, edges[1, edge]]
    low, high = world.room[0][..., None], world.room[1][..., None]
    shell = torch.where(corner[:, None] > 0, high, low)
    count = world.count * len(EDGES)
    every = torch.arange(world.count, device=device).repeat_interleave(len(EDGES))
    first, second = shell[:, :, edges[0]].reshape(3, count), shell[:, :, edges[1]].reshape(3, count)
    return torch.cat([scene[block], every]), torch.cat([starts, first], 1), torch.cat([ends, second], 1)


def _faces_seen(world: World, scene: Tensor, part: Tensor) -> Tensor:
    """N×6: whether the eye lies before each face (-x, +x, -z, +z, below, above) of the blocks."""
    rotation, rel = world.rotation[:, scene, part], world.eye[:, scene] - world.centre[:, scene, part]
    x, y, z = (rotation[i] * rel[0] + rotation[i + 3] * rel[1] + rotation[i + 6] * rel[2] for i in range(3))
    half_x, half_y, half_z, ratio = world.size[:, scene, part]
    share = (y + half_y) / (2 * half_y) * (1 - ratio)
    limit_x, limit_z = half_x * (1 - share), half_z * (1 - share)
    return torch.stack([-x > limit_x, x > limit_x, -z > limit_z, z > limit_z, -y > half_y, y > half_y], 1)


def _before_lens(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cut segments 3×N at the near plane; returns which remain, and their ends."""
    keep = (torch.maximum(start[2], end[2]) > NEAR).nonzero(as_tuple=True)[0]
    start, end = start[:, keep], end[:, keep]
    depth = end[2] - start[2]
    cut = (NEAR - start[2]) / torch.where(depth.abs() < 1e-9, 1e-9, depth)
    meet = start + (end - start) * cut
    return keep, torch.where(start[2] < NEAR, meet, start), torch.where(end[2] < NEAR, meet, end)


def _stroke(
    canvas: Tensor, depth: Tensor, scene: Tensor, first: list[Tensor], second: list[Tensor], steep: bool
) -> None:
    """Walk along the longer screen axis of each segment and paint three pixels across, if nothing nearer hides them."""
    height, width = depth.shape[-2:]
    longer, shorter = (height, width) if steep else (width, height)
    (a0, b0), (a1, b1) = ((p[1], p[0]) if steep else (p[0], p[1]) for p in (first, second))
    low, high = torch.minimum(a0, a1).floor().clamp(0, longer), torch.maximum(a0, a1).floor().clamp(-1, longer - 1)
    counts = (high - low + 1).clamp_min(0).long()
    owner = torch.repeat_interleave(counts)
    step = torch.arange(owner.numel(), device=owner.device) - (counts.cumsum(0) - counts)[owner] + low[owner].long()
    span = (a1 - a0)[owner]
    share = ((step + 0.5 - a0[owner]) / torch.where(span.abs() < 1e-6, 1e-6, span)).clamp(0, 1)
    middle = b0[owner] + share * (b1 - b0)[owner]
    reach = (first[2][owner] + share * (second[2] - first[2])[owner]).reciprocal()
    slant = torch.rsqrt(1 + ((b1 - b0)[owner] / torch.where(span.abs() < 1e-6, 1e-6, span)).clamp(-1, 1) ** 2)
    for offset in (-1, 0, 1):
        side = middle.floor().clamp(-9, shorter + 9).long() + offset
        inside = (side >= 0) & (side < shorter)
        side = side.clamp(0, shorter - 1)
        x, y = (side, step) if steep else (step, side)
        cell = (scene[owner] * height + y) * width + x
        open_view = depth.flatten()[cell] > reach * 0.965 - 0.02
        ink = (1 - (side + 0.5 - middle).abs() * slant).clamp(0, 1) * (inside & open_view)
        canvas.scatter_reduce_(0, cell, ink, "amax")


def keypoints(world: World, scenes: Sequence[Scene], depth: Tensor, instance: Tensor) -> list[Tensor]:
    """For every scene P×18×3: x and y in pixels and visibility: 0 outside the picture, 1 hidden, 2 seen.

    A point is seen if, in the pixel it falls in or one beside it, its own mannequin lies at the point's depth (within
    the flesh around it). depth and instance are B×H×W at the pixel centres.
    """
    out = []
    for index, scene in enumerate(scenes):
        bodies = [
            _body_points(world, index, figure.points, figure.radii, depth[index], instance[index] == figure.thing + 1)
            for figure in scene.figures
        ]
        out.append(torch.stack(bodies) if bodies else torch.zeros(0, 18, 3, device=depth.device))
    return out


def _body_points(
    world: World,
    index: int,
    points: tuple[tuple[float, ...], ...],
    radii: tuple[float, ...],
    depth: Tensor,
    own: Tensor,
) -> Tensor:
    height, width = depth.shape
    room = torch.tensor(points, device=depth.device).t()
    flesh = torch.tensor(radii, device=depth.device)
    right, up, forward = camera_frame_of(world, torch.full((18,), index, device=depth.device), room)
    scale = world.focal[index] * min(width, height) / 2
    ahead = forward.clamp_min(NEAR)
    x, y = width / 2 + right / ahead * scale, height / 2 - up / ahead * scale
    inside = (forward > NEAR) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
    seen = torch.zeros_like(inside)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            at = ((row + dy).clamp(0, height - 1), (column + dx).clamp(0, width - 1))
            seen |= own[at] & ((depth[at] - forward).abs() < flesh * 1.35 + 0.02)
    visibility = torch.where(inside, torch.where(seen, 2.0, 1.0), 0.0)
    return torch.stack([x * (visibility > 0), y * (visibility > 0), visibility], 1)
