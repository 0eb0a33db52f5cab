"""Control networks in files: whole, strict, and read by diffusers where diffusers can."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from underdraw.errors import CheckpointError, InputError
from underdraw.model import BRANCHES, FUSIONS, Control, ControlConfig, build, load_control, predict, save_control

FILE = "diffusion_pytorch_model.safetensors"


def some_net(models: Any, unet: Any, table: dict[str, Any] | None = None, factor: int = 8) -> Any:
    net = build(unet, factor, ControlConfig.model_validate(table or {}))
    models.awaken(net)
    return net


def assert_same(left: nn.Module, right: nn.Module) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("branch", "fusion", "family"),
    [*product(BRANCHES.names(), FUSIONS.names(), ["sd15"]), ("full", "add", "pixels"), ("lite", "concat", "pixels")],
)
def test_every_kind_comes_back(models: Any, branch: str, fusion: str, family: str, tmp_path: Path) -> None:
    unet, factor = models.unet(family), models.factor(family)
    net = some_net(models, unet, {"branch": {"kind": branch}, "fusion": {"kind": fusion}}, factor)
    save_control(net, tmp_path / "net")
    back = load_control(tmp_path / "net", unet)
    assert_same(back, net)
    assert (back.config.branch.kind, back.config.fusion.kind, back.factor) == (branch, fusion, factor)
    is_diffusers = (branch, fusion, family) == ("full", "add", "sd15")
    assert (tmp_path / "net" / "config.json").exists() == is_diffusers


@pytest.mark.parametrize(
    "table",
    [
        {"branch": {"hint": "paper", "hint_channels": 2}},
        {"branch": {"kind": "lite", "sites": "middle", "pool": True, "tap": "gaussian"}},
        {"fusion": {"kind": "attention", "options": {"heads": 2, "reverse": True, "joint": True}}},
        {"fusion": {"kind": "residual", "options": {"alpha": 0.5, "learned": False}}},
    ],
)
def test_the_file_carries_its_configuration(models: Any, table: dict[str, Any], tmp_path: Path) -> None:
    unet = models.unet("sd15")
    net = some_net(models, unet, table)
    save_control(net, tmp_path / "net")
    back = load_control(tmp_path / "net", unet)
    assert back.config == net.config
    assert_same(back, net)


def test_a_diffusers_folder_made_by_diffusers_is_read(models: Any, tmp_path: Path) -> None:
    unet = models.unet("sdxl")
    theirs = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 24, 40), conditioning_channels=2)
    models.awaken(theirs)
    theirs.save_pretrained(tmp_path)
    net = load_control(tmp_path, unet)
    assert_same(net.branch, theirs)
    assert net.factor == 4
    assert not net.training
    assert net.embed(torch.rand(1, 2, 32, 32)).shape == (1, 32, 8, 8)


def test_pooled_conditions_stay_with_their_own_net(models: Any, tmp_path: Path) -> None:
    """diffusers reads `global_pool_conditions` of the first net for all; here each keeps its own."""
    unet = models.unet("sd15")
    for pool in (True, False):
        save_control(some_net(models, unet, {"branch": {"pool": pool}}), tmp_path / str(pool))
    nets = [load_control(tmp_path / str(pool), unet) for pool in (True, False)]
    assert [net.branch.pool for net in nets] == [True, False]
    inputs = models.inputs(unet)
    signals = [net.branch(net.embed(models.condition("sd15")), *inputs)["down.0"] for net in nets]
    assert [bool(signal.std((2, 3)).max() < 1e-5) for signal in signals] == [True, False]


def test_a_net_that_was_trained_on_bgr_takes_rgb(models: Any, tmp_path: Path) -> None:
    """The first convolution turns round; diffusers turns every map round instead."""
    unet = models.unet("sd15")
    theirs = ControlNetModel.from_unet(unet, controlnet_conditioning_channel_order="bgr")
    models.awaken(theirs)
    theirs.save_pretrained(tmp_path)
    net, condition, (sample, timestep, text) = (
        load_control(tmp_path, unet),
        models.condition("sd15"),
        models.inputs(unet),
    )
    with torch.no_grad():
        down, middle = theirs(sample, timestep, text.states, condition, return_dict=False)
        signals = list(net.branch(net.embed(condition), sample, timestep, text).values())
    for ours, each in zip(signals, [*down, middle], strict=True):
        torch.testing.assert_close(ours, each)
    save_control(net, tmp_path / "again")
    assert ControlNetModel.from_pretrained(tmp_path / "again").config.controlnet_conditioning_channel_order == "rgb"


def test_a_control_sees_the_sample_alone(models: Any, tmp_path: Path) -> None:
    """On an inpainting base (9 channels in) a control of the usual base (4 channels) works, as in diffusers."""
    save_control(some_net(models, models.unet("sd15")), tmp_path / "net")
    inpainting = type(models.unet("sd15"))(**models.config("sd15") | {"in_channels": 9}).eval()
    net, (sample, timestep, text) = load_control(tmp_path / "net", inpainting), models.inputs(inpainting)
    with torch.no_grad():
        steered = predict(inpainting, sample, timestep, text, [Control(net, models.condition("sd15"))])
        assert steered.shape == (2, 4, 16, 8)
        assert not torch.equal(steered, predict(inpainting, sample, timestep, text))


@pytest.mark.parametrize(
    "table",
    [
        {"transformer_layers_per_block": [0, 0, 1]},
        {"down_block_types": ["DownBlock2D"] * 3, "mid_block_type": "UNetMidBlock2D"},
    ],
    ids=["mid", "small"],
)
def test_a_net_with_a_smaller_encoder_than_its_base(models: Any, table: dict[str, Any], tmp_path: Path) -> None:
    """SDXL's mid and small ControlNets have the base's widths and fewer transformers, or none."""
    unet = models.unet("sdxl")
    theirs = ControlNetModel.from_config(dict(ControlNetModel.from_unet(unet).config) | table)
    models.awaken(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    net, condition, (sample, timestep, text) = (
        load_control(tmp_path / "theirs", unet),
        models.condition("sdxl"),
        models.inputs(unet),
    )
    assert_same(net.branch, theirs)
    with torch.no_grad():
        down, middle = theirs(
            sample, timestep, text.states, condition, added_cond_kwargs=models.added(text), return_dict=False
        )
        signals = list(net.branch(net.embed(condition), sample, timestep, text).values())
    for ours, each in zip(signals, [*down, middle], strict=True):
        torch.testing.assert_close(ours, each)
    save_control(net, tmp_path / "again")
    assert_same(ControlNetModel.from_pretrained(tmp_path / "again"), theirs)


def test_a_control_of_the_middle_is_the_same_for_diffusers(models: Any, tmp_path: Path) -> None:
    unet = models.unet("sd15")
    net = some_net(models, unet, {"branch": {"sites": "middle"}})
    save_control(net, tmp_path)
    theirs, (sample, timestep, text) = ControlNetModel.from_pretrained(tmp_path), models.inputs(unet)
    condition = models.condition("sd15")
    with torch.no_grad():
        down, middle = theirs(sample, timestep, text.states, condition, return_dict=False)
        signals = net.branch(net.embed(condition), sample, timestep, text)
        assert not any(each.any() for each in down)
        torch.testing.assert_close(middle, signals["middle"])
        back = load_control(tmp_path, unet)
        ours, again = (predict(unet, sample, timestep, text, [Control(each, condition)]) for each in (net, back))
    torch.testing.assert_close(ours, again)


def test_shards_and_precision(models: Any, tmp_path: Path) -> None:
    unet = models.unet("sd15")
    net = some_net(models, unet)
    save_control(net, tmp_path / "net", dtype=torch.float16, shard_size="1MB")
    files = sorted((tmp_path / "net").glob("*.safetensors"))
    assert len(files) > 2
    assert all(path.stat().st_size <= 1.1e6 for path in files)
    assert_same(load_control(tmp_path / "net", unet), net.half().float())
    assert ControlNetModel.from_pretrained(tmp_path / "net").config.global_pool_conditions is False


def test_files_hold_no_paths(models: Any, tmp_path: Path) -> None:
    unet = models.unet("sd15")
    unet.save_pretrained(tmp_path / "unet")
    unet = type(unet).from_pretrained(tmp_path / "unet")
    for name, table in (("add", {}), ("concat", {"fusion": {"kind": "concat"}})):
        save_control(some_net(models, unet, table), tmp_path / name)
        for path in (tmp_path / name).iterdir():
            assert str(tmp_path).encode() not in path.read_bytes()


def test_a_failed_write_leaves_what_was_there(models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = models.unet("sd15")
    net = some_net(models, unet)
    save_control(net, tmp_path / "net")

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ControlNetModel, "save_pretrained", full_disk)
    with pytest.raises(InputError, match="No space left"):
        save_control(some_net(models, unet, {"branch": {"tap": "gaussian"}}), tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    assert_same(load_control(tmp_path / "net", unet), net)


@pytest.fixture
def saved(models: Any, tmp_path: Path) -> Any:
    """(unet, folder)."""
    unet = models.unet("sd15")
    save_control(some_net(models, unet), tmp_path / "net")
    return unet, tmp_path / "net"


def edit_config(folder: Path, **values: Any) -> None:
    table = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(table | values))


def test_broken_files_are_named(saved: Any) -> None:
    unet, folder = saved
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=f"{FILE} is truncated"):
        load_control(folder, unet)
    (folder / FILE).rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"bin is a pickle"):
        load_control(folder, unet)
    (folder / "diffusion_pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=f"{FILE} is missing"):
        load_control(folder, unet)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json can't be read"):
        load_control(folder, unet)
    with pytest.raises(CheckpointError, match=r"nowhere/config\.json is missing"):
        load_control(folder / "nowhere", unet)


def test_keys_are_counted_and_named(saved: Any) -> None:
    unet, folder = saved
    tensors = load_file(folder / FILE)
    save_file(tensors | {"extra.one": torch.zeros(1), "extra.two": torch.zeros(1)}, folder / FILE)
    with pytest.raises(CheckpointError, match=r"2 tensors \(branch\.extra\.one, branch\.extra\.two\)"):
        load_control(folder, unet)
    save_file({name: each for name, each in tensors.items() if "controlnet_mid_block" not in name}, folder / FILE)
    with pytest.raises(CheckpointError, match="lacks 2 tensors"):
        load_control(folder, unet)
    save_file(tensors | {"conv_in.bias": torch.zeros(7)}, folder / FILE)
    with pytest.raises(CheckpointError, match=r"conv_in\.bias is \(7,\)"):
        load_control(folder, unet)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"_class_name": "T2IAdapter"}, "T2IAdapter"),
        ({"controlnet_conditioning_channel_order": "gbr"}, "channels 'gbr'"),
        ({"cross_attention_dim": 1024}, "cross_attention_dim = 1024, and this base has 48"),
        ({"attention_head_dim": [5, 10, 20, 20]}, "attention_head_dim"),
    ],
)
def test_what_does_not_fit_is_named(saved: Any, values: dict[str, Any], message: str) -> None:
    unet, folder = saved
    edit_config(folder, **values)
    with pytest.raises(CheckpointError, match=message):
        load_control(folder, unet)


def test_a_control_of_another_base_is_refused(models: Any, saved: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="block_out_channels"):
        load_control(saved[1], models.unet("sdxl"))
    save_control(some_net(models, saved[0], {"branch": {"kind": "mlp"}}), tmp_path / "mlp")
    with pytest.raises(CheckpointError, match="block_out_channels"):
        load_control(tmp_path / "mlp", models.unet("sdxl"))


def test_a_file_without_its_configuration_is_refused(models: Any, tmp_path: Path) -> None:
    unet = models.unet("sd15")
    save_control(some_net(models, unet, {"branch": {"kind": "mlp"}}), tmp_path)
    path = tmp_path / "control.safetensors"
    with safe_open(path, framework="pt") as file:
        assert "underdraw" in file.metadata()
    save_file(load_file(path), path)
    with pytest.raises(CheckpointError, match="which control"):
        load_control(tmp_path, unet)
