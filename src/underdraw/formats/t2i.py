"""T2I-Adapters: small networks that look at the map once and add features at the end of the U-Net's blocks.

    full   four stages of residual blocks (SD 1.x; for SDXL with fewer halvings)          light   a lean form of it

They don't see the sample, so one pass a drawing is enough; their features are `encode`'s injections. diffusers'
`T2IAdapter` is the network, the original's names are a table. (Mou et al. 2023)
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from underdraw.errors import CheckpointError, InputError
from underdraw.formats.bases import read_part
from underdraw.formats.conditions import About, about_control
from underdraw.formats.detect import detect, refuse_foreign
from underdraw.formats.families import family_of
from underdraw.formats.parts import Part, assemble
from underdraw.formats.places import locate_control
from underdraw.formats.reading import open_tensors
from underdraw.formats.tables import flip, translate
from underdraw.model.trunk import Site, Trunk

__all__ = ["Adapter", "adapter_at", "adapter_table", "adapter_to_original", "open_adapter", "read_adapter"]

_FACTORS = {192: (3, 8), 64: (1, 8), 768: (3, 16), 256: (1, 16)}
"""(map channels, factor) by the channels of the unshuffled map: SD 1.x looks at 8×8 pixels at once, SDXL at 16×16."""
_RESNET = ("block1", "block2")


class Adapter(nn.Module):
    """A T2I-Adapter for one base: diffusers' network, what is known of it, and the sites where its features enter."""

    def __init__(self, net: Any, about: About) -> None:
        super().__init__()
        self.net, self.about = net, about

    @property
    def hint_channels(self) -> int:
        """Channels of the maps that it takes."""
        return int(self.net.config.in_channels)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where its features enter: at the ends of the U-Net's blocks, SDXL's middle included."""
        widths = [*self.net.config.channels, self.net.config.channels[-1]][:4]
        scales = (2, 2, 4, 4) if self.net.config.adapter_type == "full_adapter_xl" else (1, 2, 4, 8)
        return tuple(
            Site(f"block.{place}", width, scale)
            for place, (width, scale) in enumerate(zip(widths, scales, strict=True))
        )

    def injections(self, condition: Tensor) -> tuple[Tensor, ...]:
        """The features of maps B×C×H×W in [0, 1], for `predict(…, injections=…)`: the same at every step.

        H and W are multiples of `net.total_downscale_factor`. Raises InputError for other maps.
        """
        channels, step = self.hint_channels, self.net.total_downscale_factor
        if condition.shape[1] != channels:
            raise InputError(
                f"this adapter takes maps of {channels} channels, not {condition.shape[1]}; convert the map"
            )
        if any(side % step for side in condition.shape[2:]):
            height, width = condition.shape[2:]
            raise InputError(f"a map of {width}×{height} does not divide by {step}, as this adapter needs; resize it")
        return tuple(self.net(condition.to(self.net.device, self.net.dtype)))


def open_adapter(name: str | Path, unet: Trunk) -> Adapter:
    """The T2I-Adapter of that name (a path, a name on the shelf, a hub id) for this U-Net, in its precision.

    Raises CheckpointError for what is missing, broken, no adapter, or of another family.
    """
    return adapter_at(locate_control(name), unet)


def adapter_at(place: Path, unet: Trunk) -> Adapter:
    """The T2I-Adapter in a file or folder. Raises as `open_adapter`."""
    part, about = read_adapter(place)
    widths, base = list(part.config["channels"]), list(unet.config["block_out_channels"])
    widths += [widths[-1]] * (part.config["adapter_type"] == "light_adapter")
    if widths[: len(base)] != base or (part.config["adapter_type"] == "full_adapter_xl") != (len(base) == 3):
        title = family_of(unet.config).title
        raise CheckpointError(
            f"{place} is an adapter of widths {widths}, and the base, {title}, has {base}; use its own"
        )
    return Adapter(assemble(part, place, unet.conv_in.weight.dtype, unet.conv_in.weight.device), about)


def read_adapter(path: str | Path) -> tuple[Part, About]:
    """The parts of an adapter in a file, of either naming, or in a folder. Raises CheckpointError."""
    place = Path(path)
    facts = detect(place)
    if facts.kind != "t2i-adapter":
        refuse_foreign(facts)
        raise CheckpointError(f"{place} is a {facts.kind}, not a T2I-Adapter; see: underdraw inspect")
    if place.is_dir():
        return read_part(place), about_control(place, {})
    file = open_tensors(place)
    light = facts.details["form"] == "light"
    tensors = dict(file.tensors)
    if facts.layout == "original":
        tensors = translate(tensors, adapter_table(light, _blocks(tensors, light)), place)
    return Part("T2IAdapter", _config(tensors, light, place), tensors), about_control(place, file.said())


def adapter_table(light: bool, blocks: int) -> dict[str, str]:
    """Original → diffusers. blocks: residual blocks of a stage (two in full, four in light adapters)."""
    if light:
        table = {
            f"body.{stage}.{name}": f"adapter.body.{stage}.{name}"
            for stage in range(4)
            for name in ("in_conv", "out_conv")
        }
        inner = {
            f"body.{stage}.body.{block}.{name}": f"adapter.body.{stage}.resnets.{block}.{name}"
            for stage in range(4)
            for block in range(blocks)
            for name in _RESNET
        }
        return table | inner
    entries = {f"body.{stage * blocks}.in_conv": f"adapter.body.{stage}.in_conv" for stage in range(4)}
    inner = {
        f"body.{stage * blocks + block}.{name}": f"adapter.body.{stage}.resnets.{block}.{name}"
        for stage in range(4)
        for block in range(blocks)
        for name in _RESNET
    }
    return {"conv_in": "adapter.conv_in"} | entries | inner


def adapter_to_original(part: Part, place: Path) -> dict[str, Tensor]:
    """The tensors under the original's names. Raises CheckpointError for unknown ones."""
    light = part.config["adapter_type"] == "light_adapter"
    return translate(part.tensors, flip(adapter_table(light, part.config["num_res_blocks"])), place)


def _blocks(tensors: Mapping[str, Tensor], light: bool) -> int:
    """Residual blocks of a stage: of an original file, whose full form numbers four stages through."""
    pattern = r"^body\.0\.body\.(\d+)\." if light else r"^body\.(\d+)\."
    count = 1 + max((int(found[1]) for name in tensors if (found := re.match(pattern, name))), default=0)
    return count if light else count // 4


def _config(tensors: Mapping[str, Tensor], light: bool, place: Path) -> dict[str, Any]:
    """diffusers' config, from shapes in its naming."""
    entry = "adapter.body.0.in_conv.weight" if light else "adapter.conv_in.weight"
    blocks = 1 + max(
        (int(found[1]) for name in tensors if (found := re.match(r"adapter\.body\.0\.resnets\.(\d+)", name))), default=0
    )
    exits = "out_conv" if light else "resnets.0.block1"
    try:
        widths = [tensors[f"adapter.body.{stage}.{exits}.weight"].shape[0] for stage in range(4)]
        channels, factor = _FACTORS[tensors[entry].shape[1]]
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{place} is a T2I-Adapter of another form ({error}); it is not supported") from error
    kind = "light_adapter" if light else "full_adapter_xl" if factor == 16 else "full_adapter"
    return {
        "in_channels": channels,
        "channels": widths[:3] if light else widths,
        "num_res_blocks": blocks,
        "downscale_factor": factor,
        "adapter_type": kind,
    }
