"""Laws 1 and 4 for LoRA: a new one changes nothing, and training one leaves the bytes of the base as they are."""

import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from underdraw.model import (
    TARGETS,
    Control,
    Lora,
    LoraConfig,
    apply_policy,
    attach,
    build,
    build_lora,
    predict,
    trainable,
)
from underdraw.model.lora import Host

FAMILIES = ["sd15", "sd21", "sdxl", "pixels"]


def fingerprint(module: nn.Module) -> dict[str, str]:
    return {
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in module.state_dict().items()
    }


def fresh(host: Host, part: str = "unet") -> Lora:
    return build_lora(host, LoraConfig(rank=4, alpha=8.0, targets=TARGETS.names(), parts=[part]))


def inputs(models: Any, unet: Any, dtype: torch.dtype = torch.float32) -> Any:
    sample, timestep, text = models.inputs(unet)
    return sample.to(dtype), timestep, None if text is None else text.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_lora_is_silent(models: Any, family: str, dtype: torch.dtype) -> None:
    unet = models.unet(family).to(dtype)
    given = inputs(models, unet, dtype)
    with torch.no_grad():
        locked = predict(unet, *given)
        attached = attach({"unet": unet}, fresh({"unet": unet}), weight=1.7)
        assert torch.equal(predict(unet, *given), locked)
        attached.merge()
        assert torch.equal(predict(unet, *given), locked)


def test_a_new_lora_inside_a_branch_is_silent(models: Any) -> None:
    unet = models.unet("sd15")
    sample, timestep, text = inputs(models, unet)
    net = build(unet, 8)
    models.awaken(net)
    control = Control(net, models.condition("sd15"))
    with torch.no_grad():
        before = predict(unet, sample, timestep, text, [control])
        attach(net, fresh(net, "control"))
        assert torch.equal(predict(unet, sample, timestep, text, [control]), before)


def train(models: Any, unet: Any, learner: nn.Module, steps: int, controls: tuple[Control, ...] = ()) -> None:
    """A few steps of AdamW, weight decay and all, on whatever trains."""
    sample, timestep, text = inputs(models, unet)
    target: Tensor = torch.randn(sample.shape, generator=torch.Generator().manual_seed(4))
    optimizer = torch.optim.AdamW(trainable(unet, learner), lr=1e-3, weight_decay=0.1)
    for _ in range(steps):
        prediction = predict(unet, sample, timestep, text, controls)
        optimizer.zero_grad()
        torch.autograd.backward((prediction - target).square().mean())
        optimizer.step()


@pytest.mark.parametrize("family", FAMILIES)
def test_training_it_leaves_the_base_as_it_was(models: Any, family: str) -> None:
    unet = models.unet(family)
    apply_policy(unet, "lora")
    lora = fresh({"unet": unet})
    base, before = fingerprint(unet), fingerprint(lora)
    attached = attach({"unet": unet}, lora)
    train(models, unet, lora, steps=1)
    after = fingerprint(lora)
    assert all(before[name] != after[name] for name in before if name.endswith(".up")), "B moves at the first step"
    train(models, unet, lora, steps=2)
    assert all(before[name] != value for name, value in fingerprint(lora).items()), "then all of it"
    assert fingerprint(unet) == base and not list(trainable(unet))
    sample, timestep, text = inputs(models, unet)
    with torch.no_grad():
        heard = predict(unet, sample, timestep, text)
        attached.detach()
        assert not torch.equal(predict(unet, sample, timestep, text), heard)
    assert fingerprint(unet) == base


def test_at_first_only_b_has_a_gradient(models: Any) -> None:
    """∂L/∂A = (α/r)·Bᵀ·(…) = 0 at B = 0; ∂L/∂B = (α/r)·(…)·(A x)ᵀ is not."""
    unet = models.unet("sd15")
    lora = fresh({"unet": unet})
    attach({"unet": unet}, lora)
    train(models, unet, lora, steps=1)
    for name, parameter in lora.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.any()) == name.endswith(".up"), name


def test_inside_a_branch_everything_below_it_stays(models: Any) -> None:
    """The branch's own copy and the base are locked; only the adapters in the branch learn."""
    unet = models.unet("sd15")
    net = build(unet, 8)
    models.awaken(net)
    net.requires_grad_(False)
    lora = fresh(net, "control")
    base, branch, before = fingerprint(unet), fingerprint(net), fingerprint(lora)
    attach(net, lora)
    train(models, unet, nn.ModuleList([net, lora]), steps=2, controls=(Control(net, models.condition("sd15")),))
    assert (fingerprint(unet), fingerprint(net)) == (base, branch)
    assert all(before[name] != value for name, value in fingerprint(lora).items())
