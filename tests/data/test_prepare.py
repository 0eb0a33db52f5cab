import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from underdraw import images
from underdraw.annotators import extract
from underdraw.data import packing
from underdraw.data.preparation import Made, Preparation
from underdraw.data.prepare import Progress, is_prepared, prepare
from underdraw.data.shards import ShardSet
from underdraw.data.sources import Wishes, open_source
from underdraw.errors import ConfigError, InputError

from .conftest import LABELS, blocks, labels, save

Photos = Callable[..., Path]
SMALL = Preparation(size=(64, 64), step=16)


def run(
    source: Path, target: Path, settings: Preparation = SMALL, workers: int = 1, **wishes: object
) -> list[Progress]:
    return list(prepare(open_source(source, Wishes(**wishes)), target, settings, workers))  # type: ignore[arg-type]


def problems(target: Path) -> list[tuple[str, str, bool]]:
    lines = [json.loads(line) for line in (target / "quarantine.jsonl").read_text().splitlines()]
    return [(line["name"], line["what"], line["loses"]) for line in lines]


def lost(target: Path) -> list[tuple[str, str]]:
    return [(name, what) for name, what, loses in problems(target) if loses]


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def colours(pixels: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in images.to_uint8(pixels[0]).reshape(-1, 3).tolist()}


def test_pictures_become_samples(photos: Photos, tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"annotators": [Made(kind="canny", knobs={"low": 50})], "form": "png"})
    steps = run(photos(4), tmp_path / "data", settings)
    assert (
        [step.kept for step in steps] == [True] * 4
        and is_prepared(tmp_path / "data")
        and not problems(tmp_path / "data")
    )
    found = ShardSet.load([tmp_path / "data"], kinds=["canny"])
    assert found.texts == [[f"blocks number {n}"] for n in range(4)]
    shown = images.resize(images.read(tmp_path / "photos" / "photo-2.jpg"), (64, 64))
    assert (found.pictures(torch.tensor([2])) - shown).abs().max() <= 0.5 / 255 + 1e-6
    expected = extract("canny", images.read(tmp_path / "photos" / "photo-2.jpg"), (64, 64), low=50)
    assert torch.equal(found.map("canny", torch.tensor([2])), expected) and expected.mean() > 0.02
    told = found.attributes[2]["underdraw"]
    assert told["source_size"] == [96, 96] and told["maps"]["canny"][0]["low"] == 50


def test_the_form_follows_the_source(photos: Photos, tmp_path: Path) -> None:
    save(blocks(9), photos(1) / "drawn.png")
    run(tmp_path / "photos", tmp_path / "data")
    found = ShardSet.load([tmp_path / "data"])
    assert [sample.picture for sample in found.samples] == ["png", "jpg"]


def test_several_draws_of_the_knobs(photos: Photos, tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"annotators": [Made(kind="canny")], "draws": 3})
    run(photos(3), tmp_path / "data", settings)
    found = ShardSet.load([tmp_path / "data"], kinds=["canny"])
    knobs = [each["underdraw"]["maps"]["canny"] for each in found.attributes]
    assert all(len(draws) == 3 and draws[0]["low"] == 100 for draws in knobs)
    assert len({draw["low"] for draws in knobs for draw in draws[1:]}) > 1
    draws = [torch.Generator().manual_seed(seed) for seed in range(12)]
    several = found.map("canny", torch.tensor([0] * 12), draws=draws)
    assert len(several.unique(dim=0)) > 1
    usual = extract("canny", images.read(tmp_path / "photos" / "photo-0.jpg"), (64, 64))
    assert torch.equal(found.map("canny", torch.tensor([0])), usual)


