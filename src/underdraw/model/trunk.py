"""The U-Net split at its waist: `encode` gives the skips, `decode` turns them into a prediction.

    sample ─ conv_in ─ down blocks ─ middle ┐            A *site* is a place where the backbone can be touched:
                │          │          │     │            every skip ("down.0", "down.1", …) and the "middle".
              down.0    down.i      middle  │            A branch says to which sites it speaks, a fusion makes
                └──────────┴── up blocks ◀──┘            the delta at one site, and `Encoding.plus` lays it on.
                                   │
                              prediction

Built on diffusers' own blocks: `decode(unet, encode(unet, …))` equals `unet(…)` bit for bit (a law test).
SD 1.5 has 12 skips and the middle, SDXL 9 and the middle. A pixel-space UNet2DModel, without text, fits as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from underdraw.errors import ConfigError, InputError
from underdraw.model.text import Text

Deltas = Mapping[str, Tensor]
"""What a control adds, by site name."""


@dataclass(frozen=True)
class Site:
    """A place where the backbone can be touched: `channels` features at 1/`scale` of the sample's height and width."""

    name: str
    channels: int
    scale: int

    @property
    def key(self) -> str:
        """The name as a module key ("0", "1", … or "middle"): the index that ControlNet files use."""
        return self.name.removeprefix("down.")


class Encoder(Protocol):
    """What `encode` needs: a U-Net's first half. A U-Net, its trainable copy and diffusers' ControlNetModel all fit.

    `mid_block` may be None; `add_time_proj` and `add_embedding` exist in SDXL only.
    """

    config: Any
    conv_in: Any
    time_proj: Any
    time_embedding: Any
    down_blocks: Any


class Trunk(Encoder, Protocol):
    """A whole U-Net."""

    up_blocks: Any
    conv_norm_out: Any
    conv_act: Any
    conv_out: Any


@dataclass(frozen=True, eq=False)
class Encoding:
    """What the first half of a U-Net leaves for the second.

    skips: B×C×h×w by site name, in the order of `sites`; the last is the middle.
    embedding: B×E, the timestep (and SDXL's sizes and pooled text).
    states: B×L×C text states, or None.
    """

    skips: Mapping[str, Tensor]
    embedding: Tensor
    states: Tensor | None

    def plus(self, *deltas: Deltas) -> "Encoding":
        """The encoding with all deltas added; each was made from these skips, so their order says nothing."""
        assert all(delta.keys() <= self.skips.keys() for delta in deltas), "a delta speaks to an unknown site"
        changed = {
            name: skip + reduce(add, told) if (told := [delta[name] for delta in deltas if name in delta]) else skip
            for name, skip in self.skips.items()
        }
        return replace(self, skips=changed)


def sites(unet: Encoder) -> tuple[Site, ...]:
    """Where this U-Net can be touched: its skips from the widest to the narrowest, then the middle.

    Raises ConfigError for a U-Net that does not fit.
    """
    check(unet)
    widths, scale = unet.config["block_out_channels"], 1
    found = [Site("down.0", widths[0], scale)]
    for block, width in zip(unet.down_blocks, widths, strict=True):
        found += [Site(f"down.{len(found) + index}", width, scale) for index in range(len(block.resnets))]
        if block.downsamplers is not None:
            scale *= 2
            found.append(Site(f"down.{len(found)}", width, scale))
    return (*found, Site("middle", widths[-1], scale))


def encode(
    unet: Encoder,
    sample: Tensor,
    timestep: Tensor | float,
    text: Text | None = None,
    injections: Sequence[Tensor | None] = (),
    hint: Tensor | None = None,
) -> Encoding:
    """The first half: the skips of a noisy sample.

    sample: B×C×h×w; timestep: one number or B of them; text: B prompts (None for a U-Net without text).
    injections: features added at the end of each down block, and then of the middle (T2I-Adapters enter here).
    hint: features added after the first convolution (the control branch's own copy of the encoder uses it).
    Raises ConfigError for a U-Net that does not fit, InputError for tensors that don't fit it.
    """
    check(unet)
    states = _states(unet, text)
    embedding = embed(unet, sample, timestep, text)
    return Encoding(descend(unet, sample, embedding, states, injections, hint), embedding, states)


def descend(
    unet: Encoder,
    sample: Tensor,
    embedding: Tensor,
    states: Tensor | None,
    injections: Sequence[Tensor | None] = (),
    hint: Tensor | None = None,
) -> dict[str, Tensor]:
    """The skips by site name, from the embedded time and the text's states; all else as in `encode`."""
    hidden = unet.conv_in(sample)
    hidden = hidden if hint is None else hidden + fitting(hint, hidden)
    skips = [hidden]
    for block, injection in zip(unet.down_blocks, _padded(injections, len(unet.down_blocks)), strict=True):
        hidden, left = _down(block, hidden, embedding, states, injection)
        skips += left
    middle = getattr(unet, "mid_block", None)
    if middle is not None:
        hidden = middle(hidden, embedding, **_cross(middle, states))
    if len(injections) > len(unet.down_blocks) and injections[-1] is not None:
        hidden = hidden + injections[-1]
    names = [*(f"down.{index}" for index in range(len(skips))), "middle"]
    return dict(zip(names, [*skips, hidden], strict=True))


