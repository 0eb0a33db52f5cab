"""ControlNets in every form that people have: one network, to the bit; strict; of another family in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from underdraw.errors import CheckpointError, ConfigError
from underdraw.formats.conditions import About
from underdraw.formats.control_writing import write_control_file, write_control_folder
from underdraw.formats.controls import control_parts, open_control, read_control, transfer
from underdraw.formats.detect import detect
from underdraw.formats.reading import open_tensors
from underdraw.formats.tables import flip, translate
from underdraw.formats.unet_names import control_table, unet_table
from underdraw.model import Control, ControlConfig, Text, build, predict, save_control

from .tiny import HOME, branch, control, same, same_tensors, unet

FAMILIES = ["sd1", "sd2", "sdxl"]
ABOUT = About(
    conditions=("canny",),
    annotator={"kind": "canny", "low": 60},
    base={"name": "tiny", "sha256": "0"},
    recipe={"steps": 4000},
    hashes={"maps": "1"},
)


def original(net: Any) -> dict[str, Tensor]:
    """The original's names, bare."""
    config = control_parts(net).config
    tensors = {name.removeprefix("branch."): each for name, each in net.state_dict().items()}
    return translate(tensors, flip(control_table(config)), HOME)


def named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: each for name, each in tensors.items()}


def whole_sd(net: Any, base: Any) -> dict[str, Tensor]:
    """As the first published files: all of Stable Diffusion beside the branch."""
    tensors = named("model.diffusion_model.", translate(base.state_dict(), flip(unet_table(base.config)), HOME))
    beside = {"first_stage_model.x": torch.ones(1), "cond_stage_model.x": torch.ones(1), "betas": torch.ones(1)}
    return named("control_model.", original(net)) | tensors | beside


FORMS: dict[str, Callable[[Any, Any, Path], Path]] = {}


def form(write: Callable[[Any, Any, Path], Path]) -> Callable[[Any, Any, Path], Path]:
    FORMS[write.__name__] = write
    return write


@form
def prefixed(net: Any, base: Any, root: Path) -> Path:
    save_file(named("control_model.", original(net)), root / "a.safetensors")
    return root / "a.safetensors"


@form
def bare(net: Any, base: Any, root: Path) -> Path:
    save_file(original(net), root / "b.safetensors")
    return root / "b.safetensors"


@form
def pickled(net: Any, base: Any, root: Path) -> Path:
    torch.save({"state_dict": named("control_model.", original(net)), "global_step": 3}, root / "c.pth")
    return root / "c.pth"


@form
def with_all_of_sd(net: Any, base: Any, root: Path) -> Path:
    torch.save(whole_sd(net, base), root / "d.pth")
    return root / "d.pth"


@form
def difference(net: Any, base: Any, root: Path) -> Path:
    """What tools call a difference: the mark, and of each weight what it differs by from the base."""
    copied = translate(base.state_dict(), flip(unet_table(base.config)), HOME)
    tensors = {name: each - copied[name] if name in copied else each for name, each in original(net).items()}
    save_file(named("control_model.", tensors) | {"difference": torch.ones(1)}, root / "e.safetensors")
    return root / "e.safetensors"


@form
def diffusers_file(net: Any, base: Any, root: Path) -> Path:
    tensors = {name.removeprefix("branch."): each for name, each in net.state_dict().items()}
    save_file(tensors, root / "f.safetensors")
    return root / "f.safetensors"


@form
def diffusers_folder(net: Any, base: Any, root: Path) -> Path:
    save_control(net, root / "g")
    return root / "g"


@form
def our_file(net: Any, base: Any, root: Path) -> Path:
    write_control_file(control_parts(net, ABOUT), root / "h.safetensors")
    return root / "h.safetensors"


