"""Scenes as tensors: one table of parts, padded to the longest, whose first six rows are the shell of the room.

Legend: B scenes, P parts (six shell planes first), S samples a pixel, H×W pixels. All lengths in metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from underdraw.data.scenes.parts import Finish, Light, Matrix, Scene, Thing
from underdraw.data.scenes.vocabulary import LABELS, PATTERNS, SUBSTANCES

SHELL = 6
"""Rows of the shell: floor, ceiling, back, front, left, right."""
WALLS = {"back": 2, "front": 3, "left": 4, "right": 5}
PLANE, NOTHING = 4, 5
"""Shapes of shell rows and of padding."""
FINISH_ROWS = 15


@dataclass(frozen=True)
class World:
    """A batch of scenes on one device.

    shape B×P (long); centre 3×B×P; rotation 9×B×P (rows of the part-to-room matrix); size 4×B×P (see `parts`);
    extent 3×B×P: half boxes in the part's frame;
    finish 15×B×P: linear colour, second colour, pattern, period, specular, gloss, mirror, glow, grain axis, phase, and
    whether it casts a shadow;
    kind, instance B×P (long): semantic label; 0 for the shell, i + 1 for thing i;
    room 2×3×B: low and high corners; eye 3×B; gaze 9×B: rows right, up, forward; focal B: in half shorter sides;
    window 5×B: row of its wall, centre along the wall, centre height, half width, half height; window_instance B;
    light: rows×B by name (see `_lights`); skirting 3×B: linear colour.
    """

    shape: Tensor
    centre: Tensor
    rotation: Tensor
    size: Tensor
    extent: Tensor
    finish: Tensor
    kind: Tensor
    instance: Tensor
    room: Tensor
    eye: Tensor
    gaze: Tensor
    focal: Tensor
    window: Tensor
    window_instance: Tensor
    light: dict[str, Tensor]
    skirting: Tensor

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.centre.device

    @property
    def count(self) -> int:
        """Scenes in the batch."""
        return self.shape.shape[0]


def linear(rgb: Sequence[float]) -> tuple[float, ...]:
    """sRGB values to linear light (the 2.2 power is near enough for paint)."""
    return tuple(max(value, 0.0) ** 2.2 for value in rgb)


def _finish_row(finish: Finish, axis: int, phase: float) -> list[float]:
    substance = SUBSTANCES[finish.substance]
    return [
        *linear(finish.rgb), *linear(finish.second), float(PATTERNS.index(finish.pattern)), finish.period,
        substance.specular, substance.gloss, substance.mirror, finish.glow, float(axis), phase,
        0.0 if finish.glow > 0 else 1.0,
    ]  # fmt: skip


def _flat(matrix: Matrix) -> list[float]:
    return [value for row in matrix for value in row]


_EYE3 = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def _rows(scene: Scene) -> list[tuple[int, int, int, list[float]]]:
    """(shape, kind, instance, numbers) of every part; numbers: centre 3, rotation 9, size 4, extent 3, finish 15."""
    room = scene.room
    span = [(high - low) / 2 for low, high in zip(room.low, room.high, strict=True)]
    rows = []
    for index in range(SHELL):
        finish = room.floor if index == 0 else room.ceiling if index == 1 else room.wall
        kind = LABELS["floor" if index == 0 else "ceiling" if index == 1 else "wall"]
        numbers = [*room.low, *_EYE3, *span, 1.0, 0.0, 0.0, 0.0, *_finish_row(finish, 0, index * 0.37)]
        rows.append((PLANE, kind, 0, numbers))
    for index, thing in enumerate(scene.things):
        rows += _thing_rows(thing, index)
    return rows


def _thing_rows(thing: Thing, index: int) -> list[tuple[int, int, int, list[float]]]:
    rows = []
    for position, part in enumerate(thing.parts):
        axis = max(range(3), key=lambda i: part.extent[i])
        phase = (index * 0.618 + position * 0.271) % 1.0
        numbers = [
            *part.centre,
            *_flat(part.rotation),
            *part.size,
            *part.extent,
            *_finish_row(part.finish, axis, phase),
        ]
        rows.append((part.shape, LABELS[thing.kind], index + 1, numbers))
    return rows


def pack(scenes: Sequence[Scene], device: torch.device) -> World:
    """Scenes to one World on a device."""
    tables = [_rows(scene) for scene in scenes]
    longest = max(len(table) for table in tables)
    blank = (NOTHING, 0, 0, [0.0] * 3 + _EYE3 + [1.0] * 7 + [0.0] * FINISH_ROWS)
    padded = [row for table in tables for row in table + [blank] * (longest - len(table))]
    whole = torch.tensor([row[:3] for row in padded]).view(len(scenes), longest, 3).to(device)
    numbers = torch.tensor([row[3] for row in padded], dtype=torch.float32).view(len(scenes), longest, -1)
    numbers = numbers.permute(2, 0, 1).contiguous().to(device)

    def column(values: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([list(v) for v in values], dtype=torch.float32, device=device).t().contiguous()

    windows = [scene.room.window for scene in scenes]
    along = [w.centre[0] if w.wall in ("back", "front") else w.centre[2] for w in windows]
    places = [(WALLS[w.wall], a, w.centre[1], *w.half) for w, a in zip(windows, along, strict=True)]
    return World(
        shape=whole[..., 0].contiguous(),
        kind=whole[..., 1].contiguous(),
        instance=whole[..., 2].contiguous(),
        centre=numbers[:3],
        rotation=numbers[3:12],
        size=numbers[12:16],
        extent=numbers[16:19],
        finish=numbers[19:],
        room=torch.stack([column([s.room.low for s in scenes]), column([s.room.high for s in scenes])]),
        eye=column([s.camera.position for s in scenes]),
        gaze=column([_gaze(s) for s in scenes]),
        focal=column([[s.camera.angle] for s in scenes])[0].deg2rad().div(2).tan().reciprocal(),
        window=column(places),
        window_instance=torch.tensor([w.thing + 1 for w in windows], device=device),
        light={name: column(values) for name, values in _lights([scene.light for scene in scenes]).items()},
        skirting=column([linear(s.room.skirting) for s in scenes]),
    )


def _gaze(scene: Scene) -> list[float]:
    """Rows right, up, forward from the camera's columns right, up, backward."""
    r = scene.camera.rotation
    return [r[0][0], r[1][0], r[2][0], r[0][1], r[1][1], r[2][1], -r[0][2], -r[1][2], -r[2][2]]


def _lights(lights: Sequence[Light]) -> dict[str, Sequence[Sequence[float]]]:
    """The lights' values by name: key and sun, their colours, the key's half axes, fill, and the view outside."""
    return {
        "key": [light.key for light in lights],
        "across": [light.key_axes[0] for light in lights],
        "along": [light.key_axes[1] for light in lights],
        "key_rgb": [light.key_rgb for light in lights],
        "key_normal": [light.key_normal or (0.0, 0.0, 0.0) for light in lights],
        "sun": [light.sun for light in lights],
        "sun_rgb": [light.sun_rgb for light in lights],
        "fill": [light.fill for light in lights],
        "sky": [[*light.sky[0], *light.sky[1], *light.sky[2]] for light in lights],
        "outlook": [[light.outlook, 1.0 if light.time_of_day == "night" else 0.0] for light in lights],
    }