def decode(unet: Trunk, encoding: Encoding) -> Tensor:
    """The second half: the prediction, B×C×h×w as the sample."""
    *skips, hidden = encoding.skips.values()
    odd = is_odd(unet, skips[0])
    for block in unet.up_blocks:
        count = len(block.resnets)
        skips, beside = skips[:-count], tuple(skips[-count:])
        size = {"upsample_size": skips[-1].shape[2:]} if odd and skips else {}
        hidden = block(
            hidden_states=hidden,
            res_hidden_states_tuple=beside,
            temb=encoding.embedding,
            **_cross(block, encoding.states),
            **size,
        )
    if unet.conv_norm_out is not None:
        hidden = unet.conv_act(unet.conv_norm_out(hidden))
    prediction: Tensor = unet.conv_out(hidden)
    return prediction


def fitting(hint: Tensor, hidden: Tensor) -> Tensor:
    """The hint, if it can be laid on the features `hidden` (its batch may be 1). Raises InputError otherwise."""
    if hint.shape[1:] != hidden.shape[1:] or len(hint) not in (1, len(hidden)):
        raise InputError(
            f"the condition map gives a hint of {tuple(hint.shape)} where the sample needs {tuple(hidden.shape)}"
            " (batch, channels, height, width); make the map as large as the picture"
        )
    return hint


# What fits. A setting is absent (None) or among the values that this trunk understands.
_UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "addition_embed_type": (None, "text_time"),
    "attention_type": (None, "default"),
    "center_input_sample": (None, False),
    "class_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_type": (None, "UNetMidBlock2D", "UNetMidBlock2DCrossAttn"),
    "num_class_embeds": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_type": (None, "positional"),
}
_DOWN_BLOCKS = {"DownBlock2D", "CrossAttnDownBlock2D", "AttnDownBlock2D"}
_UP_BLOCKS = {"UpBlock2D", "CrossAttnUpBlock2D", "AttnUpBlock2D"}


def check(unet: Encoder) -> None:
    """Raises ConfigError naming the first setting of a U-Net that this trunk does not understand."""
    config = unet.config
    for key, understood in _UNDERSTOOD.items():
        _refuse_unless(config.get(key) in understood, key, config.get(key))
    for key, kinds in (("down_block_types", _DOWN_BLOCKS), ("up_block_types", _UP_BLOCKS)):
        for kind in config.get(key) or ():
            _refuse_unless(kind in kinds, key, kind)


def _refuse_unless(good: bool, key: str, value: Any) -> None:
    if not good:
        raise ConfigError(f"U-Nets with {key} = {value!r} are not supported; use one shaped like SD 1.5, 2.1 or SDXL")


def embed(unet: Encoder, sample: Tensor, timestep: Tensor | float, text: Text | None) -> Tensor:
    """The timestep's embedding B×E; in SDXL plus that of the pooled text and the picture's sizes."""
    # As diffusers does: a float timestep (continuous schedules) keeps its precision until it is projected.
    kind = torch.float64 if isinstance(timestep, float) and sample.device.type != "mps" else None
    timesteps = torch.as_tensor(timestep, dtype=kind, device=sample.device).reshape(-1).expand(len(sample))
    embedding: Tensor = unet.time_embedding(unet.time_proj(timesteps).to(sample.dtype))
    add_embedding = getattr(unet, "add_embedding", None)
    if add_embedding is None:
        return embedding
    if text is None or text.pooled is None or text.time_ids is None:
        raise InputError("this U-Net (SDXL) needs pooled text and sizes; encode with both and call text.sized(…)")
    sizes = unet.add_time_proj(text.time_ids.flatten()).reshape(len(text.pooled), -1)  # type: ignore[attr-defined]
    added: Tensor = add_embedding(torch.cat([text.pooled, sizes], dim=-1).to(embedding.dtype))
    return embedding + added


def _down(
    block: nn.Module, hidden: Tensor, embedding: Tensor, states: Tensor | None, injection: Tensor | None
) -> tuple[Tensor, Iterable[Tensor]]:
    cross = _cross(block, states)
    if cross and injection is not None:
        cross["additional_residuals"] = injection  # diffusers lays it on before the block's downsampling
    hidden, skips = block(hidden_states=hidden, temb=embedding, **cross)
    if not cross and injection is not None:
        hidden = hidden + injection
        skips = (*skips[:-1], hidden)
    return hidden, skips


def _cross(block: nn.Module, states: Tensor | None) -> dict[str, Tensor | None]:
    return {"encoder_hidden_states": states} if getattr(block, "has_cross_attention", False) else {}


def _states(unet: Encoder, text: Text | None) -> Tensor | None:
    if text is not None:
        return text.states
    if any(_cross(block, None) for block in unet.down_blocks):
        raise InputError(
            "this U-Net listens to text and was given none; pass the encoded prompt (an empty one will do)"
        )
    return None


def _padded(injections: Sequence[Tensor | None], count: int) -> list[Tensor | None]:
    if len(injections) > count + 1:
        raise InputError(f"{len(injections)} injections for {count} down blocks and the middle; leave some out")
    return [*injections[:count], *[None] * (count - len(injections))]


def is_odd(unet: Trunk, widest: Tensor) -> bool:
    """Whether halving and doubling would miss the sample's size, so that sizes must be handed to the up blocks."""
    whole = 2 ** sum(block.upsamplers is not None for block in unet.up_blocks)
    odd = any(side % whole for side in widest.shape[2:])
    if odd and "AttnUpBlock2D" in unet.config["up_block_types"]:
        raise InputError(
            f"this U-Net draws only multiples of {whole}, not {tuple(widest.shape[2:])}; choose another size"
        )
    return odd