def test_further_draws_look_at_random_resolutions(photos: Photos, tmp_path: Path) -> None:
    """Within the range; the first map, and annotators that have a resolution of their own, keep theirs."""
    makes = [Made(kind="canny"), Made(kind="colour_grid")]
    run(photos(3), tmp_path / "data", Preparation(size=(64, 64), annotators=makes, draws=4, resolutions=(48, 96)))
    found = ShardSet.load([tmp_path / "data"], kinds=["canny"])
    made = [each["underdraw"]["maps"] for each in found.attributes]
    drawn = [knobs["resolution"] for maps in made for knobs in maps["canny"][1:]]
    assert len(set(drawn)) > 3 and min(drawn) >= 48 and max(drawn) <= 96
    assert {knobs["resolution"] for maps in made for knobs in (maps["canny"][0], *maps["colour_grid"])} == {0}
    assert found.map("canny", torch.tensor([0]), draws=[torch.Generator().manual_seed(3)]).shape[-2:] == (64, 64)
    with pytest.raises(ConfigError, match="resolutions 96-48: give the smaller one first"):
        Preparation(resolutions=(96, 48))


@pytest.mark.parametrize(("size", "shape"), [((96, 96), (64, 64)), ((160, 96), (48, 80)), ((100, 190), (96, 48))])
def test_picture_and_map_are_cut_together(tmp_path: Path, size: tuple[int, int], shape: tuple[int, int]) -> None:
    """A map that is the picture itself stays the picture, in every bucket, also one of half the size."""
    pixels = blocks(3, *size)
    save(pixels, tmp_path / "src" / "images" / "a.png")
    half = Image.fromarray(pixels).reduce(2)
    save(np.asarray(half), tmp_path / "src" / "colour" / "a.png")
    save(pixels, tmp_path / "src" / "tile" / "a.png")
    run(tmp_path / "src", tmp_path / "data")
    found = ShardSet.load([tmp_path / "data"], kinds=["colour", "tile"])
    shown = found.pictures(torch.tensor([0]))
    assert shown.shape[-2:] == shape
    assert (shown - found.map("tile", torch.tensor([0]))).abs().mean() < 0.01
    assert (shown - found.map("colour", torch.tensor([0]))).abs().mean() < 0.08


def test_label_maps_stay_labels_lines_survive_fields_average(tmp_path: Path) -> None:
    save(blocks(3), tmp_path / "src" / "images" / "a.png")
    save(labels(3), tmp_path / "src" / "segmentation" / "a.png")
    lines = np.zeros((96, 96, 3), np.uint8)
    lines[:, 50] = 255
    save(lines, tmp_path / "src" / "lines" / "a.png")
    save(lines, tmp_path / "src" / "depth" / "a.png")
    run(tmp_path / "src", tmp_path / "data", Preparation(size=(32, 32), step=32))
    found = ShardSet.load([tmp_path / "data"], kinds=["segmentation", "lines", "depth"])
    one = torch.tensor([0])
    assert len(colours(found.map("segmentation", one))) > 2 and colours(found.map("segmentation", one)) <= set(LABELS)
    assert found.map("lines", one).max() == 1 and found.map("lines", one).unique().tolist() == [0, 1]
    assert 0.3 < float(found.map("depth", one).max()) < 0.4


def test_masked_pixels_of_inpaint_maps_stay_minus_one(tmp_path: Path) -> None:
    """Pictures whose masked part is transparent, as editors save them."""
    pixels = blocks(1)
    save(pixels, tmp_path / "src" / "images" / "a.png")
    alpha = np.full((96, 96, 1), 255, np.uint8)
    alpha[30:60, 20:70] = 0
    save(np.concatenate([pixels, alpha], 2), tmp_path / "src" / "inpaint" / "a.png")
    run(tmp_path / "src", tmp_path / "data", Preparation(size=(96, 96), step=32))
    found = ShardSet.load([tmp_path / "data"], kinds=["inpaint"])
    maps, shown = found.map("inpaint", torch.tensor([0])), found.pictures(torch.tensor([0]))
    masked = torch.zeros(1, 3, 96, 96, dtype=torch.bool)
    masked[..., 30:60, 20:70] = True
    assert torch.equal(maps == -1, masked) and torch.equal(maps[~masked], shown[~masked])


def test_turned_by_exif(tmp_path: Path) -> None:
    pixels = blocks(3, 128, 64)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    save(pixels, tmp_path / "src" / "a.jpg", exif=exif, quality=98)
    run(tmp_path / "src", tmp_path / "data", Preparation(size=(64, 64), step=16, form="png"))
    found = ShardSet.load([tmp_path / "data"])
    upright = images.from_uint8(np.ascontiguousarray(np.rot90(pixels, -1)))[None]
    shown = found.pictures(torch.tensor([0]))
    assert shown.shape[-2] > shown.shape[-1]
    size = (shown.shape[-1], shown.shape[-2])
    assert (images.resize(images.crop(upright, size), size) - shown).abs().mean() < 0.02


