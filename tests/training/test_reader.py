import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.annotators.measures import measures
from underdraw.annotators.readers import load_reader
from underdraw.data.batches import PictureSet
from underdraw.errors import ConfigError, InputError
from underdraw.training.reader import ReaderTask
from underdraw.training.recipe import ReaderRun, Recipe
from underdraw.training.trainer import train

READS = ["depth", "normal", "segmentation", "pose"]
MAPS = READS[:3]


def recipe(folder: Path, **changes: Any) -> Recipe:
    told = {
        "output": str(folder),
        "steps": 60,
        "batch": 8,
        "data": {"folders": ["none"], "maps": MAPS},
        "optimizer": {"lr": 4e-3, "warmup": 5},
        "learn": {"task": "reader", "reads": READS, "channels": [8, 16]},
    }
    return Recipe.model_validate(told | changes)


def balls(count: int, without: int = 0) -> PictureSet:
    """Coloured balls before a wall, each a person of one point, its middle: what is nearer is larger.

    The last `without` pictures have no depth.
    """
    generator = torch.Generator().manual_seed(count)
    place, colour, radius = (torch.rand(count, n, 1, 1, generator=generator) for n in (2, 3, 1))
    place = 0.2 + 0.6 * place
    down, across = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 24), indexing="ij")
    radius = 0.15 + 0.25 * radius[:, 0]
    inside = ((down - place[:, 0]) ** 2 + (across - place[:, 1]) ** 2 < radius**2)[:, None].float()
    pixels = inside * colour + (1 - inside) * 0.5
    left = torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1)
    maps = {
        "depth": (inside * (0.3 + 1.5 * radius[:, None])).expand(-1, 3, -1, -1),
        "normal": left * inside + torch.tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1) * (1 - inside),
        "segmentation": inside.expand(-1, 3, -1, -1),
    }
    middles = (24 * place[:, :, 0, 0]).tolist()
    return PictureSet(
        _bytes(pixels),
        [["a ball"]] * count,
        {kind: _bytes(each) for kind, each in maps.items()},
        {kind: torch.arange(count) < count - (without if kind == "depth" else 0) for kind in maps},
        [{"keypoints": [[x + k % 3, y, 2.0] for k in range(18)]} for y, x in middles],
    )


def _bytes(pictures: Tensor) -> Tensor:
    return (pictures * 255).round().to(torch.uint8)


def task(folder: Path, without: int = 0, **changes: Any) -> ReaderTask:
    told = recipe(folder, **changes)
    assert isinstance(told.learn, ReaderRun)
    return ReaderTask(told, told.learn, balls(64, without), balls(16))


@pytest.mark.parametrize(("kind", "channels"), [("unet", [8, 16]), ("dilated", [16])])
def test_it_learns_every_kind_and_its_export_reads(kind: str, channels: list[int], tmp_path: Path) -> None:
    learn = {"task": "reader", "reads": READS, "kind": kind, "channels": channels}
    learner = task(tmp_path, learn=learn)
    before = learner.errors()
    assert {each: set(found) for each, found in before.items()} == {each: set(measures(each)) for each in READS}
    state = train(learner, learner.recipe)
    assert state.step == 60
    after = learner.errors()
    assert after["depth"]["RMSE"] < 0.7 * before["depth"]["RMSE"]
    assert after["normal"]["mean angle"] < 0.6 * before["normal"]["mean angle"]
    assert after["segmentation"]["mIoU"] > before["segmentation"]["mIoU"] + 0.2
    assert learner.sheet().shape == (3, 2 + 9 * 26, 2 + 12 * 26)
    learner.export(tmp_path / "export")
    loaded = load_reader(tmp_path / "export" / "reader.safetensors")
    assert (loaded.shape.reads, loaded.shape.kind, loaded.shape.learned_from) == (tuple(READS), kind, "train")
    assert loaded.shape.colours == ((0, 0, 0), (255, 255, 255)) and loaded.shape.errors == after
    pictures = learner.watched.set.pictures(torch.arange(4))
    for each in READS:
        assert_close(loaded.read(pictures, each), learner.reader.read(pictures, each))


def test_losses_are_a_function_of_the_step(tmp_path: Path) -> None:
    def figures(step: int) -> dict[str, float]:
        return {name: loss.item() for name, loss in task(tmp_path).losses(step).items()}

    assert figures(3) == figures(3)
    assert list(figures(3)) == READS
    assert all(figures(3)[name] != figures(4)[name] for name in READS)
    assert all(math.isfinite(figure) for figure in figures(3).values())


def test_what_is_seen_and_what_is_wanted_are_mirrored_together(tmp_path: Path) -> None:
    """Left becomes right: of places, of what normals say, and of whose hand it is."""
    known = task(tmp_path).pictures
    rows, flip = torch.arange(6), torch.tensor([True, False] * 3)
    for kind in READS:
        plain, turned = known.wanted(kind, rows), known.wanted(kind, rows, flip)
        assert_close(turned[~flip], plain[~flip])
        expected = plain[flip].flip(-1)
        if kind == "normal":
            expected[:, 0] = 1 - expected[:, 0]
        if kind == "pose":  # the right shoulder is drawn where the left one was
            expected = expected[:, [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]]
        assert_close(turned[flip], expected, msg=kind)


def test_pictures_without_a_map_are_left_out(tmp_path: Path) -> None:
    learner = task(tmp_path, without=40)
    assert len(learner.pictures.set) == len(learner.pictures.people) == 24
    with pytest.raises(InputError, match="no picture has all of depth, normal, segmentation"):
        task(tmp_path, without=64)


def test_a_reader_of_one_kind_needs_its_maps_alone(tmp_path: Path) -> None:
    learn = {"task": "reader", "reads": ["depth"], "channels": [8]}
    learner = task(tmp_path, data={"folders": ["none"], "maps": ["depth"]}, learn=learn)
    assert list(learner.losses(0)) == ["depth"]


@pytest.mark.parametrize("split", ["split", "watch_split"])
def test_a_judge_never_learns_from_the_report(tmp_path: Path, split: str) -> None:
    with pytest.raises(ConfigError, match="must not see the report split"):
        task(tmp_path, data={"folders": ["none"], "maps": MAPS, split: "report"})


def test_a_recipe_must_read_the_map_that_it_learns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.maps lacks 'depth'"):
        task(tmp_path, data={"folders": ["none"]})


def test_labels_are_no_photographs(tmp_path: Path) -> None:
    learner = task(tmp_path)
    noise = torch.randint(256, (64, 3, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    learner.pictures.set.maps["segmentation"] = noise
    with pytest.raises(InputError, match="colours; of labels there are 256 at most"):
        ReaderTask(learner.recipe, learner.config, learner.pictures.set, learner.watched.set)
