"""T2I-Adapters of every form: diffusers' features, and the U-Net that diffusers makes of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import T2IAdapter
from safetensors.torch import load_file, save_file

from underdraw.errors import CheckpointError, InputError
from underdraw.formats.detect import detect
from underdraw.formats.parts import Part
from underdraw.formats.t2i import adapter_table, adapter_to_original, open_adapter, read_adapter
from underdraw.formats.tables import flip
from underdraw.model import Text, predict

from ..conftest import Models
from .tiny import HOME, same, unet

FORMS: dict[str, dict[str, Any]] = {
    "full": {"adapter_type": "full_adapter", "channels": [32, 64, 64, 64], "in_channels": 3},
    "sketch": {"adapter_type": "full_adapter", "channels": [32, 64, 64, 64], "in_channels": 1},
    "light": {"adapter_type": "light_adapter", "channels": [32, 64, 64], "num_res_blocks": 4},
    "xl": {"adapter_type": "full_adapter_xl", "channels": [32, 64, 64, 64], "downscale_factor": 16},
}


def adapter(form: str) -> Any:
    torch.manual_seed(2)
    return T2IAdapter(**FORMS[form]).requires_grad_(False).eval()


def base(form: str) -> Any:
    return unet("sdxl" if form == "xl" else "sd1")


def files(form: str, root: Path) -> list[Path]:
    """A folder of diffusers, its file alone, and one with the original's names, with and without their prefix."""
    made = adapter(form)
    made.save_pretrained(root / "folder")
    part = Part("T2IAdapter", dict(made.config), made.state_dict())
    original = adapter_to_original(part, HOME)
    save_file(original, root / "original.safetensors")
    torch.save(original, root / "original.pth")
    lone = root / "folder" / "diffusion_pytorch_model.safetensors"
    return [root / "folder", lone, root / "original.safetensors", root / "original.pth"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_network(form: str, tmp_path: Path) -> None:
    for path in files(form, tmp_path):
        opened = open_adapter(path, base(form))
        assert same(opened.net, adapter(form)), path
        assert detect(path).kind == "t2i-adapter"
        assert opened.net.config.in_channels == FORMS[form].get("in_channels", 3)


@pytest.mark.parametrize("form", FORMS)
def test_the_names_are_the_published_ones(form: str, tmp_path: Path) -> None:
    part, _ = read_adapter(files(form, tmp_path)[2])
    names = set(adapter_to_original(part, HOME))
    if form == "light":
        assert {"body.0.in_conv.weight", "body.3.body.3.block2.bias", "body.2.out_conv.weight"} <= names
    else:
        assert {"conv_in.weight", "body.0.block1.weight", "body.7.block2.bias", "body.2.in_conv.weight"} <= names
        assert "body.1.in_conv.weight" not in names
    table = adapter_table(form == "light", part.config["num_res_blocks"])
    assert flip(flip(table)) == table


@pytest.mark.parametrize("form", FORMS)
def test_the_unet_under_an_adapter_is_diffusers(form: str, tmp_path: Path, models: Models) -> None:
    """Features as injections, at the end of each block and in the middle; computed once a picture."""
    net, opened = base(form), open_adapter(files(form, tmp_path)[2], base(form))
    maps = torch.rand(2, FORMS[form].get("in_channels", 3), 128, 128, generator=torch.Generator().manual_seed(0))
    sample, timestep, text = models.inputs(net, size=(16, 16))
    injections = opened.injections(maps)
    assert isinstance(text, Text)
    theirs = adapter(form)(maps)
    assert all(torch.equal(one, other) for one, other in zip(injections, theirs, strict=True))
    with torch.no_grad():
        steered = predict(net, sample, timestep, text, injections=injections)
        stock = models.stock(net, sample, timestep, text, down_intrablock_additional_residuals=list(theirs))
        assert torch.equal(steered, stock)
        assert not torch.equal(steered, predict(net, sample, timestep, text))


def test_what_does_not_fit(tmp_path: Path) -> None:
    full, *_ = files("full", tmp_path)
    with pytest.raises(CheckpointError, match=r"an adapter of widths .* and the base, Stable Diffusion XL, has"):
        open_adapter(full, unet("sdxl"))
    opened = open_adapter(full, unet("sd1"))
    with pytest.raises(InputError, match="maps of 3 channels, not 1"):
        opened.injections(torch.rand(1, 1, 64, 64))
    with pytest.raises(InputError, match="100×64 does not divide by 64"):
        opened.injections(torch.rand(1, 3, 64, 100))


def test_other_forms_are_refused(tmp_path: Path) -> None:
    """With a convolution for each halving (an early form), or of another patch."""
    path = files("full", tmp_path)[2]
    tensors = load_file(path)
    save_file(tensors | {"body.2.down_opt.op.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"has unknown 1 tensors \(body.2.down_opt.op.weight\)"):
        open_adapter(path, unet("sd1"))
    save_file(tensors | {"conv_in.weight": torch.ones(32, 48, 3, 3)}, path)
    with pytest.raises(CheckpointError, match="another form"):
        open_adapter(path, unet("sd1"))
