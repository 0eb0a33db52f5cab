import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from underdraw.annotators import build
from underdraw.annotators.measures import measures
from underdraw.annotators.readers import Reader, Shape, save_reader
from underdraw.data.folder import Record
from underdraw.errors import CheckpointError, ConfigError
from underdraw.evaluation.judges import Judge, call_judge
from underdraw.evaluation.suites import measure, measure_vae
from underdraw.evaluation.trials import Item, Protocol, Trial, choose, derange, gather

JUDGED = [
    *("canny", "scribble", "sketch", "softedge", "lineart", "lines", "depth", "depth_layers", "normal"),
    *("segmentation", "colour_grid", "luminance", "intensity", "tile", "blur", "inpaint", "pose", "shuffle"),
]
CANNY = call_judge("canny", (), "report")


def trial(items: list[Item], bound: Tensor, crossed: Tensor) -> Trial:
    """Uncontrolled pictures are what another item of the list shows; the VAE loses nothing."""
    truth = torch.stack([each.record.image for each in items])
    maps = torch.cat([CANNY.shown(each.record) for each in items])
    order = derange(items, 0)
    return Trial("canny", items, maps, maps, order, truth, truth.roll(1, 0), bound, crossed, truth)


@pytest.fixture
def items(worlds: list[Path]) -> list[Item]:
    return choose(gather(worlds, "report"), Protocol(items=24))


def test_perfect_obedience(items: list[Item]) -> None:
    truth = torch.stack([each.record.image for each in items])
    order = derange(items, 0)
    found = measure(trial(items, truth, truth[order]), CANNY)
    assert list(found) == ["all", "rooms", "stickers"]
    assert [each.measure for each in found["all"]] == ["F1 at 1 px", "F1 at 0 px"]
    assert [each.items for each in found["all"] + found["rooms"]] == [24, 24, 12, 12]
    for each in found["all"]:
        assert each.ours.value == each.ceiling.value == each.crossed.value == each.own.value == 1
        assert each.floor.value < 0.9
        assert math.isclose(each.obedience.value, 100) and math.isclose(each.crossed_obedience.value, 100)


def test_disobedience(items: list[Item]) -> None:
    """Pictures that ignore the map are at the floor; pictures that show the truth under another's map are caught."""
    truth = torch.stack([each.record.image for each in items])
    for each in measure(trial(items, truth.roll(1, 0), truth), CANNY)["all"]:
        assert each.obedience.value == 0
        assert each.against_truth.value == 1 > each.limit > each.floor.value
        assert not each.ignores_truth
    empty = torch.zeros_like(truth)
    for each in measure(trial(items, truth, empty), CANNY)["all"]:
        assert each.against_truth.value == 0 and each.ignores_truth


def test_half_of_the_pictures_obey(items: list[Item]) -> None:
    truth = torch.stack([each.record.image for each in items])
    half = torch.where((torch.arange(24) % 2 == 0)[:, None, None, None], truth, truth.roll(1, 0))
    share = measure(trial(items, half, truth), CANNY)["all"][0].obedience
    assert 20 < share.low < 40 < share.value < 60 < share.high < 80