def test_large_jpegs_are_decoded_smaller_and_look_the_same(tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(blocks(5, 200, 150)).resize((1600, 1200), Image.Resampling.BICUBIC))
    save(large, tmp_path / "src" / "a.jpg", quality=95)
    run(tmp_path / "src", tmp_path / "data", Preparation(size=(64, 64), bucket=False, form="png"))
    found = ShardSet.load([tmp_path / "data"])
    shown = images.resize(images.crop(images.read(tmp_path / "src" / "a.jpg"), (64, 64)), (64, 64))
    assert (found.pictures(torch.tensor([0])) - shown).abs().mean() < 0.01
    assert found.attributes[0]["underdraw"]["source_size"] == [1600, 1200]


def test_bad_pictures_are_told_and_the_rest_goes_on(photos: Photos, tmp_path: Path) -> None:
    folder = photos(3)
    (folder / "text.png").write_text("not a picture")
    (folder / "cut.jpg").write_bytes((folder / "photo-0.jpg").read_bytes()[:300])
    save(blocks(20, 20, 20), folder / "tiny.png")
    save(blocks(21, 4, 40), folder / "dot.png")
    shutil.copy(folder / "photo-1.jpg", folder / "same.jpg")
    Image.open(folder / "photo-2.jpg").resize((80, 80)).save(folder / "worn.jpg", quality=60)
    (folder / "photo-1.txt").write_text(" \n")
    steps = run(folder, tmp_path / "data")
    assert sum(step.kept for step in steps) == 3
    assert sorted(problems(tmp_path / "data")) == [
        ("cut.jpg", "picture cannot be read", True),
        ("dot.png", "picture cannot be read", True),
        ("photo-1.jpg", "caption is empty", False),
        ("same.jpg", "picture is there twice", True),
        ("text.png", "picture cannot be read", True),
        ("tiny.png", "picture is too small (see --size, --enlarge)", True),
        ("worn.jpg", "picture is nearly another one", True),
    ]
    about = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert about["samples"] == 3 and "3 × picture cannot be read, left out (first cut.jpg" in "\n".join(
        about["problems"]
    )


def test_bad_maps(tmp_path: Path) -> None:
    for name in "abcd":
        save(blocks(ord(name)), tmp_path / "src" / "images" / f"{name}.png")
    save(blocks(1, 96, 60), tmp_path / "src" / "depth" / "a.png")
    (tmp_path / "src" / "depth" / "b.png").write_text("x")
    save(blocks(1, 48, 48), tmp_path / "src" / "depth" / "d.png")
    run(tmp_path / "src", tmp_path / "data")
    assert [each for each in problems(tmp_path / "data") if each[1] != "caption is empty"] == [
        ("images/a.png", "depth map has other proportions", True),
        ("images/b.png", "depth map cannot be used", True),
        ("images/c.png", "has no depth map", False),
    ]
    found = ShardSet.load([tmp_path / "data"], kinds=["depth"])
    assert found.has["depth"].tolist() == [False, True]
    both = found.map("depth", torch.tensor([0, 1]))
    assert both.shape[1] == 1 and not both[0].any() and both[1].any()


def test_one_picture_with_other_maps_is_no_duplicate(tmp_path: Path) -> None:
    for number in range(3):
        save(blocks(1), tmp_path / "src" / "images" / f"{number}.png")
        save(blocks(min(number, 1) + 5), tmp_path / "src" / "depth" / f"{number}.png")
    run(tmp_path / "src", tmp_path / "data")
    assert lost(tmp_path / "data") == [("images/2.png", "picture is there twice")]
    run(tmp_path / "src", tmp_path / "all", SMALL.model_copy(update={"duplicates": "keep"}))
    assert len(ShardSet.load([tmp_path / "all"])) == 3 and lost(tmp_path / "all") == []