@form
def our_folder(net: Any, base: Any, root: Path) -> Path:
    write_control_folder(control_parts(net, ABOUT), root / "i")
    return root / "i"


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_the_same_network(name: str, family: str, tmp_path: Path) -> None:
    base = unet(family)
    net = control(base)
    opened = open_control(FORMS[name](net, base, tmp_path), base)
    if name == "difference":  # one rounding there and one back
        for one, other in zip(opened.state_dict().values(), net.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    else:
        assert same(opened, net)
    assert not opened.training
    assert detect(next(path for path in tmp_path.iterdir())).kind == "controlnet"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_written_file_has_the_published_names_and_comes_back(family: str, tmp_path: Path) -> None:
    base = unet(family)
    parts = control_parts(control(base), ABOUT)
    write_control_file(parts, tmp_path / "net.safetensors")
    names = {name.split(".")[1] for name in load_file(tmp_path / "net.safetensors")}
    assert all(name.startswith("control_model.") for name in load_file(tmp_path / "net.safetensors"))
    labels = {"label_emb"} if family == "sdxl" else set()
    stems = {"input_blocks", "zero_convs", "middle_block", "middle_block_out", "input_hint_block", "time_embed"}
    assert names == stems | labels
    again = read_control(tmp_path / "net.safetensors")
    assert same_tensors(again.tensors, parts.tensors)
    assert again.about == ABOUT
    write_control_file(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()
    write_control_folder(again, tmp_path / "folder")
    write_control_file(read_control(tmp_path / "folder"), tmp_path / "third.safetensors")
    assert same_tensors(load_file(tmp_path / "third.safetensors"), load_file(tmp_path / "net.safetensors"))


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_reads_what_we_write(family: str, tmp_path: Path) -> None:
    net = control(unet(family))
    write_control_file(control_parts(net), tmp_path / "net.safetensors")
    write_control_folder(control_parts(net), tmp_path / "net")
    assert same(ControlNetModel.from_pretrained(tmp_path / "net", local_files_only=True), net.branch)
    if family == "sdxl":
        # diffusers' table leaves `label_emb` out, so it can't read any original ControlNet of SDXL whole.
        return
    single = ControlNetModel.from_single_file(str(tmp_path / "net.safetensors"), config=str(tmp_path / "net"))
    assert same(single, net.branch)


def test_diffusers_own_file_is_read_by_both(tmp_path: Path) -> None:
    base = unet("sdxl")
    theirs = branch(base)
    theirs.save_pretrained(tmp_path / "net")
    single = ControlNetModel.from_single_file(
        str(tmp_path / "net" / "diffusion_pytorch_model.safetensors"), config=str(tmp_path / "net")
    )
    for place in (tmp_path / "net", tmp_path / "net" / "diffusion_pytorch_model.safetensors"):
        assert same(open_control(place, base).branch, theirs)
    assert same(single, theirs)


SMALLER: dict[str, dict[str, Any]] = {
    "mid": {"transformer_layers_per_block": [0, 0, 1]},
    "mid without idle parts": {
        "down_block_types": ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
        "transformer_layers_per_block": [1, 1, 1],
    },
    "small": {"down_block_types": ["DownBlock2D"] * 3, "mid_block_type": "UNetMidBlock2D"},
    "small with an idle middle": {"down_block_types": ["DownBlock2D"] * 3, "transformer_layers_per_block": [0, 0, 0]},
}


@pytest.mark.parametrize("size", SMALLER)
def test_smaller_controls_of_sdxl(size: str, tmp_path: Path) -> None:
    """From a folder, from its file of weights, and as one original file; the signals are diffusers'."""
    base = unet("sdxl")
    theirs = branch(base, **SMALLER[size])
    theirs.save_pretrained(tmp_path / "net")
    parts = read_control(tmp_path / "net")
    write_control_file(parts, tmp_path / "net.safetensors")
    lone = tmp_path / "net" / "diffusion_pytorch_model.safetensors"
    for place in (tmp_path / "net", tmp_path / "net.safetensors", lone):
        assert same(open_control(place, base).branch, theirs), place
    assert str(detect(tmp_path / "net.safetensors").details["encoder"]) == size.split()[0]


def test_precision(tmp_path: Path) -> None:
    net = control(unet("sd1"))
    for dtype in (torch.float16, torch.bfloat16):
        write_control_file(control_parts(net), tmp_path / "net.safetensors", dtype)
        assert {each.dtype for each in load_file(tmp_path / "net.safetensors").values()} == {dtype}
        opened = open_control(tmp_path / "net.safetensors", unet("sd1"))
        expected = {name: each.to(dtype).float() for name, each in net.state_dict().items()}
        assert same_tensors(opened.state_dict(), expected)
    half = unet("sd1").to(torch.bfloat16)
    opened = open_control(tmp_path / "net.safetensors", half)
    assert {each.dtype for each in opened.parameters()} == {torch.bfloat16}


def test_what_is_known_of_a_net_is_kept(tmp_path: Path) -> None:
    net = control(unet("sd1"))
    write_control_file(control_parts(net, ABOUT), tmp_path / "net.safetensors")
    metadata = open_tensors(tmp_path / "net.safetensors").metadata
    assert json.loads(metadata["underdraw"])["annotator"] == {"kind": "canny", "low": 60}
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/controlnet"
    assert metadata["modelspec.hash_sha256"].startswith("0x")
    write_control_folder(control_parts(net, ABOUT), tmp_path / "folder")
    assert read_control(tmp_path / "folder" / "diffusion_pytorch_model.safetensors").about == ABOUT


@pytest.mark.parametrize(
    ("name", "condition", "pool"),
    [
        ("control_v11p_sd15_canny", "canny", False),
        ("control_v11p_sd15_mlsd", "lines", False),
        ("control_v11f1p_sd15_depth", "depth", False),
        ("control_v11p_sd15_normalbae", "normal", False),
        ("control_v11p_sd15_seg", "segmentation", False),
        ("control_v11p_sd15_inpaint", "inpaint", False),
        ("control_v11p_sd15_lineart", "lineart", False),
        ("control_v11p_sd15s2_lineart_anime", "lineart_anime", False),
        ("control_v11p_sd15_openpose", "pose", False),
        ("control_v11p_sd15_scribble", "scribble", False),
        ("control_v11p_sd15_softedge", "softedge", False),
        ("control_v11e_sd15_shuffle", "shuffle", True),
        ("control_v11e_sd15_ip2p", "ip2p", False),
        ("control_v11f1e_sd15_tile", "tile", False),
        ("control_sd15_hed", "softedge", False),
        ("my own net", "", False),
    ],
)
def test_published_nets_are_known_by_name(name: str, condition: str, pool: bool, tmp_path: Path) -> None:
    """The fourteen of ControlNet 1.1: what they are for; only shuffle pools, and rides on the conditional half."""
    base = unet("sd1")
    bare(control(base), base, tmp_path).rename(tmp_path / f"{name}.safetensors")
    about = read_control(tmp_path / f"{name}.safetensors").about
    assert (about.conditions, about.pool) == ((condition,) if condition else (), pool)
    assert about.side == ("conditional" if pool else "both")
    if condition in ("canny", "shuffle"):
        assert open_control(tmp_path / f"{name}.safetensors", base).branch.pool is pool


def test_a_yaml_beside_the_file_says_that_signals_are_pooled(tmp_path: Path) -> None:
    base = unet("sd1")
    path = bare(control(base), base, tmp_path)
    (tmp_path / "b.yaml").write_text("model:\n  params:\n    global_average_pooling: True\n")
    assert open_control(path, base).branch.pool
    write_control_folder(read_control(path), tmp_path / "net")
    assert ControlNetModel.from_pretrained(tmp_path / "net").config.global_pool_conditions
    write_control_file(read_control(tmp_path / "net"), tmp_path / "out.safetensors")
    assert read_control(tmp_path / "out.safetensors").about.pool


def test_a_net_of_ours_says_itself_what_it_is_for(tmp_path: Path) -> None:
    """Whatever the file is called."""
    write_control_file(control_parts(control(unet("sd1")), ABOUT), tmp_path / "shuffle.safetensors")
    about = read_control(tmp_path / "shuffle.safetensors").about
    assert (about.conditions, about.pool) == (("canny",), False)


@pytest.mark.parametrize(("mine", "other"), [("sd1", "sd2"), ("sdxl", "sd1"), ("sd2", "sdxl")])
def test_another_family_is_one_sentence(mine: str, other: str, tmp_path: Path) -> None:
    base = unet(mine)
    for path in (prefixed(control(base), base, tmp_path), diffusers_folder(control(base), base, tmp_path)):
        with pytest.raises(CheckpointError) as caught:
            open_control(path, unet(other))
        line = str(caught.value)
        assert line.startswith(f"{path} is a ControlNet for Stable Diffusion ") and "and the base is" in line
        assert line.count(".") <= 5 and "\n" not in line


def test_other_widths_of_one_family(tmp_path: Path) -> None:
    base = unet("sd1")
    path = prefixed(control(base), base, tmp_path)
    with pytest.raises(CheckpointError, match="cross_attention_dim = 48, and this base has 32"):
        open_control(path, unet("sd1", cross_attention_dim=32))


def edited(path: Path, change: Callable[[dict[str, Tensor]], Any]) -> Path:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return path


ONE = "control_model.zero_convs.3.0.bias"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda each: each.pop(ONE), "lacks 1 tensors (branch.controlnet_down_blocks.3.bias)"),
        (lambda each: each.update({f"{ONE}.x": torch.ones(1)}), "has unknown 1 tensors (zero_convs.3.0.bias.x)"),
        (lambda each: each.update({"somebody.else": torch.ones(1)}), "has unknown 1 tensors (somebody.else)"),
        (lambda each: each.update({ONE: each[ONE] / 0}), "controlnet_down_blocks.3.bias holds NaN or infinity"),
        (lambda each: each.update({ONE: torch.ones(7)}), "controlnet_down_blocks.3.bias is (7,)"),
        (lambda each: each.update({ONE: each[ONE].to(torch.int8)}), "is int8"),
        (lambda each: each.pop("control_model.input_blocks.0.0.weight"), "without 'input_blocks.0.0.weight'"),
    ],
)
def test_branches_are_strict(change: Any, words: str, tmp_path: Path) -> None:
    base = unet("sd1")
    path = edited(prefixed(control(base), base, tmp_path), change)
    with pytest.raises(CheckpointError) as caught:
        open_control(path, base)
    assert words in str(caught.value) and "a.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_a_difference_needs_its_base(tmp_path: Path) -> None:
    base = unet("sd1")
    with pytest.raises(CheckpointError, match="say which base"):
        read_control(difference(control(base), base, tmp_path))


