"""LoRA: small changes of a locked model's layers, laid on and taken off without touching its weights.

    h = W·x + Σ w·block·(α/r)·B·A·x

`attach` is an exact inverse of `Attached.detach`: the adapters speak through a forward hook a layer, so the model keeps
its modules, its names and its bytes. (peft would replace every layer by a wrapper, which renames the base's keys and
knows neither the file formats' Tucker cores nor weights by block; so it only serves as the measure in the tests.)

An adapter's address is the part and the path that files use: "unet.down_blocks.0.attentions.0…to_q",
"text_encoder.text_model.encoder.layers.0.self_attn.q_proj", or "control.…" inside a control branch.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from underdraw.errors import ConfigError, InputError
from underdraw.model.adapters import Adapter, Layer
from underdraw.model.backbone import Backbone
from underdraw.model.blocks import block_of, check_blocks
from underdraw.model.controlnet import ControlNet

Host = Backbone | ControlNet | Mapping[str, nn.Module]
"""What a LoRA is attached to: a backbone, a control network, or modules by part name."""


class Lora(nn.Module):
    """Adapters by address, planted as a tree, so that the state dict's names are addresses too."""

    def __init__(self, adapters: Mapping[str, Adapter]) -> None:
        super().__init__()
        self.adapters = dict(adapters)
        for address, adapter in self.adapters.items():
            *path, leaf = address.split(".")
            place: nn.Module = self
            for name in path:
                if name not in place._modules:
                    place.add_module(name, nn.Module())
                place = cast(nn.Module, place._modules[name])
            place.add_module(leaf, adapter)

    @property
    def text_width(self) -> int | None:
        """The width of the text that its U-Net hears (768 SD 1.x, 1024 SD 2.x, 2048 SDXL), if it changes that."""
        for address, adapter in self.adapters.items():
            if not address.startswith("text_encoder") and address.endswith(("attn2.to_k", "attn2.to_v")):
                return adapter.shape()[1]
        return None


def parts(host: Host) -> dict[str, nn.Module]:
    """The modules that a LoRA can change, by the first word of its addresses."""
    if isinstance(host, ControlNet):
        return {"control": host.branch}
    if isinstance(host, Backbone):
        names = ("text_encoder", "text_encoder_2")
        return {"unet": host.unet} | dict(zip(names, host.text_encoders, strict=False))
    return dict(host)


def layers(host: Host) -> Iterator[tuple[str, nn.Module]]:
    """All addresses of a host with their modules."""
    for part, module in parts(host).items():
        # Some text encoders hide `text_model`; files always name it.
        inner = "text_model." if part.startswith("text_encoder") and not hasattr(module, "text_model") else ""
        for path, layer in module.named_modules():
            if path:
                yield f"{part}.{inner}{path}", layer


FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}
"""Families by the width of their text."""


def misfit(lora: Lora, host: Host) -> str | None:
    """Why a LoRA can't change this host, in words; None when it can."""
    made_for = lora.text_width
    for module in parts(host).values():
        config: Any = getattr(module, "config", {})
        base = config.get("cross_attention_dim") if isinstance(config, Mapping) else None
        if made_for is not None and base is not None and base != made_for:
            return f"it was made for text of width {_family(made_for)}, and this base hears {_family(base)}"
    known = dict(layers(host))
    if lacking := sorted(lora.adapters.keys() - known.keys()):
        shown = ", ".join(lacking[:3]) + (" …" if len(lacking) > 3 else "")
        return f"it changes {len(lacking)} layers that this base lacks ({shown})"
    wrong = {address: reason for address, each in lora.adapters.items() if (reason := each.misfit(known[address]))}
    return next((f"{address} {reason}" for address, reason in wrong.items()), None)


def _family(width: int) -> str:
    return f"{width} ({FAMILIES[width]})" if width in FAMILIES else str(width)


def attach(host: Host, lora: Lora, weight: float = 1.0, blocks: Mapping[str, float] | None = None) -> "Attached":
    """Lay a LoRA on a host; several add up, in whatever order they come.

    weight: how loud. blocks: one more weight for some blocks (see `block_weights`); the others keep 1.
    Raises ConfigError when it was made for another base, InputError for a weight that is no number.
    """
    if reason := misfit(lora, host):
        raise ConfigError(f"the LoRA does not fit: {reason}; use one of its family")
    check_blocks(blocks or {})
    return Attached(host, lora, weight, blocks or {})


def attached_to(host: Host) -> list["Attached"]:
    """What lies on a host, in the order in which it came to its layers."""
    choirs = [chorus for _, layer in layers(host) if (chorus := _Chorus.of(layer))]
    return list(dict.fromkeys(voice.attached for chorus in choirs for voice in chorus.voices))


