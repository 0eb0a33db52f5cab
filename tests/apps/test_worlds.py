"""`underdraw scenes` and `underdraw stickers`."""

import json
from pathlib import Path

import pytest

from underdraw.data import stickers as sticker_world
from underdraw.data.folder import read_folder
from underdraw.data.scenes import split_of as split_of_room
from underdraw.data.stickers import Emoji, Sticker, split_of

from .conftest import Underdraw
from .test_mistakes import refused


def test_rooms(underdraw: Underdraw) -> None:
    done = underdraw("scenes", 3, "-o", "rooms", "--size", "24x16", "--split", "watch", "--json")
    assert (done.code, done.err) == (0, "") and json.loads(done.out)["rooms"] == 3
    records = list(read_folder("rooms"))
    assert len(records) == 3 and {record.image.shape for record in records} == {(3, 16, 24)}
    assert all(set(record.maps) >= {"depth", "normal", "segmentation", "lines"} for record in records)
    assert all(record.attributes["split"] == "watch" == split_of_room(record.attributes["seed"]) for record in records)
    assert all(record.text and record.attributes["text_zh"] for record in records)


def test_rooms_by_seed(underdraw: Underdraw) -> None:
    """The same seeds are the same rooms; the next count goes on where the last one ended."""
    assert underdraw("scenes", 2, "-o", "a", "--size", "16x16", "--seed", 30_000).code == 0
    assert underdraw("scenes", 1, "-o", "b", "--size", "16x16", "--seed", 30_001, "--language", "zh").code == 0
    first, second = list(read_folder("a")), list(read_folder("b"))
    assert first[1].name == second[0].name and bool((first[1].image == second[0].image).all())
    assert first[1].attributes["text_zh"] == second[0].text != first[1].text


def test_rooms_go_on(underdraw: Underdraw) -> None:
    """What was cut off goes on, and what is done grows: rooms that are there are not drawn again."""
    whole = (5, "-o", "whole", "--size", "16x16", "--json")
    assert json.loads(underdraw("scenes", *whole).out) | {"seconds": 0} == {
        "folder": "whole",
        "rooms": 5,
        "kept": 0,
        "seconds": 0,
    }
    assert underdraw("scenes", 3, "-o", "cut", "--size", "16x16").code == 0
    lines = Path("cut/metadata.jsonl").read_bytes().splitlines(keepends=True)
    Path("cut/metadata.jsonl").unlink()
    Path("cut/.metadata.jsonl.part").write_bytes(lines[0] + lines[1] + lines[2][:40])  # killed within a write
    seen = Path("cut/images/room-0020000.png").stat().st_mtime_ns
    assert json.loads(underdraw("scenes", 5, *whole[1:2], "cut", *whole[3:]).out)["kept"] == 2
    assert Path("cut/metadata.jsonl").read_bytes() == Path("whole/metadata.jsonl").read_bytes()
    assert Path("cut/images/room-0020000.png").stat().st_mtime_ns == seen
    assert sorted(path.name for path in Path("cut").iterdir()) == sorted(path.name for path in Path("whole").iterdir())
    assert json.loads(underdraw("scenes", 6, "-o", "cut", "--size", "16x16", "--json").out)["kept"] == 5
    assert len(list(read_folder("cut"))) == 6
    refused(underdraw("scenes", 6, "-o", "cut", "--size", "24x16"), "cut holds pictures of 16×16")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0,), ("count = 0",)),
        ((3, "--split", "trian"), ("unknown split 'trian'",)),
        ((20_000, "--split", "watch"), ("split 'watch' has 10,000 rooms, not 20,000",)),
        ((3, "--split", "watch", "--seed", 1), ("--seed and --split",)),
        ((3, "--seed", -5), ("seed",)),
        ((3, "--size", "big"), ("size 'big'",)),
        ((3, "--language", "fr"), ("language 'fr'",)),
        ((3, "-o", "file"), ("file is a file",)),
    ],
)
def test_bad_rooms(underdraw: Underdraw, arguments: tuple[object, ...], words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(underdraw("scenes", "-o", "rooms", *arguments), *words)
    assert not (tmp_path / "rooms" / "metadata.jsonl").exists()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle fill="#e00" cx="16" cy="16" r="14"/></svg>'


def sticker(code: str, name: str, name_zh: str) -> Sticker:
    names = {"name": name, "name_zh": name_zh, "slug": name.replace(" ", "-")}
    emoji = Emoji(code=code, **names, keywords=(), keywords_zh=(), mirrors=True, coloured=True)
    return Sticker("noto", "soft sticker", "柔和贴纸", emoji, sticker_world.concept_of(code), SVG)


def test_stickers(underdraw: Underdraw, monkeypatch: pytest.MonkeyPatch) -> None:
    """With packages in hand; what fetches and reads them has its own tests."""
    made = [
        sticker("1f344", "mushroom", "蘑菇"),
        sticker("1f34e", "red apple", "红苹果"),
        sticker("1f31e", "sun", "太阳"),
    ]
    monkeypatch.setattr(sticker_world, "fetch", lambda folder: folder)
    monkeypatch.setattr(sticker_world, "load", lambda folder: made)
    done = underdraw("stickers", "-o", "all", "--packages", "p", "--variants", 2, "--size", "32x32", "--json")
    assert (done.code, done.err) == (0, "") and json.loads(done.out)["stickers"] == 6
    records = list(read_folder("all"))
    assert len(records) == 6 and all(
        set(record.maps) == {"mask"} and record.image.shape == (3, 32, 32) for record in records
    )
    assert all(record.attributes["text_zh"] and record.attributes["split"] for record in records)
    split = split_of(made[0].concept)
    more = ("-o", "all", "--packages", "p", "--variants", 3, "--size", "32x32", "--json")
    assert json.loads(underdraw("stickers", *more).out) | {"seconds": 0} == {
        "folder": "all",
        "stickers": 9,
        "kept": 0,
        "seconds": 0,
    }
    assert json.loads(underdraw("stickers", *more).out)["kept"] == 9
    assert underdraw("stickers", "-o", "some", "--packages", "p", "--split", split, "--background", "white").code == 0
    assert {record.attributes["split"] for record in read_folder("some")} == {split}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--variants", 0), ("variants = 0",)),
        (("--split", "test"), ("unknown split 'test'", "report")),
        (("--packages", "broken"), ("differs from the pinned checksum",)),
    ],
)
def test_bad_stickers(
    underdraw: Underdraw, arguments: tuple[object, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    for package in [each.package for each in sticker_world.SETS] + [sticker_world.NAMES]:
        (tmp_path / "broken" / package.tarball).write_bytes(b"nothing")
    refused(underdraw("stickers", "-o", "out", *arguments), *words)
    assert not (tmp_path / "out").exists()