def test_errors_count_the_other_way_round(items: list[Item]) -> None:
    """A judge of brightness: the floor is darker by 0.4, ours by 0.1, the VAE by nothing."""
    truth = torch.stack([each.record.image for each in items]) * 0.5 + 0.5
    grey = truth.mean(1, keepdim=True)
    dull = Judge("depth", lambda pictures: pictures.mean(1, keepdim=True), measures("depth"), {})
    drawn = trial(items, truth - 0.1, truth[derange(items, 0)] - 0.1)
    plain, scaled, shifted = measure(
        replace(drawn, wanted=grey, truth=truth - 0.05, free=truth - 0.4, rebuilt=truth), dull
    )["all"]
    assert math.isclose(plain.obedience.value, 75, rel_tol=1e-4)
    assert math.isclose(plain.own.value, 0.05, rel_tol=1e-4), "what the judge gets wrong of the truth"
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
    assert torch.equal(CANNY.read(pictures), build("canny")(pictures))
    assert CANNY.scores is measures("canny") and CANNY.told["low"] == 100
    depth = call_judge("depth", [reader], "report")
    assert depth.read(pictures).shape == (3, 1, 32, 32) and depth.told["learned_from"] == "train"
    layers = call_judge("depth_layers", [reader], "report").read(pictures)
    assert torch.equal(layers, build("depth_layers")(depth.read(pictures)))
    for kind in ("depth", "labels", "pose"):
        with pytest.raises(ConfigError, match=f"{kind} is judged by a reader, and there is none; give the file"):
            call_judge(kind, (), "report")
    with pytest.raises(ConfigError, match="was trained on the train split and must not judge it"):
        call_judge("depth", [reader], "train")
    with pytest.raises(CheckpointError, match="cannot read reader"):
        call_judge("depth", [tmp_path / "none"], "report")
    save_reader(Reader(Shape(("depth",), channels=(8,), learned_from="report")), tmp_path / "cheat")
    with pytest.raises(ConfigError, match="trained on the report split"):
        call_judge("depth", [tmp_path / "cheat"], "report")
    with pytest.raises(ConfigError, match=r"normal is judged by a reader, and none of .*cheat reads normal"):
        call_judge("normal", [tmp_path / "cheat"], "report")
    assert call_judge("normal", [tmp_path / "cheat", reader], "report").told["reader"] == "reader.safetensors"
    with pytest.raises(ConfigError, match="lineart_anime can't be judged"):
        call_judge("lineart_anime", (), "report")


def test_the_reader_that_ships_judges_where_none_is_given(reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (reader.parent / "judge.safetensors").write_bytes(reader.read_bytes())
    monkeypatch.setattr("underdraw.annotators.readers.SHIPPED", reader.parent)
    assert call_judge("pose", (), "report").told["reader"] == "judge.safetensors"


def room(**more: object) -> Record:
    """A picture of which everything is known."""
    maps = {"depth": torch.rand(1, 32, 32), "normal": torch.rand(3, 32, 32), "segmentation": torch.zeros(3, 32, 32)}
    points = [[4.0 + k, 6.0 + k, 2.0] for k in range(18)]
    return Record("room", torch.rand(3, 32, 32), "a room", maps, {"keypoints": points} | more)


@pytest.mark.parametrize("kind", JUDGED)
def test_every_condition_can_be_judged(kind: str, reader: Path) -> None:
    """Its map is shown, what is read of a picture can be compared with what is wanted, and a perfect one is best."""
    judge, record = call_judge(kind, [reader], "report"), room()
    shown = judge.shown(record)
    assert judge.usable(record) and shown.shape[2:] == (32, 32)
    assert torch.equal(shown, judge.shown(record)), "the same map each time"
    wanted, read = judge.wanted(record, shown), judge.read(record.image[None])
    for score in judge.scores.values():
        assert score(read, wanted).shape == (1,) and bool(score(read, wanted).isfinite().all())
    if judge.alone and kind not in ("shuffle", "sketch"):
        name, score = next(iter(judge.scores.items()))
        assert score(read, wanted).item() == pytest.approx(0 if "RMSE" in name else 1, abs=1e-6)


def test_what_a_picture_lacks_is_not_asked_of_it(reader: Path) -> None:
    bare = replace(room(), maps={}, attributes={})
    for kind in ("depth", "depth_layers", "normal", "labels", "segmentation", "pose"):
        assert not call_judge(kind, [reader], "report").usable(bare)
    assert all(call_judge(kind, (), "report").usable(bare) for kind in ("canny", "inpaint", "shuffle", "tile"))
    layers = call_judge("depth_layers", [reader], "report").shown(room())
    assert len(layers.unique()) == 4, "made of the depth that is known"
    lines = {"lines": torch.ones(1, 32, 32)}
    assert call_judge("lines", (), "report").shown(replace(room(), maps=lines)).mean() < 0.5, "as a user would get it"
