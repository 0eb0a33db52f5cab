from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from underdraw.annotators import as_hint, extract
from underdraw.data.folder import Record, write_folder
from underdraw.errors import InputError
from underdraw.evaluation.judges import Judge, call_judge
from underdraw.evaluation.trials import Easel, Item, Protocol, choose, derange, gather, rebuild
from underdraw.generation import Studio, draw, finish
from underdraw.model import Control

FEW = Protocol(items=6, steps=2, batch=4, seed=10)


CANNY = call_judge("canny", (), "report")


@pytest.fixture
def depth(reader: Path) -> Judge:
    return call_judge("depth", [reader], "report")


def chosen(worlds: list[Path], protocol: Protocol, judge: Judge | None = None) -> list[Item]:
    return choose(gather(worlds, protocol.split), protocol, judge)


def item(name: str, world: str = "w", **attributes: object) -> Item:
    return Item(Record(name, torch.zeros(3, 8, 8), "text", {}, attributes), world, 0)


def test_items_are_spread_over_folders_and_over_the_split(worlds: list[Path]) -> None:
    items = chosen(worlds, Protocol(items=7))
    assert Counter(each.world for each in items) == {"rooms": 4, "stickers": 3}
    assert [each.record.name for each in items[:4]] == [f"room-report-{place}" for place in (0, 3, 6, 9)]
    assert [each.seed for each in items] == list(range(7))
    assert {each.record.attributes["split"] for each in items} == {"report"}
    assert [each.key for each in chosen(worlds, Protocol(items=7), CANNY)] == [each.key for each in items]


def test_depth_is_asked_of_pictures_that_have_it(worlds: list[Path], depth: Judge) -> None:
    items = chosen(worlds, Protocol(items=50), depth)
    assert len(items) == 12 and {each.world for each in items} == {"rooms"}


def test_folders_that_cannot_be_used_are_named(worlds: list[Path], depth: Judge, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture of split 'watch'"):
        gather(worlds, "watch")
    with pytest.raises(InputError, match="no picture of split 'report' has a depth map"):
        chosen(worlds[1:], Protocol(), depth)
    sizes = [Record(str(side), torch.zeros(3, side, side), "x", {}, {"split": "report"}) for side in (8, 16)]
    for _ in write_folder(tmp_path / "mixed", sizes):
        pass
    with pytest.raises(InputError, match="several sizes"):
        gather([tmp_path / "mixed"], "report")


def test_maps_are_shuffled_among_other_things_of_the_same_folder(worlds: list[Path]) -> None:
    items = chosen(worlds, Protocol(items=24))
    order = derange(items, seed=0)
    assert sorted(order.tolist()) == list(range(24))
    for row, other in enumerate(order.tolist()):
        assert items[row].world == items[other].world
        assert items[row].concept != items[other].concept
    assert order.tolist() != derange(items, seed=1).tolist()
    assert order.tolist() == derange(items, seed=0).tolist()


def test_too_many_of_one_thing_cannot_be_shuffled() -> None:
    same = [item(str(place), concept="mushroom" if place < 3 else "fish") for place in range(4)]
    with pytest.raises(InputError, match="too many of the 4 items of w are about one thing"):
        derange(same, 0)


def test_a_trial_draws_what_it_says(studio: Studio, worlds: list[Path], depth: Judge) -> None:
    items = chosen(worlds[:1], FEW, depth)
    heard: list[tuple[str, int, int]] = []
    easel = Easel(studio, FEW, lambda *told: heard.append(told))
    trial = easel.trial(depth, items)
    for name in ("truth", "free", "bound", "crossed", "rebuilt"):
        pictures = getattr(trial, name)
        assert pictures.shape == (6, 3, 32, 32)
        assert pictures.min() >= 0 and pictures.max() <= 1
    assert torch.equal(trial.maps, torch.stack([each.record.maps["depth"][:1] for each in items]))
    assert torch.equal(trial.wanted, trial.maps)
    assert [count for what, *_, count in heard if what == "without control"] == [6, 6]

    row = 2
    control = Control(studio.net("depth"), as_hint(trial.maps[trial.order[row]][None]))
    for controls, expected in (([], trial.free), ([control], trial.crossed)):
        frames = draw(studio.backbone, [items[row].record.text], [12], (32, 32), controls=controls, steps=2)
        assert_close(finish(studio.backbone, frames), expected[row : row + 1], atol=2e-5, rtol=0)
    assert (trial.free - trial.bound).abs().max() > 1e-3
    assert (trial.bound - trial.crossed).abs().max() > 1e-3

    heard.clear()
    assert easel.trial(CANNY, items).free is trial.free and all("without" not in what for what, *_ in heard)


def test_the_batch_says_nothing(studio: Studio, worlds: list[Path]) -> None:
    items = chosen(worlds, FEW)
    maps = torch.cat([CANNY.shown(each.record) for each in items])
    easels = [Easel(studio, FEW.model_copy(update={"batch": batch})) for batch in (1, 6)]
    assert_close(*(easel.under(items, "canny", maps) for easel in easels), atol=2e-5, rtol=0)


def test_maps_are_the_record_s_or_the_annotator_s(worlds: list[Path], depth: Judge) -> None:
    room = chosen(worlds, FEW)[0].record
    assert torch.equal(depth.shown(room)[0], room.maps["depth"][:1])
    assert torch.equal(CANNY.shown(room), extract("canny", room.image[None]))


def test_the_ceiling_is_the_most_likely_latent(studio: Studio, worlds: list[Path]) -> None:
    truth = torch.stack([each.record.image for each in chosen(worlds, FEW)])
    latents = studio.backbone.encode_picture(truth).mean
    assert_close(rebuild(studio.backbone, truth), studio.backbone.decode_latents(latents).detach())
