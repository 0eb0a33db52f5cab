"""Files of weights: what people have, told apart, opened, and written back; and a training's own checkpoints.

`detect` says what a file is, `open_base`, `open_control` and `open_adapter` open it for drawing, `convert` writes it in
another form. docs/formats.md has the table of forms.
"""

from underdraw.formats.conditions import About
from underdraw.formats.controls import open_control, read_control, transfer
from underdraw.formats.convert import FORMS, Job, convert
from underdraw.formats.detect import Facts, detect
from underdraw.formats.opening import open_base
from underdraw.formats.t2i import Adapter, open_adapter

__all__ = [
    "FORMS",
    "About",
    "Adapter",
    "Facts",
    "Job",
    "convert",
    "detect",
    "open_adapter",
    "open_base",
    "open_control",
    "read_control",
    "transfer",
]
