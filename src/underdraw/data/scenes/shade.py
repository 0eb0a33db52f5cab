"""Colour of every sample: paint, key light, sun, fill and reflection, and the exposure."""

import torch
from torch import Tensor

from underdraw.data.scenes.occlusion import occlusion
from underdraw.data.scenes.shadow import visible
from underdraw.data.scenes.sky import outside
from underdraw.data.scenes.surface import Surfaces
from underdraw.data.scenes.textures import paint
from underdraw.data.scenes.tiles import shifted, smoothed
from underdraw.data.scenes.trace import OFFSETS, Hits
from underdraw.data.scenes.world import World

SKIRTING = 0.085
"""Height of the skirting board, metres."""
BRIGHT, ADAPTATION = 0.36, 0.55
"""The linear luminance that the exposure aims at, and how far it goes there: nights stay darker than days."""


def shade(world: World, hits: Hits, found: Surfaces) -> Tensor:
    """sRGB picture B×3×H×W in [0, 1]: the mean of the four colour samples of every pixel."""
    shares = _light_shares(world, hits, found).flatten(2)
    shape = hits.depth.shape
    some = _colour_samples(found, shape)
    depth = hits.depth[:, 1:].flatten(1)
    albedo = _paint(world, some, depth, min(shape[2:]))
    colour = _lit(world, some, albedo, shares)
    scene, at = some.pane.nonzero(as_tuple=True)
    colour[:, scene, at] = outside(world, some.point[:, scene, at], scene)
    grid = colour.view(3, shape[0], len(OFFSETS) - 1, *shape[2:]).permute(1, 2, 0, 3, 4)
    return _develop(grid)


def _colour_samples(found: Surfaces, shape: torch.Size) -> Surfaces:
    """The samples for colour only, as (…×)B×M with M = 4·H·W."""

    def pick(value: Tensor) -> Tensor:
        return value.view(*value.shape[:-1], *shape)[..., 1:, :, :].flatten(-3)

    return Surfaces(
        pick(found.row),
        pick(found.point),
        pick(found.normal),
        pick(found.local),
        pick(found.local_normal),
        pick(found.pane),
    )


def _light_shares(world: World, hits: Hits, found: Surfaces) -> Tensor:
    """Openness, key and sun visibility (3×B×4×H×W) of the colour samples, taken from the pixel centres around each."""
    batch, samples, height, width = hits.depth.shape
    grid = (3, batch, samples, height, width)
    point, normal = found.point.view(grid)[:, :, 0], found.normal.view(grid)[:, :, 0]
    depth = hits.depth[:, 0]
    key, sun = visible(world, point, normal)
    shares = torch.stack([occlusion(world, point, normal), key, sun])
    shares[1:] = smoothed(shares[1:], depth, normal)
    out = []
    for sample, (across, down) in enumerate(OFFSETS[1:], start=1):
        dx, dy = (-1 if across < 0.5 else 1), (-1 if down < 0.5 else 1)
        own_depth, own_normal = hits.depth[:, sample], found.normal.view(grid)[:, :, sample]
        total = torch.zeros_like(shares)
        weight = torch.zeros_like(own_depth)
        for shift_y, shift_x, share in ((0, 0, 9.0), (dy, 0, 3.0), (0, dx, 3.0), (dy, dx, 1.0)):
            other = shifted(depth, shift_y, shift_x)
            turn = (own_normal * shifted(normal, shift_y, shift_x)).sum(0)
            near = ((turn > 0.7) & ((own_depth - other).abs() < 0.05 * own_depth)).float() * share + 1e-4 * share
            total = total + shifted(shares, shift_y, shift_x) * near
            weight = weight + near
        out.append(total / weight)
    return torch.stack(out, 2)


def _paint(world: World, s: Surfaces, depth: Tensor, pixels: int) -> Tensor:
    """Linear albedo 3×B×M, with the skirting board painted on the walls."""
    finish = world.finish[:14].flatten(1)[:, s.row.flatten()]
    slope = (s.normal * (s.point - world.eye[..., None])).sum(0).abs() / depth
    footprint = depth / (world.focal[:, None] * pixels) / slope.clamp_min(0.15)
    extent = world.extent.flatten(1)[:, s.row.flatten()]
    albedo = paint(finish, s.local.flatten(1), s.local_normal.flatten(1), extent, footprint.flatten()).view_as(s.point)
    row = s.row % world.shape.shape[1]
    board = (row >= 2) & (row < 6) & (s.point[1] < SKIRTING)
    return torch.where(board, world.skirting[..., None], albedo).clamp(0, 1.2)


def _lit(world: World, s: Surfaces, albedo: Tensor, shares: Tensor) -> Tensor:
    """Linear radiance 3×B×M towards the camera: diffuse key, sun, fill tinted by the floor, a little spill of the key
    that needs no view of it, and the shine."""
    light = {name: value[..., None] for name, value in world.light.items()}
    finish = world.finish[8:12].flatten(1)[:, s.row]
    n, openness = s.normal, shares[0]
    away = light["key"] - s.point
    square = (away * away).sum(0)
    way = away * torch.rsqrt(square + 1e-6)
    axis = light["key_normal"]
    directed = axis.abs().sum(0) > 0.5
    leaving = torch.where(directed, (-(way * axis).sum(0)).clamp_min(0.12), 1.0)
    towards = (n * way).sum(0)
    key = light["key_rgb"] * ((towards * 0.9 + 0.1).clamp_min(0) * leaving * shares[1] / (square + 0.7))
    sun = light["sun_rgb"] * ((n * light["sun"]).sum(0).clamp_min(0) * shares[2])
    floor = world.finish[:3, :, :1]
    tint = (0.75 + 0.25 * n[1]) + (0.30 - 0.30 * n[1]) * floor
    fill = light["fill"] * tint * (openness * openness.sqrt() * (0.80 + 0.20 * towards))
    spill = light["key_rgb"] * (0.05 * openness / (1 + 0.15 * square))
    colour = albedo * (key + sun + fill + spill)
    view = world.eye[..., None] - s.point
    view = view * torch.rsqrt((view * view).sum(0))
    colour = colour * (1 - 0.75 * finish[2])
    shiny = (finish[0] > 0.05).nonzero(as_tuple=True)
    some = [value[:, shiny[0], shiny[1]] for value in (s.point, n, view, way, finish, albedo, shares)]
    colour[:, shiny[0], shiny[1]] += _shine(world, shiny[0], *some)
    return torch.where(finish[3] > 0.5, _glow(albedo, light["key_rgb"], n, view), colour)


