"""Law 4. Locked means locked: `requires_grad` alone says what trains, and the first steps do what section 3.1 says."""

import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from underdraw.errors import ConfigError
from underdraw.model import (
    BRANCHES,
    FUSIONS,
    POLICIES,
    BranchConfig,
    Control,
    ControlConfig,
    FusionConfig,
    Text,
    apply_policy,
    build,
    encode,
    predict,
    trainable,
)
from underdraw.model.taps import tap

Inputs = tuple[Tensor, Tensor, Text | None]


def fingerprint(module: nn.Module) -> dict[str, str]:
    return {
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in module.state_dict().items()
    }


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def train(models: Any, unet: Any, net: Any, steps: int = 1, family: str = "sd15") -> None:
    """A few steps of AdamW, weight decay and all, on whatever trains."""
    sample, timestep, text = models.inputs(unet)
    target = torch.randn(sample.shape, generator=torch.Generator().manual_seed(4))
    optimizer = torch.optim.AdamW(trainable(unet, net), lr=1e-3, weight_decay=0.1)
    for _ in range(steps):
        prediction = predict(unet, sample, timestep, text, controls=[Control(net, models.condition(family))])
        optimizer.zero_grad()
        torch.autograd.backward((prediction - target).square().mean())
        optimizer.step()


@pytest.mark.parametrize("family", ["sd15", "sdxl", "pixels"])
@pytest.mark.parametrize("branch", BRANCHES.names())
def test_a_locked_run_leaves_the_bytes_unchanged(models: Any, family: str, branch: str) -> None:
    unet = models.unet(family)
    apply_policy(unet, "locked")
    net = build(unet, models.factor(family), ControlConfig(branch=BranchConfig(kind=branch)))
    base, branch_before = fingerprint(unet), fingerprint(net)
    train(models, unet, net, steps=2, family=family)
    assert fingerprint(unet) == base
    assert changed(branch_before, fingerprint(net)) >= {name for name in branch_before if "controlnet" in name}


@pytest.mark.parametrize("policy", POLICIES.names())
def test_a_policy_trains_what_it_names_and_nothing_else(models: Any, policy: str) -> None:
    unet = models.unet("sd15")
    chosen = apply_policy(unet, policy)
    net = build(unet, 8, ControlConfig(branch=BranchConfig(sites=chosen.sites)))
    before = fingerprint(unet)
    train(models, unet, net)
    named = tuple(f"{part}." if part else "" for part in chosen.unlocked)
    expected = {name for name in before if name.startswith(named)} if named else set()
    assert changed(before, fingerprint(unet)) == expected
    assert all(site.name == "middle" for site in net.sites) == (policy == "only-middle")
    assert {name for name, parameter in unet.named_parameters() if parameter.requires_grad} == expected


def test_policies_are_exact_inverses(models: Any) -> None:
    unet = models.unet("sd15")
    for policy in ("all", "decoder", "locked"):
        apply_policy(unet, policy)
    assert list(trainable(unet)) == []
    with pytest.raises(ConfigError, match="did you mean 'locked'"):
        apply_policy(unet, "lockd")


def test_autograd_builds_no_graph_for_the_locked_encoder(models: Any) -> None:
    """Without any no_grad: nothing in it requires a gradient, so nothing is kept."""
    unet = models.unet("sd15")
    encoding = encode(unet, *models.inputs(unet))
    assert not any(skip.requires_grad for skip in encoding.skips.values())
    inputs: Inputs = models.inputs(unet)
    net = build(unet, 8)
    assert predict(unet, *inputs, controls=[Control(net, models.condition("sd15"))]).requires_grad


def test_a_copy_of_a_locked_unet_is_trainable(models: Any) -> None:
    unet = models.unet("sd15")
    net = build(unet, 8)
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not {id(each) for each in net.parameters()} & {id(each) for each in unet.parameters()}


def is_tap(name: str) -> bool:
    return any(part in name for part in ("controlnet_down_blocks", "controlnet_mid_block"))


@pytest.mark.parametrize("fusion", FUSIONS.names())
@pytest.mark.parametrize("branch", BRANCHES.names())
def test_first_the_taps_move_then_all_behind_them(models: Any, branch: str, fusion: str) -> None:
    """∂y/∂w ≠ 0 and ∂y/∂x = 0 at the start; after one step the gradient reaches the whole branch."""
    unet = models.unet("sd15")
    net = build(unet, 8, ControlConfig(branch=BranchConfig(kind=branch), fusion=FusionConfig(kind=fusion)))
    branch_parameters = dict(net.branch.named_parameters())
    train(models, unet, net, steps=1)
    for name, parameter in branch_parameters.items():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()) == is_tap(name), name
    train(models, unet, net, steps=1)
    # The hint encoder closes with a zero convolution of its own: it moves now, and what is behind it one step later.
    assert branch_parameters["controlnet_cond_embedding.conv_out.weight"].grad.any()  # type: ignore[union-attr]
    train(models, unet, net, steps=1)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_the_zero_convolution() -> None:
    """y = w·x + b at w = b = 0: ∂y/∂w = x, ∂y/∂b = 1, ∂y/∂x = w = 0; after one step ∂y/∂x = w ≠ 0."""
    zero, x = tap("zero", 3), torch.randn(1, 3, 1, 1, requires_grad=True)

    def gradients() -> tuple[Tensor, Tensor, Tensor]:
        y = zero(x)
        assert zero.bias is not None
        by_weight, by_bias, by_x = torch.autograd.grad(y.sum(), (zero.weight, zero.bias, x))
        return by_weight, by_bias, by_x

    assert not zero(x).any()
    by_weight, by_bias, by_x = gradients()
    assert_close(by_weight[:, :, 0, 0], x.detach()[0, :, 0, 0].expand(3, 3))
    assert_close(by_bias, torch.ones(3))
    assert not by_x.any()
    with torch.no_grad():
        zero.weight -= 0.1 * by_weight
    assert_close(gradients()[2].flatten(), zero.weight.sum((0, 2, 3)))
    assert gradients()[2].any()
