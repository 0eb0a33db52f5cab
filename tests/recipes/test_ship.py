"""The step from finished runs to the base that ships."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recipes.embedded.ship import ship, sizes
from underdraw.errors import CheckpointError

STEM = "diffusion_pytorch_model"


def export(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"made": "here"}))
    save_file(tensors, folder / f"{STEM}.safetensors")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A base of one small part and a ControlNet of one large one."""
    export(tmp_path / "denoiser" / "export" / "unet", {"weight": torch.rand(8, 8), "steps": torch.tensor([3])})
    export(tmp_path / "control-canny" / "export", {f"layer.{i}": torch.rand(300, 1000) for i in range(4)})
    return tmp_path


def test_weights_are_halved_and_in_shards(runs: Path, tmp_path: Path) -> None:
    ship(runs, tmp_path / "out", shard_size="1MB")
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
    assert sizes(tmp_path / "out") == "base 0.0 MB, controlnet-canny 2.4 MB"


def test_what_was_there_is_replaced_whole(runs: Path, tmp_path: Path) -> None:
    ship(runs, tmp_path / "out", shard_size="1MB")
    ship(runs, tmp_path / "out", shard_size="1GB")
    assert [path.name for path in (tmp_path / "out" / "controlnet-canny").glob("*.safetensors*")] == [
        f"{STEM}.safetensors"
    ]


def test_an_unfinished_run_changes_nothing(runs: Path, tmp_path: Path) -> None:
    ship(runs, tmp_path / "out")
    (runs / "control-depth").mkdir()
    with pytest.raises(CheckpointError, match=r"control-depth.export is missing; finish that run first"):
        ship(runs, tmp_path / "out")
    assert (tmp_path / "out" / "unet" / "config.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["control-canny", "control-depth", "denoiser", "out"]