def _glow(albedo: Tensor, rgb: Tensor, n: Tensor, view: Tensor) -> Tensor:
    """A lit lampshade: bright in the middle, its own colour at the rim."""
    centre = (n * view).sum(0).clamp(0, 1)
    hue = rgb / rgb.amax(0)
    return (albedo * 0.75 + 0.35 * hue) * (0.75 + 0.75 * centre)


def _shine(
    world: World,
    scene: Tensor,
    point: Tensor,
    n: Tensor,
    view: Tensor,
    way: Tensor,
    finish: Tensor,
    albedo: Tensor,
    shares: Tensor,
) -> Tensor:
    """Highlights of key and sun, and the room's reflection, brighter at glancing angles, for N samples (3×N …)."""
    light = {
        name: world.light[name][:, scene]
        for name in ("key", "key_rgb", "key_normal", "across", "along", "sun", "sun_rgb", "fill")
    }
    specular, gloss, mirror = finish[0], finish[1], finish[2]
    power = 4 + 90 * gloss * gloss

    def highlight(direction: Tensor) -> Tensor:
        half = direction + view
        half = half * torch.rsqrt((half * half).sum(0) + 1e-9)
        return (n * half).sum(0).clamp(0, 1) ** power

    strength = specular * (0.4 + 0.6 * gloss)
    metal = (mirror > 0.4).float()
    tint = 1 + (albedo * 1.6 - 1) * metal
    key = light["key_rgb"] / (1 + (light["key"] - point).pow(2).sum(0)) * (highlight(way) * shares[1] * 1.3)
    sun = light["sun_rgb"] * (highlight(light["sun"]) * shares[2] * 0.8)
    facing = (n * view).sum(0)
    share = (mirror + (0.5 * specular * (1 - facing.clamp(0, 1)) ** 4).clamp_max(0.3)) * (0.35 + 0.65 * shares[0])
    room = _room_colour(world, scene, point, 2 * facing * n - view, light)
    return tint * (strength * (key + sun) + share * room)


def _room_colour(world: World, scene: Tensor, point: Tensor, way: Tensor, light: dict[str, Tensor]) -> Tensor:
    """Rough colour 3×N of the empty room in a direction: floor, walls, ceiling, and a bright lamp or window."""
    floor, ceiling, wall = (world.finish[:3, :, index][:, scene] for index in (0, 1, 2))
    up = way[1]
    base = wall + (floor - wall) * ((-up - 0.1) * 3).clamp(0, 1)
    base = base + (ceiling - base) * ((up - 0.35) * 3).clamp(0, 1)
    return base * (light["fill"] + 0.06 * light["key_rgb"]) * 1.25 + _mirrored_light(point, way, light)


def _mirrored_light(point: Tensor, way: Tensor, light: dict[str, Tensor]) -> Tensor:
    """The window's rectangle or the lamp's disc, softly, where a direction from a point meets it."""
    away = light["key"] - point
    axis = light["key_normal"]
    t = (away * axis).sum(0) / (way * axis).sum(0).clamp_max(-1e-3)
    beside = way * t - away
    across, along = ((beside * light[name]).sum(0) / light[name].square().sum(0) for name in ("across", "along"))
    pane = ((1.15 - torch.maximum(across.abs(), along.abs())) * 3.5).clamp(0, 1) * (t > 0)
    towards = (way * away).sum(0) * torch.rsqrt((away * away).sum(0) + 1e-6)
    disc = ((towards - 0.97) * 50).clamp(0, 1)
    is_window = axis.abs().sum(0) > 0.5
    return light["key_rgb"] * torch.where(is_window, 0.22 * pane, 0.5 * disc)


def _develop(grid: Tensor) -> Tensor:
    """Expose every picture B×S×3×H×W, compress highlights (the filmic curve fitted by Narkowicz 2015), average its
    samples, encode as sRGB. One picture at a time, so that no sum depends on the batch."""
    weights = torch.tensor([0.2126, 0.7152, 0.0722], device=grid.device)[:, None, None]
    pictures = []
    for picture in grid:
        small = picture.clamp(0, 3)
        mean = (small * weights).sum(1).clamp_max(1.2).mean()
        gain = (BRIGHT / mean.clamp_min(0.02)) ** ADAPTATION
        x = small * gain
        tone = (x * (2.51 * x * 0.62 + 0.03) / (x * (2.43 * x * 0.62 + 0.59) + 0.14)).clamp(0, 1)
        pictures.append(tone.mean(0).clamp_min(1e-5) ** (1 / 2.2))
    return torch.stack(pictures).clamp(0, 1)
