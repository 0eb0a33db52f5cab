"""From prompts, controls and seeds to pictures: one sampler, any number of controls, recipes that travel in the file.

`denoise` is a generator of frames; `Studio` opens a base with its ControlNets and draws whole recipes.
"""

from underdraw.generation.blend import blend, filled
from underdraw.generation.company import Batch, assemble, together
from underdraw.generation.controls import ControlRequest, control_kinds, make_map, read_source
from underdraw.generation.cutout import Cutout
from underdraw.generation.devices import pick_device
from underdraw.generation.figures import prompt_robustness, resolution_weighting
from underdraw.generation.grid import Axis, draw_grid
from underdraw.generation.guidance import Guidance
from underdraw.generation.loras import LoraRequest
from underdraw.generation.memory import is_memory, within_memory
from underdraw.generation.orders import Order, read_order
from underdraw.generation.plan import plan, plan_each, redrawn, stranger
from underdraw.generation.presets import CURVES, DRAWING_PRESETS, PRESETS, layer_curve
from underdraw.generation.prompts import Reading
from underdraw.generation.provenance import fingerprint, read_drawing, write_drawing
from underdraw.generation.recipe import Drawing, Given, Guide, Hires, Tiling, Variation
from underdraw.generation.reuse import Reuse
from underdraw.generation.sampler import Frame, decode_frame, denoise, draw, encode_prompts, finish, start
from underdraw.generation.schedulers import SCHEDULERS, build_scheduler, find_scheduler
from underdraw.generation.sheets import Cell, Row, sheet
from underdraw.generation.sizes import check_size, fitting_size, native_size, nearest_size, unit
from underdraw.generation.sources import PictureRequest
from underdraw.generation.studio import EMBEDDED, Drawn, Studio, base_folder
from underdraw.generation.styles import STYLES, Style, in_style, styled
from underdraw.generation.tasks import Task, make_task
from underdraw.generation.tiles import Tiles
from underdraw.generation.verify import Verdict, verify
from underdraw.generation.walk import Walk, walk, walk_sheet
from underdraw.generation.wish import Wish
from underdraw.generation.worn import OtherVae, Worn

__all__ = [
    "CURVES",
    "DRAWING_PRESETS",
    "EMBEDDED",
    "PRESETS",
    "SCHEDULERS",
    "STYLES",
    "Axis",
    "Batch",
    "Cell",
    "ControlRequest",
    "Cutout",
    "Drawing",
    "Drawn",
    "Frame",
    "Given",
    "Guidance",
    "Guide",
    "Hires",
    "LoraRequest",
    "Order",
    "OtherVae",
    "PictureRequest",
    "Reading",
    "Reuse",
    "Row",
    "Studio",
    "Style",
    "Task",
    "Tiles",
    "Tiling",
    "Variation",
    "Verdict",
    "Walk",
    "Wish",
    "Worn",
    "assemble",
    "base_folder",
    "blend",
    "build_scheduler",
    "check_size",
    "control_kinds",
    "decode_frame",
    "denoise",
    "draw",
    "draw_grid",
    "encode_prompts",
    "filled",
    "find_scheduler",
    "fingerprint",
    "finish",
    "fitting_size",
    "in_style",
    "is_memory",
    "layer_curve",
    "make_map",
    "make_task",
    "native_size",
    "nearest_size",
    "pick_device",
    "plan",
    "plan_each",
    "prompt_robustness",
    "read_drawing",
    "read_order",
    "read_source",
    "redrawn",
    "resolution_weighting",
    "sheet",
    "start",
    "stranger",
    "styled",
    "together",
    "unit",
    "verify",
    "walk",
    "walk_sheet",
    "within_memory",
    "write_drawing",
]
