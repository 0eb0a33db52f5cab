"""The consistency reward."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw.annotators import build
from underdraw.annotators.readers import Reader, Shape, load_reader, save_reader
from underdraw.annotators.twins import twin
from underdraw.errors import ConfigError
from underdraw.model import Backbone, load_control
from underdraw.training.consistency import FeatureConsistency, MapConsistency
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
    see = (
        twin(build("canny"))
        if "reader" not in consistency
        else partial(load_reader(consistency["reader"]).read, kind="depth")
    )
    maps = see(pictures).detach()
    draws = [torch.Generator().manual_seed(k) for k in range(3)]
    return reward(prediction + wrong * torch.randn(prediction.shape, generator=draws[0]), drawn, maps, draws)


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_reader(Reader(Shape(("depth",), channels=(8, 16))), tmp_path / "reader.safetensors")
    return tmp_path / "reader.safetensors"


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
    with pytest.raises(ConfigError, match="reads depth, not canny; give a reader"):
        build_task(recipe(told(base, "canny", reader=str(reader))))


def test_a_family_is_not_rewarded_by_maps_of_one_kind(recipe: Make, base: Path) -> None:
    with pytest.raises(ConfigError, match="rewards maps of one kind, not of a family"):
        build_task(recipe(told(base) | {"condition": ["canny", "depth"]}))


@pytest.mark.parametrize("kind", ["segmentation", "pose"])
def test_labels_and_points_are_rewarded_as_such(base: Path, tmp_path: Path, kind: str) -> None:
    """By cross-entropy, and by heatmaps of the drawn skeleton; the gradient reaches the prediction."""
    torch.manual_seed(0)
    colours = ((0, 0, 0), (255, 0, 0))
    save_reader(Reader(Shape((kind,), channels=(8, 16), colours=colours)), tmp_path / "reader.safetensors")
    backbone = Backbone.load(base)
    drawn, prediction, _ = scene(backbone)
    config = ControlRun.model_validate(told(base, kind, reader=str(tmp_path / "reader.safetensors")))
    reward = MapConsistency(config, Watch(), backbone)
    maps = torch.zeros(3, 3, 32, 32)
    maps[:, 0, 8:24, 8:24] = 1
    found = reward(prediction.requires_grad_(), drawn, maps, [torch.Generator() for _ in range(3)])
    found.backward()
    assert found > 0 and prediction.grad is not None
    assert [bool(each.any()) for each in prediction.grad] == [True, True, False], "only those near their picture"


def features(recipe: Make, base: Path, name: str = "features", **changes: Any) -> tuple[ControlTask, Recipe]:
    learn = told(base, "canny", form="features", below=1000) | changes.pop("learn", {})
    run = recipe(learn, name, **changes)
    task = build_task(run)
    assert isinstance(task, ControlTask) and isinstance(task.consistency, FeatureConsistency)
    return task, run


def test_features_are_compared_with_the_decoder_s(recipe: Make, base: Path) -> None:
    """The gradient reaches branch, hint encoder and projections, and nothing of the base."""
    task, _ = features(recipe, base)
    for tap in [*task.net.branch.controlnet_down_blocks.values(), task.net.branch.controlnet_mid_block]:
        assert not any(each.any() for each in tap.parameters())  # silent, but the reward does not wait for them
    loss = task.losses(0)["consistency"]
    loss.backward()
    named = dict(task.module.named_parameters())
    learns = {name: each.grad is not None and bool(each.grad.any()) for name, each in named.items()}
    assert {name for name in learns if name.startswith("beside.")} == {
        f"beside.{site.key}.{part}" for site in task.net.sites for part in ("weight", "bias")
    }
    assert all(learns[name] for name in learns if name.startswith("beside."))
    assert learns["control.branch.conv_in.weight"] and learns["control.branch.mid_block.resnets.0.conv1.weight"]
    assert all(each.grad is None and not each.requires_grad for each in task.backbone.unet.parameters())


def test_the_targets_are_those_of_the_whole_u_net(recipe: Make, base: Path) -> None:
    """Hooks see what diffusers' own pass leaves in the last layer of each up block, with unit spread, and go again."""
    task, _ = features(recipe, base)
    reward, unet = task.consistency, task.backbone.unet
    assert isinstance(reward, FeatureConsistency)
    drawn, _, _ = scene(task.backbone)
    found = reward._targets(drawn.noisy, drawn.timestep, drawn.text)
    seen: list[torch.Tensor] = []
    hooks = [block.resnets[-1].register_forward_hook(lambda *given: seen.append(given[2])) for block in unet.up_blocks]
    with torch.no_grad():
        unet(drawn.noisy, drawn.timestep, drawn.text.states)
    for hook in hooks:
        hook.remove()
    assert list(found) == [2, 1]
    for target, expected in zip(found.values(), seen, strict=True):
        flat = expected.flatten(1)
        spread = (flat - flat.mean(1, keepdim=True)) / flat.std(1, correction=0, keepdim=True)
        torch.testing.assert_close(target, spread.view_as(expected), atol=1e-3, rtol=0)
    assert not any(block.resnets[-1]._forward_hooks for block in unet.up_blocks)


