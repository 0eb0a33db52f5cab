"""From prompts, controls and seeds to pictures: one sampler, any number of controls, recipes that travel in the PNG.

`draw` is a generator of frames; `Studio` opens a base with its ControlNets and draws whole recipes.
"""

from underdraw.generation.controls import ControlRequest, control_folder, control_kinds, make_map, read_source
from underdraw.generation.guidance import Guidance
from underdraw.generation.plan import Batch, Wish, plan, redrawn, stranger
from underdraw.generation.recipe import Drawing, Guide, fingerprint, read_drawing, write_drawing
from underdraw.generation.sampler import Frame, decode_frame, denoise, draw, encode_prompts, finish, start
from underdraw.generation.schedulers import SCHEDULERS, build_scheduler
from underdraw.generation.sheets import Cell, Row, sheet
from underdraw.generation.sizes import check_size, fitting_size, native_size, nearest_size, unit
from underdraw.generation.studio import EMBEDDED, Studio, base_folder, pick_device, together
from underdraw.generation.walk import Walk, walk, walk_sheet

__all__ = [
    "EMBEDDED",
    "SCHEDULERS",
    "Batch",
    "Cell",
    "ControlRequest",
    "Drawing",
    "Frame",
    "Guidance",
    "Guide",
    "Row",
    "Studio",
    "Walk",
    "Wish",
    "base_folder",
    "build_scheduler",
    "check_size",
    "control_folder",
    "control_kinds",
    "decode_frame",
    "denoise",
    "draw",
    "encode_prompts",
    "fingerprint",
    "finish",
    "fitting_size",
    "make_map",
    "native_size",
    "nearest_size",
    "pick_device",
    "plan",
    "read_drawing",
    "read_source",
    "redrawn",
    "sheet",
    "start",
    "stranger",
    "together",
    "unit",
    "walk",
    "walk_sheet",
    "write_drawing",
]
