"""The hour: where light comes from, its colours, and what stands outside the window. Colours here are linear."""

import math
from random import Random

from underdraw.data.scenes.parts import Light, Room, Vector, rotation, turn
from underdraw.data.scenes.vocabulary import Rgb

YAW = {"back": 0.0, "left": 90.0, "right": -90.0, "front": 180.0}
SUN_HEIGHT = {"morning": (22, 38), "noon": (42, 58), "sunset": (8, 16), "night": (30, 45)}
SUN: dict[str, Rgb] = {
    "morning": (2.9, 2.35, 1.65),
    "noon": (3.0, 2.85, 2.55),
    "sunset": (3.2, 1.45, 0.50),
    "night": (0.10, 0.14, 0.24),
}
SKY_LIGHT: dict[str, Rgb] = {
    "morning": (0.95, 1.02, 1.12),
    "noon": (1.05, 1.10, 1.15),
    "sunset": (1.05, 0.72, 0.55),
    "night": (0.05, 0.07, 0.13),
}
FILL: dict[str, Rgb] = {
    "morning": (0.33, 0.33, 0.345),
    "noon": (0.37, 0.37, 0.375),
    "sunset": (0.29, 0.22, 0.23),
    "night": (0.085, 0.085, 0.12),
}
OUTSIDE: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    "morning": ((0.90, 0.80, 0.66), (0.22, 0.46, 0.85), (0.16, 0.32, 0.12)),
    "noon": ((0.58, 0.78, 0.95), (0.08, 0.30, 0.80), (0.10, 0.30, 0.06)),
    "sunset": ((0.95, 0.34, 0.08), (0.20, 0.13, 0.36), (0.10, 0.05, 0.07)),
    "night": ((0.05, 0.07, 0.16), (0.012, 0.018, 0.06), (0.012, 0.02, 0.03)),
}
"""Horizon, zenith and land."""


def light_of(rng: Random, hour: str, room: Room, lamp: Vector | None) -> Light:
    """The light of an hour in a room; `lamp` is the place of the lit lamp, if there is one."""
    window = room.window
    matrix = rotation("y", YAW[window.wall])
    height, aside = math.radians(rng.uniform(*SUN_HEIGHT[hour])), math.radians(rng.uniform(-42, 42))
    sun = turn(matrix, (math.sin(aside) * math.cos(height), math.sin(height), -math.cos(aside) * math.cos(height)))
    haze = rng.choice((1.0, 1.0, 1.0, 0.35)) if hour != "night" else 1.0
    strength = SUN[hour]
    sun_rgb = (strength[0] * haze, strength[1] * haze, strength[2] * haze)
    fill = FILL[hour]
    if lamp is not None:
        warm = rng.choice(((1.0, 0.78, 0.48), (1.0, 0.84, 0.60), (1.0, 0.9, 0.75)))
        power = 1.9 if hour == "night" else 1.2
        key_rgb = (warm[0] * power, warm[1] * power, warm[2] * power)
        if hour == "night":
            fill = (fill[0] + 0.16 * warm[0], fill[1] + 0.16 * warm[1], fill[2] + 0.16 * warm[2])
        axes: tuple[Vector, Vector] = ((0.11, 0.0, 0.0), (0.0, 0.0, 0.11))
        return Light(hour, lamp, axes, key_rgb, None, sun, sun_rgb, fill, OUTSIDE[hour], rng.uniform(0, 100))
    x, y = window.half
    sky = SKY_LIGHT[hour]
    area = 4 * x * y * 3.4
    key_rgb = (sky[0] * area, sky[1] * area, sky[2] * area)
    inward = turn(matrix, (0.0, 0.0, 1.0))
    key = (window.centre[0] + 0.08 * inward[0], window.centre[1], window.centre[2] + 0.08 * inward[2])
    axes = (turn(matrix, (x, 0.0, 0.0)), (0.0, y, 0.0))
    return Light(hour, key, axes, key_rgb, inward, sun, sun_rgb, fill, OUTSIDE[hour], rng.uniform(0, 100))