def test_names_that_would_be_one_key(tmp_path: Path) -> None:
    for number, name in enumerate(("a/x.png", "a_x.png", "a/x.jpg", "v1.2.png", "图.png")):
        save(blocks(number), tmp_path / "src" / name)
    run(tmp_path / "src", tmp_path / "data")
    keys = [sample.key for sample in ShardSet.load([tmp_path / "data"]).samples]
    assert keys == ["a_x", "a_x-2", "a_x-3", "v1_2", "图"]


def test_one_picture_only(photos: Photos, tmp_path: Path) -> None:
    run(photos(1), tmp_path / "data")
    assert len(ShardSet.load([tmp_path / "data"], "train")) == 1
    with pytest.raises(InputError, match="no pictures of split 'watch'"):
        ShardSet.load([tmp_path / "data"], "watch")


def test_nothing_that_can_be_used_is_one_reason(tmp_path: Path) -> None:
    for number in range(3):
        save(blocks(number, 20, 20), tmp_path / "src" / f"{number}.png")
    with pytest.raises(InputError, match="nothing could be prepared: 3 × picture is too small"):
        run(tmp_path / "src", tmp_path / "data")
    run(tmp_path / "src", tmp_path / "data", SMALL.model_copy(update={"enlarge": 4.0}))
    assert len(ShardSet.load([tmp_path / "data"])) == 3


def test_what_fails_for_every_picture_is_told_at_once(photos: Photos, tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"annotators": [Made(kind="depth")]})
    with pytest.raises(InputError, match="depth cannot be seen in a photograph"):
        run(photos(2), tmp_path / "data", settings)
    assert not (tmp_path / "data").exists()


def test_numbers_and_points_beside_pictures(tmp_path: Path) -> None:
    """A field in `.npy`, and body points in OpenPose's JSON, which move with the picture and are drawn."""
    save(blocks(1, 128, 64), tmp_path / "src" / "images" / "a.png")
    (tmp_path / "src" / "depth").mkdir()
    np.save(tmp_path / "src" / "depth" / "a.npy", np.linspace(1, 9, 128)[None].repeat(64, 0))
    body = [[64.0, 32.0, 1.0] if place < 2 else [0.0, 0.0, 0.0] for place in range(18)]
    flat = [value for point in body for value in point]
    people = {"people": [{"pose_keypoints_2d": flat}], "canvas_width": 128, "canvas_height": 64}
    (tmp_path / "src" / "images" / "a_keypoints.json").write_text(json.dumps(people))
    run(tmp_path / "src", tmp_path / "data", Preparation(size=(32, 32), step=32, bucket=False))
    found = ShardSet.load([tmp_path / "data"], kinds=["depth", "pose"])
    depth = found.map("depth", torch.tensor([0]))
    assert depth[0, 0, 0, 0] == 0 and depth[0, 0, 0, -1] == 1 and depth.shape == (1, 1, 32, 32)
    drawn = found.map("pose", torch.tensor([0]))
    rows, columns = drawn[0].amax(0).nonzero(as_tuple=True)
    assert abs(float(columns.float().mean()) - 16) < 1.5 and abs(float(rows.float().mean()) - 16) < 1.5
    stored = json.loads(found.samples[0].read("pose.json"))
    assert stored["people"][0]["pose_keypoints_2d"][:2] == [16.0, 16.0] and stored["canvas_width"] == 32


