"""The consistency reward."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw.annotators.readers import Reader, Shape, save_reader
from underdraw.errors import ConfigError
from underdraw.model import Backbone
from underdraw.training.consistency import MapConsistency
from underdraw.training.control import ControlTask
from underdraw.training.objective import Draw
from underdraw.training.recipe import ControlRun, Recipe, Watch
from underdraw.training.tasks import build_task
from underdraw.training.trainer import train

from ..generation.conftest import tiny_base

Make = Callable[..., Recipe]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("consistency") / "tiny")


def told(base: Path, condition: str = "canny", **consistency: Any) -> dict[str, Any]:
    return {"task": "control", "base": str(base), "condition": condition, "consistency": consistency}


def scene(backbone: Backbone, count: int = 3) -> tuple[Draw, torch.Tensor, torch.Tensor]:
    """Latents of pictures, noisy at an early timestep; the right prediction; the pictures themselves."""
    draw = torch.Generator().manual_seed(0)
    clean = torch.randn(count, 4, 8, 8, generator=draw)
    noise, timestep = torch.randn(clean.shape, generator=draw), torch.tensor([50, 150, 900])
    noisy = backbone.process.add_noise(clean, noise, timestep)
    drawn = Draw(clean, noise, noisy, timestep, backbone.empty_text(count))
    return drawn, backbone.process.target(clean, noise, timestep), backbone.decode_latents(clean).detach()


def loss(base: Path, wrong: float = 0.0, **consistency: Any) -> torch.Tensor:
    """Of a prediction that is right but for `wrong`, against the maps of the true pictures."""
    backbone = Backbone.load(base)
    drawn, prediction, pictures = scene(backbone)
    config = ControlRun.model_validate(told(base, "depth" if "reader" in consistency else "canny", **consistency))
    reward = MapConsistency(config, Watch(), backbone)
    maps = reward._see(pictures).detach()
    draws = [torch.Generator().manual_seed(k) for k in range(3)]
    return reward(prediction + wrong * torch.randn(prediction.shape, generator=draws[0]), drawn, maps, draws)


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_reader(Reader(Shape("depth", channels=(8, 16))), tmp_path / "depth.safetensors")
    return tmp_path / "depth.safetensors"


def test_the_right_prediction_costs_nothing_and_a_wrong_one_does(base: Path, reader: Path) -> None:
    assert float(loss(base, reader=str(reader))) < 1e-10
    assert float(loss(base, wrong=0.5, reader=str(reader))) > 1e-7
    assert float(loss(base, wrong=0.5, reader=str(reader), weight=2.0)) == pytest.approx(
        4 * float(loss(base, wrong=0.5, reader=str(reader), weight=0.5)), rel=1e-4
    )


def test_only_samples_near_their_picture_count(base: Path, reader: Path) -> None:
    one, two, three = (float(loss(base, 0.5, reader=str(reader), below=b)) for b in (100, 200, 1000))
    assert 0 < one < two < three
    assert float(loss(base, 0.5, reader=str(reader), below=10)) == 0
    assert float(loss(base, 0.5, reader=str(reader), below=1000, most=1)) == one


def test_a_window_bounds_what_is_decoded(base: Path, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = Backbone.decode_latents

    def spy(self: Backbone, latents: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(latents.shape))
        return whole(self, latents)

    monkeypatch.setattr(Backbone, "decode_latents", spy)
    loss(base, 0.5, reader=str(reader), crop=4, below=1000, most=2)
    assert sizes[-1] == (2, 4, 4, 4)


@pytest.mark.parametrize("condition", ["canny", "depth"])
def test_gradients_reach_the_taps_and_the_run_stays_finite(
    recipe: Make, base: Path, reader: Path, condition: str
) -> None:
    more = {"reader": str(reader)} if condition == "depth" else {}
    run = recipe(told(base, condition, below=1000, **more), condition)
    task = build_task(run)
    assert isinstance(task, ControlTask)
    losses = task.losses(0)
    assert set(losses) == {"denoise", "consistency"} and losses["consistency"] > 0
    losses["consistency"].backward()
    taps = [p for name, p in task.net.named_parameters() if "controlnet_down_blocks" in name]
    assert any(p.grad is not None and bool(p.grad.any()) for p in taps)
    assert all(p.grad is None for p in task.backbone.unet.parameters())
    state = train(task, run)
    assert state.step == 6


def test_a_reader_that_also_judges_is_refused(recipe: Make, base: Path, reader: Path) -> None:
    with pytest.raises(ConfigError, match="is to teach and to judge"):
        build_task(recipe(told(base, "depth", reader=str(reader)), watch={"reader": str(reader)}))
    with pytest.raises(ConfigError, match="reads depth, not canny"):
        build_task(recipe(told(base, "canny", reader=str(reader))))
