"""Rooms: a procedural world of small interiors with exact truth.

    from underdraw.data.scenes import records, render, sample

    views = render([sample(20_000)], size=(128, 96))     # picture, depth, normals, labels, lines, body points
    for record in records(range(20_000, 20_100)): ...    # with captions and attributes, ready for `write_folder`

`sample` decides everything by the seed with an own generator; `render` only draws, on any device and at any size.
"""

from underdraw.data.scenes.layout import sample
from underdraw.data.scenes.parts import Scene
from underdraw.data.scenes.records import SPLITS, name_of, records, split_of
from underdraw.data.scenes.render import Views, render
from underdraw.data.scenes.truth import condition_map, palette
from underdraw.data.scenes.vocabulary import COLOURS, KINDS, LABELS

__all__ = [
    "COLOURS",
    "KINDS",
    "LABELS",
    "SPLITS",
    "Scene",
    "Views",
    "condition_map",
    "name_of",
    "palette",
    "records",
    "render",
    "sample",
    "split_of",
]