def test_moving_a_control_to_another_base() -> None:
    """control + new - old: what was learned stays, and the base's own change comes in."""
    old, new = unet("sd1"), unet("sd1", seed=7)
    net = control(old)
    moved = transfer(net, old, new)
    for name, each in moved.branch.state_dict().items():
        before = net.branch.state_dict()[name]
        shift = new.state_dict()[name] - old.state_dict()[name] if name in old.state_dict() else 0
        torch.testing.assert_close(each, before + shift, rtol=0, atol=1e-6)
    for one, other in zip(transfer(moved, new, old).state_dict().values(), net.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert same(transfer(net, old, old), net)
    with pytest.raises(CheckpointError, match="has other shapes in the bases"):
        transfer(net, old, unet("sd1", cross_attention_dim=32))


def test_a_control_works_on_every_base_of_its_family(tmp_path: Path) -> None:
    base, other = unet("sd1"), unet("sd1", seed=7)
    net = open_control(prefixed(control(base), base, tmp_path), other)
    sample, states = torch.randn(1, 4, 16, 16), torch.randn(1, 5, 48)
    drawn = predict(other, sample, 10, Text(states), [Control(net, torch.rand(1, 3, 128, 128))])
    assert drawn.isfinite().all()


def test_what_only_our_own_folders_hold() -> None:
    lite = build(unet("sd1"), 8, ControlConfig.model_validate({"branch": {"kind": "lite"}}))
    with pytest.raises(ConfigError, match="a lite branch with add fusion is no ControlNet of other tools"):
        control_parts(lite)
    narrow = build(unet("sd1"), 4)
    with pytest.raises(CheckpointError, match=r"a hint encoder for another autoencoder \(3 stages\)"):
        write_control_file(control_parts(narrow), Path("x.safetensors"))


def test_our_own_folders_open_as_well(tmp_path: Path) -> None:
    lite = build(unet("sd1"), 8, ControlConfig.model_validate({"branch": {"kind": "lite"}}))
    save_control(lite, tmp_path / "lite")
    assert same(open_control(tmp_path / "lite", unet("sd1")), lite)
