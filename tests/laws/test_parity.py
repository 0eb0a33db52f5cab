"""Law 2. Same weights, same inputs: the split equals diffusers' U-Net, and full copy + add its ControlNetModel."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from torch import Tensor

from underdraw.model import Control, Text, build, decode, encode, predict, save_control

FAMILIES = ["sd15", "sd21", "sdxl"]
SIZES = [(16, 8), (12, 20), (9, 7)]

Inputs = tuple[Tensor, Tensor, Text | None]


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_split_is_the_unet(models: Any, family: str, size: tuple[int, int]) -> None:
    unet = models.unet(family)
    sample, timestep, text = models.inputs(unet, size=size)
    assert torch.equal(decode(unet, encode(unet, sample, timestep, text)), models.stock(unet, sample, timestep, text))


def test_the_split_is_the_pixel_unet(models: Any) -> None:
    unet = models.unet("pixels")
    sample, timestep, _ = models.inputs(unet, size=(10, 16))
    assert torch.equal(decode(unet, encode(unet, sample, timestep)), models.stock(unet, sample, timestep, None))


@pytest.mark.parametrize("timestep", [500, 3.25, torch.tensor(7), torch.tensor([7]), torch.tensor([1.5, 900.0])])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_every_way_to_give_a_timestep(models: Any, family: str, timestep: Any) -> None:
    unet = models.unet(family)
    sample, _, text = models.inputs(unet)
    assert torch.equal(predict(unet, sample, timestep, text), models.stock(unet, sample, timestep, text))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_split_in_other_precisions(models: Any, dtype: torch.dtype) -> None:
    unet = models.unet("sdxl").to(dtype)
    sample, timestep, text = models.inputs(unet)
    sample, text = sample.to(dtype), text.to(dtype)
    assert torch.equal(predict(unet, sample, timestep, text), models.stock(unet, sample, timestep, text))


@pytest.mark.parametrize("middle", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_injections_are_those_of_adapters(models: Any, family: str, middle: bool) -> None:
    unet = models.unet(family)
    sample, timestep, text = models.inputs(unet, size=(16, 16))
    features = list(encode(unet, sample, timestep, text).skips.values())
    # Where adapters enter: the last feature of each block before its downsampling; of one without attention, the last.
    index, injections = 0, []
    for block in unet.down_blocks:
        index += len(block.resnets)
        down = block.downsamplers is not None
        injections.append(torch.randn_like(features[index + (down and not hasattr(block, "attentions"))]))
        index += down
    if middle:
        injections.append(torch.randn_like(features[-1]))
    theirs = models.stock(unet, sample, timestep, text, down_intrablock_additional_residuals=list(injections))
    ours = predict(unet, sample, timestep, text, injections=injections)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, predict(unet, sample, timestep, text))


def diffusers_net(net: Any, folder: Path) -> ControlNetModel:
    save_control(net, folder)
    loaded = ControlNetModel.from_pretrained(folder)
    # A mapped file's tensors lie at any address, and there oneDNN rounds a 1×1 convolution over one pixel differently.
    loaded.load_state_dict({name: tensor.clone() for name, tensor in loaded.state_dict().items()}, assign=True)
    return loaded


def controlled_by_diffusers(models: Any, unet: Any, net: Any, maps: Any, scale: Any, *inputs: Any) -> torch.Tensor:
    sample, timestep, text = inputs
    down, middle = net(
        sample, timestep, text.states, maps, scale, added_cond_kwargs=models.added(text), return_dict=False
    )
    extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    prediction: torch.Tensor = models.stock(unet, *inputs, **extra)
    return prediction


@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("family", FAMILIES)
def test_full_and_add_is_diffusers_controlnet(models: Any, family: str, scale: float, tmp_path: Path) -> None:
    unet = models.unet(family)
    inputs: Inputs = models.inputs(unet)
    condition = models.condition(family)
    net = build(unet, 8)
    models.awaken(net)
    theirs = controlled_by_diffusers(models, unet, diffusers_net(net, tmp_path / "net"), condition, scale, *inputs)
    ours = predict(unet, *inputs, controls=[Control(net, condition, weight=scale)])
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, predict(unet, *inputs))


@pytest.mark.parametrize("family", FAMILIES)
def test_two_controls_are_diffusers_multi_controlnet(models: Any, family: str, tmp_path: Path) -> None:
    unet, scales = models.unet(family), [0.4, 1.3]
    inputs: Inputs = models.inputs(unet)
    maps = [models.condition(family, seed=seed) for seed in (5, 6)]
    nets = [build(unet, 8), build(unet, 8)]
    for seed, net in enumerate(nets):
        models.awaken(net, seed)
    multi = MultiControlNetModel([diffusers_net(net, tmp_path / str(index)) for index, net in enumerate(nets)])
    theirs = controlled_by_diffusers(models, unet, multi, maps, scales, *inputs)
    controls = [Control(net, each, weight=scale) for net, each, scale in zip(nets, maps, scales, strict=True)]
    assert torch.equal(predict(unet, *inputs, controls), theirs)


def test_a_new_branch_is_what_diffusers_would_make(models: Any) -> None:
    """Same keys, same shapes, and the copied weights."""
    unet = models.unet("sdxl")
    ours, theirs = build(unet, 8).branch.state_dict(), ControlNetModel.from_unet(unet).state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].shape == tensor.shape
        if not name.startswith("controlnet_cond_embedding"):
            assert torch.equal(ours[name], tensor), name


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_parity_at_real_width(models: Any, family: str) -> None:
    """At the sizes of the real models. Nothing is held twice, so SDXL fits into 12 GB."""
    unet = models.unet(family, real=True)
    inputs: Inputs = models.inputs(unet, batch=1)
    condition = models.condition(family, batch=1)
    assert torch.equal(predict(unet, *inputs), models.stock(unet, *inputs))
    with torch.device("meta"):
        net = build(type(unet)(**models.config(family, real=True)), 8)
        theirs = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    copied = unet.state_dict()
    tensors = {
        name: copied[name] if name in copied else 0.1 * torch.randn(tensor.shape)
        for name, tensor in net.branch.state_dict().items()
    }
    net.branch.load_state_dict(tensors, assign=True)
    theirs.load_state_dict(tensors, assign=True)
    controlled = controlled_by_diffusers(models, unet, theirs, condition, 0.9, *inputs)
    assert torch.equal(predict(unet, *inputs, controls=[Control(net, condition, weight=0.9)]), controlled)
    assert not torch.equal(controlled, predict(unet, *inputs))
