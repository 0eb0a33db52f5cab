"""Planted faults are named, and clean samples are left alone: in drawn scenes here, in rooms in the slow test."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from underdraw import images
from underdraw.annotators import extract
from underdraw.data.audit import Audit, audit, facts, summary
from underdraw.data.folder import Record
from underdraw.data.preparation import Preparation
from underdraw.data.prepare import prepare
from underdraw.data.scenes import records
from underdraw.data.sources import Source, open_source

from .conftest import LABELS, Pixels, save

SIDE = 128
Change = Callable[[Pixels], Pixels | bytes]
Expected = dict[str, tuple[str, str]]
"""By the name of a sample: the kind of map and the check of what must be found."""


@dataclass
class Scene:
    """A sample while it is being spoilt; bytes stand for files as they are."""

    picture: Pixels | bytes
    maps: dict[str, Pixels | bytes]
    text: str
    split: str = "train"

    @property
    def shown(self) -> Pixels:
        assert not isinstance(self.picture, bytes)
        return self.picture

    def map(self, kind: str) -> Pixels:
        found = self.maps[kind]
        assert not isinstance(found, bytes)
        return found

    def spoil(self, kind: str, change: Change | None) -> None:
        found = self.map(kind)
        del self.maps[kind]
        if change:
            self.maps[kind] = change(found)


def drawn(seed: int) -> Scene:
    """Things on a patterned ground: ellipses and boxes, each with a label, near things over far ones."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    period, angle = rng.uniform(9, 25), rng.uniform(0, np.pi)
    wave = 14 * np.sin(2 * np.pi * (np.cos(angle) * rows + np.sin(angle) * columns) / period)
    picture = (rng.uniform(60, 200, 3) + wave[..., None] + 20 * rows[..., None] / SIDE).clip(0, 255).astype(np.uint8)
    depth = np.repeat((20 + 60 * rows / SIDE).astype(np.uint8)[..., None], 3, 2)
    labels = np.full((SIDE, SIDE, 3), LABELS[1], np.uint8)
    for place in range(9):
        colour, near = rng.uniform(0, 255, 3).astype(int).tolist(), 90 + 18 * place
        height = int(np.clip(20 + 11 * place + rng.integers(-15, 16), 10, SIDE - 10))  # what is near stands below
        centre, half = (int(rng.integers(10, SIDE - 10)), height), rng.integers(8, 30, 2).tolist()
        corners = (centre[0] - half[0], centre[1] - half[1]), (centre[0] + half[0], centre[1] + half[1])
        turn = float(rng.uniform(0, 180))
        for canvas, ink in ((picture, colour), (depth, (near,) * 3), (labels, LABELS[2 + place % 4])):
            if place % 2:
                cv2.rectangle(canvas, *corners, ink, -1)
            else:
                cv2.ellipse(canvas, centre, half, turn, 0, 360, ink, -1)
    return with_canny(Scene(picture, {"depth": depth, "segmentation": labels}, f"scene number {seed} of things"))


def room(record: Record) -> Scene:
    """A room with its true maps."""
    maps = {kind: images.to_uint8(record.maps[kind]).copy() for kind in ("depth", "normal", "segmentation")}
    maps["depth"] = np.repeat(maps["depth"], 3, 2)
    return with_canny(Scene(images.to_uint8(record.image), dict(maps), record.text))


def with_canny(scene: Scene) -> Scene:
    edges = extract("canny", images.from_uint8(scene.shown)[None])
    scene.maps["canny"] = np.repeat(images.to_uint8(edges[0]), 3, 2)
    return scene


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def jpeg(pixels: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


def cut(pixels: Pixels) -> bytes:
    return png(pixels)[:150]


def grey(pixels: Pixels) -> Pixels:
    return np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)


def jet(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.applyColorMap(pixels, cv2.COLORMAP_JET), np.uint8)


def soft(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.2), np.uint8)


