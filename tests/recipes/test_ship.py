"""The step from finished runs to the base that ships."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recipes.embedded.ship import ship, sizes
from underdraw.errors import CheckpointError
from underdraw.formats.conditions import About, about_folder, write_about
from underdraw.formats.lora import read_lora, write_lora
from underdraw.model import Lora
from underdraw.model.adapters import LowRank

STEM = "diffusion_pytorch_model"


def export(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"made": "here"}))
    save_file(tensors, folder / f"{STEM}.safetensors")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A base of one small part and a ControlNet of one large one."""
    export(tmp_path / "denoiser" / "export" / "unet", {"weight": torch.rand(8, 8), "steps": torch.tensor([3])})
    net = tmp_path / "control-canny" / "export"
    export(net, {f"layer.{i}": torch.rand(300, 1000) for i in range(4)})
    write_about(About(("canny",)), net)
    return tmp_path


def shipped(runs: Path, *beside: str, shard_size: str = "15MB") -> Path:
    ship(runs / "denoiser", [runs / name for name in beside or ("control-canny",)], runs / "out", shard_size)
    return runs / "out"


def test_weights_are_halved_and_in_shards(runs: Path, tmp_path: Path) -> None:
    shipped(runs, shard_size="1MB")
    unet = load_file(tmp_path / "out" / "unet" / f"{STEM}.safetensors")
    source = load_file(runs / "denoiser" / "export" / "unet" / f"{STEM}.safetensors")
    assert torch.equal(unet["weight"], source["weight"].half())
    assert unet["steps"].dtype == torch.int64
    control = tmp_path / "out" / "controlnet-canny"
    index = json.loads((control / f"{STEM}.safetensors.index.json").read_text())
    shards = sorted(control.glob("*.safetensors"))
    assert len(shards) == 4
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    assert json.loads((control / "config.json").read_text()) == {"made": "here"}
    assert about_folder(control)["conditions"] == ["canny"], "what it is for goes with it"
    assert sizes(tmp_path / "out") == "base 0.0 MB, controlnet-canny 2.4 MB, together 2.4 MB"


def test_what_was_there_is_replaced_whole(runs: Path, tmp_path: Path) -> None:
    shipped(runs, shard_size="1MB")
    shipped(runs, shard_size="1GB")
    assert [path.name for path in (tmp_path / "out" / "controlnet-canny").glob("*.safetensors*")] == [
        f"{STEM}.safetensors"
    ]


def test_a_lora_is_one_file_in_half_precision(runs: Path) -> None:
    factors = {"down": torch.rand(2, 8), "up": torch.rand(8, 2), "alpha": torch.tensor(1.0)}
    made = Lora({"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q": LowRank(factors)})
    (runs / "lora-ink" / "export").mkdir(parents=True)
    write_lora(made, runs / "lora-ink" / "export" / "lora.safetensors", metadata={"ss_tag": "kept"})
    file = read_lora(shipped(runs, "control-canny", "lora-ink") / "loras" / "ink.safetensors")
    (layer,) = file.lora.adapters.values()
    assert isinstance(layer, LowRank) and layer.up.dtype == torch.float16 and layer.scale == 0.5
    assert file.metadata["ss_tag"] == "kept"


def test_an_unfinished_run_changes_nothing(runs: Path, tmp_path: Path) -> None:
    shipped(runs)
    (runs / "control-depth").mkdir()
    with pytest.raises(CheckpointError, match=r"control-depth.export is missing; finish that run first"):
        shipped(runs, "control-canny", "control-depth")
    (runs / "reader" / "export").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="has no place beside a base"):
        shipped(runs, "reader")
    assert (tmp_path / "out" / "unet" / "config.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "control-canny",
        "control-depth",
        "denoiser",
        "out",
        "reader",
    ]