def detach(host: Host, lora: Lora | None = None) -> None:
    """Take a LoRA off a host, or all of them: the inverse of `attach`, for those who don't keep what it gave."""
    for attached in attached_to(host):
        if lora is None or attached.lora is lora:
            attached.detach()


class Attached:
    """A LoRA on a host. Its `weight` can be set at any time; at 0, or detached, the host gives its own bits again."""

    def __init__(self, host: Host, lora: Lora, weight: float, blocks: Mapping[str, float]) -> None:
        self.lora, self.merged = lora, False
        self.weight = weight
        depth, known = _depths(host), dict(layers(host))
        self._voices = [
            _Voice(self, adapter, blocks.get(block_of(address, depth), 1.0), _Chorus.on(known[address]))
            for address, adapter in lora.adapters.items()
        ]
        for voice in self._voices:
            voice.chorus.voices.append(voice)

    @property
    def weight(self) -> float:
        """How loud all of it is."""
        return self._weight

    @weight.setter
    def weight(self, weight: float) -> None:
        if not math.isfinite(weight):
            raise InputError(f"LoRA weight {weight} is not a number; 1 is the usual one")
        self._weight = float(weight)
        if self.merged:
            self._refresh()

    def merge(self) -> Self:
        """Put it into the weights themselves: drawing costs nothing more. The host's own weights are kept beside."""
        return self._set_merged(True)

    def unmerge(self) -> Self:
        """Take it out of the weights, which are then bit for bit what they were, and speak beside them again."""
        return self._set_merged(False)

    def detach(self) -> None:
        """Take it off; the host is as it was before. Twice is once."""
        self.unmerge()
        for voice in self._voices:
            voice.chorus.remove(voice)
        self._voices = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def _set_merged(self, merged: bool) -> Self:
        if self.merged != merged:
            self.merged = merged
            self._refresh()
        return self

    def _refresh(self) -> None:
        for voice in self._voices:
            voice.chorus.refresh()


class _Voice:
    """One adapter on one layer."""

    def __init__(self, attached: Attached, adapter: Adapter, level: float, chorus: "_Chorus") -> None:
        self.attached, self.adapter, self.level, self.chorus = attached, adapter, level, chorus

    @property
    def weight(self) -> float:
        return self.attached.weight * self.level


class _Chorus:
    """All adapters on one layer: its forward hook, and the keeper of its own weights while some are merged."""

    def __init__(self, layer: Layer | None = None) -> None:
        self.layer, self.voices = layer, list[_Voice]()
        self.original: Tensor | None = None
        self.hook = None if layer is None else layer.register_forward_hook(self)

    @classmethod
    def of(cls, layer: nn.Module) -> "_Chorus | None":
        """The layer's chorus, if it has one."""
        return next((hook for hook in layer._forward_hooks.values() if isinstance(hook, cls) and hook.layer), None)

    @classmethod
    def on(cls, layer: nn.Module) -> "_Chorus":
        """The layer's chorus, a new one if it has none."""
        return cls.of(layer) or cls(cast(Layer, layer))

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        heard = [
            voice.adapter(inputs[0], layer, voice.weight)
            for voice in self.voices
            if voice.weight != 0 and not voice.attached.merged
        ]
        # Summed before they are added, so that two of them give the same bits in both orders.
        return output + _sum(heard).to(output.dtype) if heard else None

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Chorus":
        """A copy of the model (a trainable encoder) is a copy of the model alone."""
        return _Chorus()

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the layer's weight what the merged adapters say: its own, and their changes."""
        layer = cast(Layer, self.layer)
        changes = [voice for voice in self.voices if voice.weight != 0 and voice.attached.merged]
        if not changes:
            if self.original is not None:
                layer.weight.copy_(self.original)
                self.original = None
            return
        if self.original is None:
            self.original = layer.weight.detach().clone()
        own = self.original.to(layer.weight.device)
        change = _sum([voice.weight * voice.adapter.delta(own) for voice in changes])
        layer.weight.copy_(own.float() + change)

    def remove(self, voice: _Voice) -> None:
        """Let one go; the last one closes the door."""
        self.voices.remove(voice)
        if not self.voices and self.hook is not None:
            self.hook.remove()


def _sum(tensors: list[Tensor]) -> Tensor:
    return sum(tensors[1:], tensors[0])


def _depths(host: Host) -> int:
    """Resnets a level of the host's U-Net or branch: what its blocks are counted by."""
    found = [
        len(cast(Any, module).down_blocks[0].resnets)
        for module in parts(host).values()
        if hasattr(module, "down_blocks")
    ]
    return found[0] if found else 2