def negative(pixels: Pixels) -> Pixels:
    return 255 - pixels


def shifted(pixels: Pixels) -> Pixels:
    by = round(0.07 * SIDE)
    return np.pad(pixels, ((0, 0), (by, 0), (0, 0)), mode="edge")[:, :-by]


def blended(pixels: Pixels) -> Pixels:
    small = cv2.resize(pixels, (SIDE * 3 // 4, SIDE * 3 // 4), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


PICTURES: dict[str, Change] = {
    "picture cannot be read": cut,
    "picture is nearly grey": grey,
    "picture is one flat colour": lambda pixels: np.full_like(pixels, 90),
}
WORDS = {"caption is empty": " ", "caption is garbled": "ein größeres Haus".encode().decode("latin-1")}
COPIES: dict[str, Change] = {"picture is there twice": lambda pixels: pixels, "picture is nearly another one": jpeg}
MAPS: list[tuple[str, str, Change | None]] = [
    ("depth", "map is missing", None),
    ("depth", "map cannot be read", cut),
    ("segmentation", "map has other proportions", lambda pixels: pixels[: SIDE // 2]),
    ("canny", "map is empty", np.zeros_like),
    ("canny", "map is inverted", negative),
    ("depth", "map is inverted", negative),
    ("canny", "map is soft", soft),
    ("depth", "map is coloured", jet),
    ("segmentation", "map is blended", blended),
    ("segmentation", "map has another palette", lambda pixels: 255 - pixels // 2),
    ("depth", "map is shifted", shifted),
    ("segmentation", "map is shifted", shifted),
    ("canny", "map is shifted", shifted),
    ("depth", "map is mirrored", np.fliplr),
    ("canny", "map is mirrored", np.fliplr),
    ("segmentation", "map is upside down", np.flipud),
]
ROOM_MAPS: list[tuple[str, str, Change | None]] = [
    ("normal", "map is bgr", lambda pixels: pixels[..., ::-1]),
    ("normal", "map is shifted", shifted),
    ("normal", "map is upside down", np.flipud),
]
EXCHANGED = ("depth", "canny", "segmentation")


class Spoilt:
    """Clean scenes, and behind them each fault so many times."""

    def __init__(self, make: Callable[[int], Scene], clean: int, each: int) -> None:
        self.make, self.each = make, each
        self.scenes = [make(seed) for seed in range(clean)]
        self.expected: Expected = {}

    def add(self, kind: str, check: str, spoil: Callable[[Scene, Scene], object]) -> None:
        """spoil: given a new scene and a clean one of those that are there."""
        for number in range(self.each):
            scene = self.make(len(self.scenes))
            spoil(scene, self.scenes[number])
            self.expected[f"images/{len(self.scenes):04}.png"] = (kind, check)
            self.scenes.append(scene)


def spoilt(
    make: Callable[[int], Scene], clean: int, each: int, maps: Sequence[tuple[str, str, Change | None]]
) -> Spoilt:
    found = Spoilt(make, clean, each)
    for check, turn in PICTURES.items():
        found.add("", check, lambda scene, _, turn=turn: setattr(scene, "picture", turn(scene.shown)))  # type: ignore[misc]
    for check, text in WORDS.items():
        found.add("", check, lambda scene, _, text=text: setattr(scene, "text", text))  # type: ignore[misc]
    for check, turn in COPIES.items():
        found.add("", check, lambda scene, other, turn=turn: setattr(scene, "picture", turn(other.shown)))  # type: ignore[misc]
    for kind, check, change in maps:
        found.add(kind, check, lambda scene, _, kind=kind, change=change: scene.spoil(kind, change))  # type: ignore[misc]
    for kind in EXCHANGED:
        found.add(kind, "map is another's", lambda scene, other, kind=kind: scene.maps.update({kind: other.map(kind)}))  # type: ignore[misc]
    return found


def write(scenes: Sequence[Scene], folder: Path) -> Path:
    lines = []
    for number, scene in enumerate(scenes):
        name = f"{number:04}.png"
        for kind, content in ({"images": scene.picture} | scene.maps).items():
            if isinstance(content, bytes):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                (folder / kind / name).write_bytes(content)
            else:
                save(np.ascontiguousarray(content), folder / kind / name)
        line = {"file_name": f"images/{name}", "text": scene.text, "split": scene.split}
        lines.append(json.dumps(line | {f"{kind}_file_name": f"{kind}/{name}" for kind in scene.maps}))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def run(source: Source, folder: Path | None = None, workers: int = 1) -> Audit:
    *_, found = audit(source, workers, folder)
    assert isinstance(found, Audit)
    return found


def score(found: Audit, expected: Expected) -> tuple[float, float, list[str]]:
    """The share of faults that are named, that of clean samples that are called faulty, and which ones those are."""
    named = {(each.name, each.kind, each.check) for each in found.findings}
    missed = [f"missed: {name} {' '.join(each)}" for name, each in expected.items() if (name, *each) not in named]
    alarms = [each for each in found.findings if each.serious and each.name not in expected]
    clean = len(found.looks) - len(expected)
    told = [*missed, *(f"false: {each}" for each in alarms)]
    return 1 - len(missed) / len(expected), len({each.name for each in alarms}) / clean, told


def test_planted_faults_are_named(tmp_path: Path) -> None:
    made = spoilt(drawn, 80, 2, MAPS)
    found = run(open_source(write(made.scenes, tmp_path)))
    recall, alarms, told = score(found, made.expected)
    assert recall >= 0.95 and alarms <= 0.02, "\n".join(told)
    assert found.aligned == {"canny": "edges", "depth": "edges", "segmentation": "edges"}


@pytest.mark.slow
def test_planted_faults_are_named_in_rooms(tmp_path: Path) -> None:
    maps = [*MAPS, *ROOM_MAPS]
    count = 240 + 20 * (len(PICTURES) + len(WORDS) + len(COPIES) + len(maps) + len(EXCHANGED))
    rooms = [room(record) for record in records(range(20_000, 20_000 + count), (SIDE, SIDE))]
    made = spoilt(lambda seed: rooms[seed], 240, 20, maps)
    recall, alarms, told = score(run(open_source(write(made.scenes, tmp_path))), made.expected)
    print(
        f"\nrooms: {recall:.3f} of {len(made.expected)} faults named, {alarms:.4f} of 240 clean samples called faulty"
    )
    print("\n".join(told))
    assert recall >= 0.95 and alarms <= 0.02


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty clean scenes."""
    return write([drawn(seed) for seed in range(20)], tmp_path_factory.mktemp("clean"))


def whats(found: Audit) -> set[tuple[str, str, str]]:
    return {(each.name, each.kind, each.check) for each in found.findings}


def test_clean_data_and_what_is_said_of_it(clean: Path) -> None:
    found = run(open_source(clean))
    assert not found.findings and summary(found) == [] and found.kinds == ["canny", "depth", "segmentation"]
    told = facts(found)
    assert told["samples"] == told["captioned"] == told["different captions"] == 20 and told["faults"] == 0
    assert told["sizes"] == {"128×128": 20} and told["splits"] == {"train": 20} and told["words"] == 5
    assert told["maps"]["depth"] == {"count": 20, "laid over pictures by": "edges"}


@pytest.mark.slow
def test_several_workers_find_the_same(clean: Path) -> None:
    source = open_source(clean)
    assert [look.fingerprint for look in run(source, workers=2).looks] == [
        look.fingerprint for look in run(source).looks
    ]


def test_pictures_in_two_splits(tmp_path: Path) -> None:
    scenes = [drawn(seed) for seed in range(4)]
    scenes.append(Scene(jpeg(scenes[1].shown), {}, "again", split="watch"))
    assert ("images/0004.png", "", "picture is in two splits") in whats(run(open_source(write(scenes, tmp_path))))


def test_captions_of_many_and_long_ones_are_notes(tmp_path: Path) -> None:
    scenes = [drawn(seed) for seed in range(12)]
    for scene in scenes[:5]:
        scene.text = "a picture"
    scenes[7].text = "word " * 80
    scenes[8].text = "a photo of {name}"
    found = run(open_source(write(scenes, tmp_path)))
    notes = {each.check for each in found.findings if not each.serious}
    assert notes == {"caption is that of many", "caption is longer than is read"}
    assert ("images/0008.png", "", "caption is garbled") in whats(found)
    assert "note  1 × caption is that of many (first images/0000.png: 5 pictures: a picture)" in summary(found)


def test_a_whole_set_of_one_wrong_polarity(tmp_path: Path) -> None:
    """Being all alike does not make them right."""
    scenes = [drawn(seed) for seed in range(16)]
    for scene in scenes:
        scene.spoil("canny", negative)
        scene.spoil("depth", negative)
    found = run(open_source(write(scenes, tmp_path)))
    for kind in ("canny", "depth"):
        assert sum((each.kind, each.check) == (kind, "map is inverted") for each in found.findings) >= 12, kind


def test_maps_that_go_with_brightness_are_compared_with_their_pictures(tmp_path: Path) -> None:
    """No picture's luminance is like another's, so the usual map says nothing."""
    scenes = [drawn(seed) for seed in range(30)]
    for scene in scenes:
        scene.maps = {"luminance": np.repeat(cv2.cvtColor(scene.shown, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)}
    for number in (3, 17):
        scenes[number].spoil("luminance", negative)
    inverted = {
        ("images/0003.png", "luminance", "map is inverted"),
        ("images/0017.png", "luminance", "map is inverted"),
    }
    assert whats(run(open_source(write(scenes, tmp_path)))) == inverted


def test_kinds_of_which_nobody_knows(tmp_path: Path) -> None:
    """They are laid over their pictures as others are; of their values nothing is said."""
    scenes = [drawn(seed) for seed in range(24)]
    for scene in scenes:
        scene.maps = {"odd": scene.map("segmentation")}
    scenes[5].spoil("odd", np.fliplr)
    scenes[6].spoil("odd", np.zeros_like)
    found = run(open_source(write(scenes, tmp_path)))
    assert whats(found) == {("images/0005.png", "odd", "map is mirrored"), ("images/0006.png", "odd", "map is empty")}


def test_maps_that_tell_nothing_of_their_place_are_not_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = [drawn(seed) for seed in range(16)]
    for scene in scenes:
        noise = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        scene.maps = {"odd": np.asarray(cv2.resize(noise, (SIDE, SIDE)), np.uint8)}
    found = run(open_source(write(scenes, tmp_path)))
    assert found.aligned == {"odd": ""} and not found.findings


def test_one_picture_only(tmp_path: Path) -> None:
    found = run(open_source(write([drawn(0)], tmp_path)))
    assert len(found.looks) == 1 and not found.findings and found.aligned["depth"] == ""


def test_prepared_data_and_its_checksums(clean: Path, tmp_path: Path) -> None:
    list(prepare(open_source(clean), tmp_path / "data", Preparation(size=(128, 128))))
    found = run(open_source(tmp_path / "data"), tmp_path / "data")
    assert not found.findings and len(found.looks) == 20 and found.kinds == ["canny", "depth", "segmentation"]
    tar = tmp_path / "data" / "shards" / "00000.tar"
    content = bytearray(tar.read_bytes())
    place = content.rindex(b"scene number 19")
    content[place] ^= 1
    tar.write_bytes(content)
    (finding,) = run(open_source(tmp_path / "data"), tmp_path / "data").findings
    assert finding.check == "file is not what was written" and "images_0019.json" in finding.name
