import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from underdraw.annotators import build
from underdraw.annotators.readers import Reader, Shape, save_reader
from underdraw.errors import CheckpointError, ConfigError
from underdraw.evaluation.judges import Judge, call_judge, true_map
from underdraw.evaluation.measures import measures
from underdraw.evaluation.suites import measure, measure_vae
from underdraw.evaluation.trials import Item, Protocol, Trial, choose, derange


def trial(items: list[Item], bound: Tensor, crossed: Tensor) -> Trial:
    """Uncontrolled pictures are what another item of the list shows; the VAE loses nothing."""
    truth = torch.stack([each.record.image for each in items])
    maps = torch.cat([true_map("canny", each.record) for each in items])
    order = derange(items, 0)
    return Trial("canny", items, maps, order, truth, truth.roll(1, 0), bound, crossed, truth)


@pytest.fixture
def items(worlds: list[Path]) -> list[Item]:
    return choose(worlds, Protocol(items=24))


def test_perfect_obedience(items: list[Item]) -> None:
    truth = torch.stack([each.record.image for each in items])
    order = derange(items, 0)
    found = measure(trial(items, truth, truth[order]), call_judge("canny", {}, "report"))
    assert list(found) == ["all", "rooms", "stickers"]
    assert [each.measure for each in found["all"]] == ["F1 at 1 px", "F1 at 0 px"]
    assert [each.items for each in found["all"] + found["rooms"]] == [24, 24, 12, 12]
    for each in found["all"]:
        assert each.ours.value == each.ceiling.value == each.crossed.value == 1
        assert each.floor.value < 0.9
        assert math.isclose(each.obedience.value, 100) and math.isclose(each.crossed_obedience.value, 100)


def test_disobedience(items: list[Item]) -> None:
    """Pictures that ignore the map are at the floor; pictures that show the truth under another's map are caught."""
    truth = torch.stack([each.record.image for each in items])
    for each in measure(trial(items, truth.roll(1, 0), truth), call_judge("canny", {}, "report"))["all"]:
        assert each.obedience.value == 0
        assert each.against_truth.value == 1 > each.limit > each.floor.value
        assert not each.ignores_truth
    empty = torch.zeros_like(truth)
    for each in measure(trial(items, truth, empty), call_judge("canny", {}, "report"))["all"]:
        assert each.against_truth.value == 0 and each.ignores_truth


def test_half_of_the_pictures_obey(items: list[Item]) -> None:
    truth = torch.stack([each.record.image for each in items])
    half = torch.where((torch.arange(24) % 2 == 0)[:, None, None, None], truth, truth.roll(1, 0))
    share = measure(trial(items, half, truth), call_judge("canny", {}, "report"))["all"][0].obedience
    assert 20 < share.low < 40 < share.value < 60 < share.high < 80


def test_errors_count_the_other_way_round(items: list[Item]) -> None:
    """A judge of brightness: the floor is darker by 0.4, ours by 0.1, the VAE by nothing."""
    truth = torch.stack([each.record.image for each in items]) * 0.5 + 0.5
    grey = truth.mean(1, keepdim=True)
    dull = Judge("depth", lambda pictures: pictures.mean(1, keepdim=True), measures("depth"), {})
    drawn = trial(items, truth - 0.1, truth[derange(items, 0)] - 0.1)
    plain, scaled, shifted = measure(replace(drawn, maps=grey, free=truth - 0.4, rebuilt=truth), dull)["all"]
    assert math.isclose(plain.obedience.value, 75, rel_tol=1e-4)
    assert plain.limit <= plain.floor.value
    assert plain.against_truth.value < plain.limit and not plain.ignores_truth
    assert 0 < scaled.ours.value < plain.ours.value
    assert shifted.floor.value < 1e-5, "a shift is no error of form"


def test_the_vae_alone(items: list[Item]) -> None:
    truth = torch.stack([each.record.image for each in items])
    lost = (truth * 0.5 + 0.25 + 0.1) - (truth * 0.5 + 0.25)
    found = measure_vae(items, (truth + lost).clamp(0, 1))
    assert list(found) == ["all", "rooms", "stickers"]
    assert 19.9 < found["all"].psnr.value < 21
    assert 0.6 < found["all"].exact.value <= found["all"].near.value <= 1
    perfect = measure_vae(items, truth)["all"]
    assert perfect.psnr.value == 100 and perfect.exact.value == 1


def test_judges(reader: Path, tmp_path: Path) -> None:
    pictures = torch.rand(3, 3, 32, 32)
    canny = call_judge("canny", {}, "report")
    assert torch.equal(canny.read(pictures), build("canny")(pictures))
    assert canny.scores is measures("canny") and canny.told["low"] == 100
    depth = call_judge("depth", {"depth": reader}, "report")
    assert depth.read(pictures).shape == (3, 1, 32, 32) and depth.told["learned_from"] == "train"
    with pytest.raises(ConfigError, match=r"depth is judged by a reader; give its file: depth=FILE"):
        call_judge("depth", {}, "report")
    with pytest.raises(ConfigError, match="reads depth, not normal"):
        call_judge("normal", {"normal": reader}, "report")
    with pytest.raises(ConfigError, match="was trained on the train split and must not judge it"):
        call_judge("depth", {"depth": reader}, "train")
    with pytest.raises(CheckpointError, match="cannot read reader"):
        call_judge("depth", {"depth": tmp_path / "none"}, "report")
    save_reader(Reader(Shape("depth", channels=(8,), learned_from="report")), tmp_path / "cheat")
    with pytest.raises(ConfigError, match="trained on the report split"):
        call_judge("depth", {"depth": tmp_path / "cheat"}, "report")