def test_body_points_that_a_table_tells_of(tmp_path: Path) -> None:
    """As rooms have them: 18 points a body in a row, each x, y and 0 (not there), 1 (hidden) or 2 (seen)."""
    body = [[8.0 * place % 64 + 4, 30.0 + place, 2.0 if place < 9 else 1.0] for place in range(18)]
    hardly_seen = [[4.0, 4.0, 1.0]] * 18
    rows = []
    for name, points in (("one", body + hardly_seen), ("nobody", [])):
        save(blocks(len(name), 64, 64), tmp_path / "src" / f"{name}.png")
        rows.append({"file_name": f"{name}.png", "text": name, "keypoints": points})
    (tmp_path / "src" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(tmp_path / "src", tmp_path / "data", Preparation(size=(32, 32), step=32))
    found = ShardSet.load([tmp_path / "data"], kinds=["pose"])
    assert found.has["pose"].tolist() == [True, False]
    (person,) = json.loads(found.samples[0].read("pose.json"))["people"]
    assert person["pose_keypoints_2d"][:6] == [2.0, 15.0, 1.0, 6.0, 15.5, 1.0]
    assert 0.02 < float((found.map("pose", torch.tensor([0])) > 0).float().mean()) < 0.4, "thin enough for its size"


def test_captions_from_templates(photos: Photos, tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"caption": "a picture of {name}, {text}"})
    (photos(2) / "photo-1.txt").unlink()
    run(tmp_path / "photos", tmp_path / "data", settings)
    assert ShardSet.load([tmp_path / "data"]).texts == [["a picture of photo, blocks number 0"], [""]]
    assert problems(tmp_path / "data") == [("photo-1.jpg", "caption is empty", False)]
    with pytest.raises(ConfigError, match="no picture has 'nmae'; did you mean 'name'"):
        run(tmp_path / "photos", tmp_path / "other", SMALL.model_copy(update={"caption": "{nmae}"}))
    with pytest.raises(ConfigError, match="is not a template"):
        run(tmp_path / "photos", tmp_path / "other", SMALL.model_copy(update={"caption": "{name"}))


def test_a_captioner_writes_what_is_missing(photos: Photos, tmp_path: Path) -> None:
    (photos(3) / "photo-1.txt").unlink()
    seen: list[tuple[int, ...]] = []

    def write(picture: torch.Tensor) -> str:
        seen.append(tuple(picture.shape))
        return "something in blocks"

    list(prepare(open_source(tmp_path / "photos"), tmp_path / "data", SMALL, captioner=write))
    assert ShardSet.load([tmp_path / "data"]).texts[1] == ["something in blocks"]
    assert seen == [(3, 64, 64)] and problems(tmp_path / "data") == []


def test_splits(photos: Photos, tmp_path: Path) -> None:
    """A fourth is watched, evenly; what the source says of a split stays, unless it watches nothing."""
    run(photos(24), tmp_path / "data", SMALL.model_copy(update={"watch": 0.25}))
    splits = [sample.split for sample in ShardSet.load([tmp_path / "data"]).samples]
    assert [splits[first : first + 4].count("watch") for first in range(0, 24, 4)] == [1] * 6
    assert len({splits[first : first + 4].index("watch") for first in range(0, 24, 4)}) > 1
    run(tmp_path / "data" / "shards", tmp_path / "again", SMALL)
    assert [sample.split for sample in ShardSet.load([tmp_path / "again"]).samples] == splits
    trained = photos(8, "trained")
    rows = [{"file_name": path.name, "text": "", "split": "train"} for path in sorted(trained.glob("*.jpg"))]
    (trained / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(trained, tmp_path / "some", SMALL.model_copy(update={"watch": 0.25}))
    assert Counter(sample.split for sample in ShardSet.load([tmp_path / "some"]).samples) == {"train": 6, "watch": 2}


def test_several_workers_give_the_same_bytes(photos: Photos, tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"annotators": [Made(kind="canny")], "draws": 2})
    shutil.copy(photos(20) / "photo-3.jpg", tmp_path / "photos" / "twin.jpg")
    run(tmp_path / "photos", tmp_path / "one", settings)
    run(tmp_path / "photos", tmp_path / "two", settings, workers=2)
    assert everything(tmp_path / "one") == everything(tmp_path / "two")


def test_other_settings_pictures_or_files_are_refused(photos: Photos, tmp_path: Path) -> None:
    run(photos(2), tmp_path / "data")
    before = everything(tmp_path / "data")
    assert run(tmp_path / "photos", tmp_path / "data") == [] and everything(tmp_path / "data") == before
    with pytest.raises(InputError, match=r"was begun with watch = 0\.05, not 0\.5"):
        run(tmp_path / "photos", tmp_path / "data", SMALL.model_copy(update={"watch": 0.5}))
    save(blocks(50), tmp_path / "photos" / "new.png")
    with pytest.raises(InputError, match="made from other pictures"):
        run(tmp_path / "photos", tmp_path / "data")
    with pytest.raises(InputError, match="holds other files"):
        run(tmp_path / "photos", tmp_path / "photos")
    with pytest.raises(ConfigError, match="not a multiple of 64"):
        Preparation(size=(100, 100))
    with pytest.raises(ConfigError, match="each kind is named once"):
        Preparation(annotators=[Made(kind="canny"), Made(kind="canny")])


