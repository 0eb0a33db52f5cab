"""The heart: a locked U-Net split at its waist, control branches, fusions, and the noise process.

    encode (locked) ─▶ skips ─▶ + Σ w·m·fusion(skip, branch(hint, …)) ─▶ decode

`Backbone.load` reads a base, `build` makes a control network for it, `predict` runs both, `save_control` and
`load_control` keep it.
"""

from underdraw.model.backbone import Backbone, Moments
from underdraw.model.blocks import block_weights
from underdraw.model.branches import BRANCHES, Branch, BranchConfig
from underdraw.model.control import Control, predict, speaking, through
from underdraw.model.controlnet import ControlConfig, ControlNet, build
from underdraw.model.fusions import FUSIONS, FusionConfig
from underdraw.model.injection import Injection
from underdraw.model.lora import Attached, Lora, attach, attached_to, detach
from underdraw.model.overlay import Lay, overlaid
from underdraw.model.policies import POLICIES, Policy, apply_policy, trainable
from underdraw.model.process import Process
from underdraw.model.prompts import Embedding, Part, Prompt, alike
from underdraw.model.quick import Quick
from underdraw.model.store import load_control, save_control
from underdraw.model.taps import HINTS, TAPS
from underdraw.model.targets import TARGETS, LoraConfig, build_lora
from underdraw.model.text import Text, join, projected_once
from underdraw.model.trunk import Encoding, Site, Trunk, decode, embed, encode, sites
from underdraw.model.waist import Split, Waist

__all__ = [
    "BRANCHES",
    "FUSIONS",
    "HINTS",
    "POLICIES",
    "TAPS",
    "TARGETS",
    "Attached",
    "Backbone",
    "Branch",
    "BranchConfig",
    "Control",
    "ControlConfig",
    "ControlNet",
    "Embedding",
    "Encoding",
    "FusionConfig",
    "Injection",
    "Lay",
    "Lora",
    "LoraConfig",
    "Moments",
    "Part",
    "Policy",
    "Process",
    "Prompt",
    "Quick",
    "Site",
    "Split",
    "Text",
    "Trunk",
    "Waist",
    "alike",
    "apply_policy",
    "attach",
    "attached_to",
    "block_weights",
    "build",
    "build_lora",
    "decode",
    "detach",
    "embed",
    "encode",
    "join",
    "load_control",
    "overlaid",
    "predict",
    "projected_once",
    "save_control",
    "sites",
    "speaking",
    "through",
    "trainable",
]