def test_few_samples_are_looked_at(recipe: Make, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = features(recipe, base)
    reward = task.consistency
    assert isinstance(reward, FeatureConsistency)
    drawn, prediction, _ = scene(task.backbone)
    counts: list[int] = []
    branch = type(task.net.branch)
    whole = branch.features

    def spy(self: Any, hint: torch.Tensor, sample: torch.Tensor, *more: Any) -> Any:
        counts.append(len(sample))
        return whole(self, hint, sample, *more)

    monkeypatch.setattr(branch, "features", spy)
    maps, draws = torch.rand(3, 3, 32, 32), [torch.Generator() for _ in range(3)]
    for most, below, expected in ((4, 1000, 3), (2, 1000, 2), (4, 100, 1)):
        reward.config = reward.config.model_copy(update={"most": most, "below": below})
        assert reward(prediction, drawn, maps, draws) > 0
        assert counts.pop() == expected
    reward.config = reward.config.model_copy(update={"below": 10})
    assert reward(prediction, drawn, maps, draws) == 0 and not counts


def test_projections_are_kept_with_the_run_and_not_exported(recipe: Make, base: Path) -> None:
    """They learn, a run that was stopped goes on with them, the base stays as it is, and the export is a ControlNet."""
    whole_task, whole_run = features(recipe, base, "whole")
    base_before = {name: each.clone() for name, each in whole_task.backbone.unet.state_dict().items()}
    beside = {name: each.clone() for name, each in whole_task.module.state_dict().items() if name.startswith("beside.")}
    train(whole_task, whole_run)
    learnt = whole_task.module.state_dict()
    assert all(not torch.equal(learnt[name], each) for name, each in beside.items())
    assert all(torch.equal(each, base_before[name]) for name, each in whole_task.backbone.unet.state_dict().items())

    train(*features(recipe, base, "parts", steps=3, optimizer={"lr": 1e-3, "warmup": 2}))
    resumed, run = features(recipe, base, "parts")
    train(resumed, run)
    assert all(torch.equal(each, learnt[name]) for name, each in resumed.module.state_dict().items())

    resumed.export(Path(run.output) / "export")
    net = load_control(Path(run.output) / "export", resumed.backbone.unet)
    assert net.state_dict().keys() == resumed.net.state_dict().keys()


def test_features_go_with_an_unlocked_decoder(recipe: Make, base: Path) -> None:
    task, run = features(recipe, base, learn={"unlock": "decoder", "merged": False})
    assert {name.split(".")[0] for name in task.module.state_dict()} == {"control", "unet", "beside"}
    assert train(task, run).step == 6