class Killed(BaseException):
    """As a kill: nothing tidies up."""


@pytest.fixture
def little_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 40 kB instead of megabytes."""
    real = packing.Packer.__init__

    def limited(self: packing.Packer, folder: Path, limit: int, *rest: int) -> None:
        real(self, folder, 40_000, *rest)

    monkeypatch.setattr(packing.Packer, "__init__", limited)


@pytest.mark.usefixtures("little_shards")
def test_killed_anywhere_it_ends_in_the_same_bytes(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at every moment at which something is written or done, one after the other, in one and the same folder."""
    folder = photos(16)
    shutil.copy(folder / "photo-2.jpg", folder / "photo-9a.jpg")
    (folder / "photo-7x.jpg").write_text("broken")
    run(folder, tmp_path / "whole")
    names = sorted(path.name for path in (tmp_path / "whole" / "shards").iterdir())
    assert len(names) >= 6  # several tars with their indices
    moments = random.Random(0)
    kills = 0
    for _ in range(60):
        countdown = moments.randrange(1, 12)

        def tick(real: Callable[..., object], *arguments: object) -> object:
            nonlocal countdown
            countdown -= 1
            if countdown < 0:
                raise Killed
            return real(*arguments)

        with monkeypatch.context() as patch:
            for place, name in (
                ("underdraw.files", "_replace"),
                ("underdraw.data.prepare", "make"),
                ("underdraw.data.packing", "_digest"),
            ):
                module = sys.modules[place]
                real = getattr(module, name)
                patch.setattr(module, name, lambda *arguments, real=real: tick(real, *arguments))
            patch.setattr("underdraw.files._remove", lambda draft: None)
            try:
                run(folder, tmp_path / "parted")
                break
            except Killed:
                kills += 1
    else:
        run(folder, tmp_path / "parted")
    assert kills >= 3
    assert everything(tmp_path / "parted") == everything(tmp_path / "whole")


@pytest.mark.slow
def test_kill_9_at_random_moments(photos: Photos, tmp_path: Path) -> None:
    """The command itself, with two workers, killed with signal 9 again and again; no worker outlives it."""
    photos(400, size=(320, 320))
    command = [sys.executable, "-m", "underdraw.apps.cli", "prepare", str(tmp_path / "photos"), "--size", "256"]
    command += ["--shard-size", "1", "--workers", "2", "--format", "png", "--annotator", "canny", "-o"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    assert len(list((tmp_path / "whole" / "shards").glob("*.tar"))) > 8
    moments = random.Random(1)
    for _ in range(8):
        process = subprocess.Popen([*command, str(tmp_path / "parted")], stderr=subprocess.PIPE, start_new_session=True)
        begun, before, more = time.monotonic(), _count(tmp_path / "parted"), moments.randrange(2)
        while process.poll() is None and _count(tmp_path / "parted") < before + more and time.monotonic() - begun < 120:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 1))
        assert process.poll() is None, "it ended before it was killed"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        deadline = time.monotonic() + 30
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not _alive(process.pid), "workers outlive their parent"
    subprocess.run([*command, str(tmp_path / "parted")], check=True, capture_output=True)
    assert everything(tmp_path / "parted") == everything(tmp_path / "whole")


def _count(folder: Path) -> int:
    """How many shards are whole."""
    return len(list((folder / "shards").glob("*.jsonl")))


def _alive(session: int) -> bool:
    """Whether any process of a session lives."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_full_disk_is_one_line_and_it_goes_on(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos(6), tmp_path / "whole")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_write", full)
        with pytest.raises(InputError, match=r"cannot write .*00000\.tar: No space left on device"):
            run(tmp_path / "photos", tmp_path / "data")
    run(tmp_path / "photos", tmp_path / "data")
    assert everything(tmp_path / "data") == everything(tmp_path / "whole")
