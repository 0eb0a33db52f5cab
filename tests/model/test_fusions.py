"""Fusions give deltas: nothing in, nothing changed, and the path can learn."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from underdraw.errors import ConfigError
from underdraw.model import FUSIONS, FusionConfig
from underdraw.model.fusions import Attention, Concat, Residual, build_fusion

ATTENTIONS = [Attention(8, 2, reverse, joint) for reverse in (False, True) for joint in (False, True)]
ALL = [*(FUSIONS[name](8) for name in FUSIONS), *ATTENTIONS]


def pair(channels: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    skip, signal = torch.randn(2, 2, channels, 4, 6, generator=generator)
    return skip, signal


@pytest.mark.parametrize("fuse", ALL, ids=lambda fuse: type(fuse).__name__)
def test_silent_but_alive(fuse: torch.nn.Module) -> None:
    skip, _ = pair()
    silence = torch.zeros(2, 8, 4, 6, requires_grad=True)
    delta = fuse(skip, silence)
    assert_close(delta, torch.zeros_like(delta), atol=1e-6, rtol=0)
    (delta * torch.randn_like(delta)).sum().backward()
    assert silence.grad is not None
    assert silence.grad.abs().sum() > 0


@pytest.mark.parametrize("fuse", ALL, ids=lambda fuse: type(fuse).__name__)
def test_a_signal_is_heard_and_every_weight_learns(fuse: torch.nn.Module) -> None:
    skip, signal = pair()
    delta = fuse(skip, signal.requires_grad_())
    assert delta.shape == skip.shape
    (delta * torch.randn_like(delta)).sum().backward()
    assert delta.abs().sum() > 0
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in fuse.parameters())


@pytest.mark.parametrize("name", ["add", "residual", "concat"])
def test_start_as_add(name: str) -> None:
    skip, signal = pair()
    assert torch.equal(FUSIONS[name](8)(skip, signal), signal)


def test_concat_is_the_convolution_of_both_minus_the_skip() -> None:
    skip, signal = pair()
    fuse = Concat(8)
    torch.nn.init.normal_(fuse.weight)
    expected = torch.nn.functional.conv2d(torch.cat([skip, signal], 1), fuse.weight) - skip
    assert_close(fuse(skip, signal), expected)


@pytest.mark.parametrize("fuse", ATTENTIONS, ids=lambda fuse: f"reverse={fuse.reverse},joint={fuse.joint}")
def test_attention_is_its_formula(fuse: Attention) -> None:
    """δ = O·(A(h, s) - A(h, 0)), written out head by head."""
    skip, signal = pair()
    known, said = (features.flatten(2).transpose(1, 2) for features in (skip, signal))
    nothing = torch.zeros_like(said)

    def attend(asking: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        query, key, value = fuse.query(asking), fuse.key(context), fuse.value(context)
        heads = []
        for q, k, v in zip(query.chunk(2, -1), key.chunk(2, -1), value.chunk(2, -1), strict=True):
            heads.append((q @ k.transpose(1, 2) / 4**0.5).softmax(-1) @ v)
        return torch.cat(heads, -1)

    def context(now: torch.Tensor) -> torch.Tensor:
        alone = now if fuse.reverse else known
        return torch.cat([known, now], 1) if fuse.joint else alone

    if fuse.reverse:
        told = attend(known, context(said)) - attend(known, context(nothing))
    else:
        told = attend(said, context(said)) - attend(nothing, context(said))
    assert_close(fuse(skip, signal), fuse.out(told).transpose(1, 2).reshape(skip.shape), atol=1e-5, rtol=1e-4)


def test_attention_at_zero_is_the_mean_of_the_values() -> None:
    skip, _ = pair()
    fuse = Attention(8, heads=2)
    values = fuse.value(skip.flatten(2).transpose(1, 2))
    answer = fuse._attend(torch.zeros(2, 1, 8), skip.flatten(2).transpose(1, 2))
    assert_close(answer, values.mean(1, keepdim=True))


def test_attention_is_silent_whatever_its_weights() -> None:
    skip, _ = pair()
    for fuse in ATTENTIONS:
        for parameter in fuse.parameters():
            torch.nn.init.normal_(parameter)
        delta = fuse(skip, torch.zeros_like(skip))
        assert_close(delta, torch.zeros_like(delta), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("channels", "heads"), [(32, 1), (64, 1), (320, 5), (640, 10), (1280, 20), (200, 2)])
def test_attention_chooses_heads_of_about_64_channels(channels: int, heads: int) -> None:
    assert Attention(channels).heads == heads


def test_residual_strength_is_learned_or_set() -> None:
    assert [name for name, _ in Residual(8).named_parameters()] == ["alpha"]
    fixed = Residual(8, alpha=0.5, learned=False)
    assert not list(fixed.parameters())
    assert "alpha" in fixed.state_dict()
    skip, signal = pair()
    assert torch.equal(fixed(skip, signal), 0.5 * signal)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "ad"}, "'add'"),
        ({"kind": "add", "options": {"alpha": 1}}, "no option 'alpha'"),
        ({"kind": "residual", "options": {"alpa": 1}}, "did you mean 'alpha'"),
        ({"kind": "residual", "options": {"alpha": 0}}, "never learn"),
        ({"kind": "attention", "options": {"heads": 3}}, "3 heads"),
    ],
)
def test_mistakes_are_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_fusion(FusionConfig.model_validate(table), 8)
