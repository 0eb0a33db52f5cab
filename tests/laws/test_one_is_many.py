"""Law 6. A batch of different maps, weights, masks and texts gives each item what it gets alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.model import BRANCHES, FUSIONS, BranchConfig, Control, ControlConfig, FusionConfig, Text, build, predict

BATCH = 4

Inputs = tuple[Tensor, Tensor, Text | None]


def some_net(models: Any, unet: Any, branch: str = "full", fusion: str = "add", family: str = "sd15") -> Any:
    config = ControlConfig(branch=BranchConfig(kind=branch), fusion=FusionConfig(kind=fusion))
    net = build(unet, models.factor(family), config)
    models.awaken(net)
    return net


def some_control(models: Any, net: Any, family: str = "sd15", seed: int = 0) -> Control:
    generator = torch.Generator().manual_seed(seed)
    condition = models.condition(family, BATCH, seed=seed)
    mask = (torch.rand(BATCH, 1, 32, 32, generator=generator) > 0.5).float()
    return Control(net, condition, torch.tensor([1.0, 0.0, 0.3, -0.5]), mask=mask)


def item(control: Control, index: int) -> Control:
    """The control of one item of the batch."""
    one = slice(index, index + 1)
    weight, mask = torch.as_tensor(control.weight), control.mask
    return replace(
        control,
        condition=control.condition[one],
        weight=float(weight[index]),
        mask=None if mask is None else mask[one],
        hint=None if control.hint is None else control.hint[one],
    )


@pytest.mark.parametrize("family", ["sd15", "sdxl", "pixels"])
def test_every_item_gets_what_it_gets_alone(models: Any, family: str) -> None:
    unet = models.unet(family)
    controls = [some_control(models, some_net(models, unet, family=family), family, seed) for seed in (0, 1)]
    assert_items_are_alone(models, unet, controls)


@pytest.mark.parametrize("fusion", FUSIONS.names())
@pytest.mark.parametrize("branch", BRANCHES.names())
def test_in_every_branch_and_fusion(models: Any, branch: str, fusion: str) -> None:
    unet = models.unet("sd15")
    assert_items_are_alone(models, unet, [some_control(models, some_net(models, unet, branch, fusion))])


def assert_items_are_alone(models: Any, unet: Any, controls: list[Control]) -> None:
    sample, timestep, text = models.inputs(unet, BATCH)
    with torch.no_grad():
        together = predict(unet, sample, timestep, text, controls)
        for index in range(BATCH):
            one = slice(index, index + 1)
            words = None if text is None else text[one]
            alone = predict(
                unet, sample[one], timestep[one], words, controls=[item(control, index) for control in controls]
            )
            assert_close(together[one], alone, rtol=1e-5, atol=1e-5)


def test_one_map_serves_a_whole_batch(models: Any) -> None:
    unet = models.unet("sd15")
    net = some_net(models, unet)
    inputs: Inputs = models.inputs(unet)
    one = models.condition("sd15", batch=1)
    with torch.no_grad():
        shared, repeated = (
            predict(unet, *inputs, controls=[Control(net, each)]) for each in (one, one.repeat(2, 1, 1, 1))
        )
    assert torch.equal(shared, repeated)


def test_the_order_of_controls_says_nothing(models: Any) -> None:
    unet = models.unet("sd15")
    first, second = (some_control(models, some_net(models, unet, fusion="concat"), seed=seed) for seed in (0, 1))
    inputs: Inputs = models.inputs(unet, BATCH)
    with torch.no_grad():
        assert torch.equal(
            predict(unet, *inputs, controls=[first, second]), predict(unet, *inputs, controls=[second, first])
        )


@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_gradients_of_a_batch_are_those_of_its_halves(models: Any, fusion: str) -> None:
    unet = models.unet("sd15").double()
    net = some_net(models, unet, fusion=fusion)
    sample, timestep, text = models.inputs(unet, BATCH)
    sample, text, condition = sample.double(), text.to(torch.float64), models.condition("sd15", BATCH).double()

    def gradients(items: slice) -> list[Tensor]:
        control = Control(net, condition[items])
        prediction = predict(unet, sample[items], timestep[items], text[items], controls=[control])
        return list(torch.autograd.grad(prediction.square().mean(), list(net.parameters())))

    halves = zip(gradients(slice(0, 2)), gradients(slice(2, 4)), strict=True)
    for whole, (first, second) in zip(gradients(slice(0, 4)), halves, strict=True):
        assert_close(whole, (first + second) / 2, rtol=1e-5, atol=1e-12)
