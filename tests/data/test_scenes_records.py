"""Captions and records: they name only what is to be seen, and say the same in both languages."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw.data.folder import Record, write_folder
from underdraw.data.scenes import COLOURS, KINDS, records, render, sample
from underdraw.data.scenes.captions import FLOORS, relate
from underdraw.data.scenes.parts import Thing, Vector
from underdraw.data.scenes.vocabulary import POSES, SUBSTANCES, TIMES
from underdraw.data.scenes.words import NAMES, PATTERNED, Sight
from underdraw.errors import ConfigError, InputError

RECORDS = list(records(range(20_000, 20_120)))
NOUNS: dict[str, tuple[str, str]] = {name: (kind.english, kind.chinese) for name, kind in KINDS.items()}
NOUNS |= {name: (english, chinese) for name, (english, chinese, _) in NAMES.items()}
NOUNS |= {"curtain": ("curtains", "窗帘"), "books": ("pile of books", "摞")}
SHELL = ("wall", "floor", "ceiling")


def _without_light(text: str) -> str:
    """The caption without room and hour."""
    phrases = [phrase for time in TIMES.values() for pair in time for phrase in pair]
    phrases += [word for pair in FLOORS.values() for word in pair]
    for phrase in sorted(phrases, key=len, reverse=True):
        text = text.replace(phrase, " ")
    return text


def _english_kinds(text: str) -> set[str]:
    text, found = _without_light(text), set()
    for name, (english, _) in sorted(NOUNS.items(), key=lambda item: -len(item[1][0])):
        if name not in SHELL and re.search(rf"\b{english}\b", text):
            found.add(name)
            text = re.sub(rf"\b{english}\b", " ", text)
    return found


def _chinese_kinds(text: str) -> set[str]:
    text, found = _without_light(text), set()
    for name, (_, chinese) in sorted(NOUNS.items(), key=lambda item: -len(item[1][1])):
        if name == "books":
            continue
        if name not in SHELL and chinese in text:
            found.add(name)
            text = text.replace(chinese, " ")
    if "摞" in text:
        found = found - {"book"} | {"books"} if len(re.findall("书", _without_light(text))) == 0 else found | {"books"}
    return found


def _english_colours(text: str) -> set[str]:
    return {name for name in COLOURS if re.search(rf"\b{name}\b", text)}


def _chinese_colours(text: str) -> set[str]:
    return {name for name, colour in COLOURS.items() if colour.chinese in text}


def _objects(record: Record) -> list[dict[str, Any]]:
    return list(record.attributes["objects"])


def test_captions_name_only_what_is_seen() -> None:
    for record in RECORDS:
        seen = {thing["kind"] for thing in _objects(record)}
        assert _english_kinds(record.text) <= seen, record.text


def test_captions_use_colours_that_are_there() -> None:
    scenes = {record.name: sample(record.attributes["seed"]) for record in RECORDS}
    for record in RECORDS:
        there = {thing["colour"] for thing in _objects(record)} | {record.attributes["wall_colour"]}
        there |= {colour for figure in scenes[record.name].figures for colour in figure.outfit}
        assert _english_colours(record.text) <= there, record.text


def test_both_languages_say_the_same() -> None:
    for record in RECORDS:
        english, chinese = record.attributes["text_en"], record.attributes["text_zh"]
        assert record.text == english
        assert _english_colours(english) == _chinese_colours(chinese), (english, chinese)
        assert _english_kinds(english) == _chinese_kinds(chinese), (english, chinese)
        for pose in POSES.values():
            if pose[0] not in ("waving", "sitting"):  # part of "sitting and waving"
                assert (pose[0] in english) <= (pose[1] in chinese), (english, chinese)
        for names in PATTERNED.values():
            assert (names[0] in english) == (names[1] in chinese), (english, chinese)
        for substance in ("fabric", "leather", "metal", "plastic", "marble", "rubber", "ceramic"):
            words = SUBSTANCES[substance]
            bare = (_without_light(english), _without_light(chinese))
            assert (words.english in bare[0]) == (words.chinese in bare[1]), (english, chinese)


def test_captions_are_short_and_various() -> None:
    lengths = [len(record.text.split()) for record in RECORDS]
    assert max(lengths) <= 30 and min(lengths) <= 8
    pieces = [len(re.findall(r"\w+|[^\w\s]", record.text)) for record in RECORDS]
    assert max(pieces) <= 40  # room for words of two tokens within CLIP's 75
    assert max(len(record.attributes["text_zh"]) for record in RECORDS) <= 75
    assert len({record.text for record in RECORDS}) > 0.97 * len(RECORDS)
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]|  ", record.text) for record in RECORDS)


def test_poses_are_only_told_of_mannequins_that_are_seen() -> None:
    told = [record for record in RECORDS if any(f"{pose[0]}" in record.text for pose in POSES.values())]
    assert len(told) > 10
    for record in told:
        assert POSES[record.attributes["pose"]][0].split()[0] in record.text
        assert sum(point[2] == 2 for point in record.attributes["keypoints"]) >= 6


def _sight(place: Vector, index: int = 0, on: int | None = None, lift: float = 0.0) -> Sight:
    finish = sample(20_000).room.floor
    return Sight(index, Thing("ball", finish, (), (0.1, 0.1), 0.2, on=on, position=(0.0, lift, 0.0)), 0.1, place)


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        ((-1.0, 0, 3.0), (1.0, 0, 3.0), "to the left of"),
        ((1.0, 0, 3.0), (-1.0, 0, 3.0), "to the right of"),
        ((0.0, 0, 4.0), (0.0, 0, 2.0), "behind"),
        ((0.0, 0, 2.0), (0.0, 0, 4.0), "in front of"),
        ((0.4, 0, 3.0), (-0.1, 0, 3.1), "beside"),
    ],
)
def test_relations(a: Vector, b: Vector, word: str) -> None:
    found = relate(_sight(a), _sight(b, 1))
    assert found is not None and found[0] == word


def test_relations_that_would_be_doubtful_are_not_told() -> None:
    assert relate(_sight((0.0, 0, 3.0)), _sight((0.05, 0, 3.1), 1)) is None
    assert relate(_sight((-1.0, 0, 3.0), on=1), _sight((1.0, 0, 3.0), 1)) is None
    assert relate(_sight((0.4, 0, 3.0), lift=2.4), _sight((-0.1, 0, 3.1), 1)) is None


def test_records_carry_maps_and_json() -> None:
    record = RECORDS[0]
    assert set(record.maps) == {"depth", "normal", "segmentation", "lines"}
    assert [record.maps[kind].shape[0] for kind in ("depth", "normal", "segmentation", "lines")] == [1, 3, 3, 1]
    views = render([sample(record.attributes["seed"])], (record.image.shape[-1], record.image.shape[-2]))
    assert torch.equal(record.maps["normal"][0], 1 - views.normal[0, 0]), "red is left, as ControlNet 1.1's normals"
    assert torch.equal(record.maps["normal"][1:], views.normal[0, 1:])
    assert json.loads(json.dumps(record.attributes, ensure_ascii=False)) == record.attributes
    assert record.attributes["split"] == "train" and record.attributes["seed"] == 20_000
    for thing in _objects(record):
        x0, y0, x1, y1 = thing["box"]
        assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64 and thing["share"] >= 0.003
        assert thing["colour"] in COLOURS and thing["material"] in SUBSTANCES


def test_records_do_not_depend_on_the_batch() -> None:
    for one, other in zip(RECORDS[:5], records(range(20_000, 20_005), batch=2), strict=True):
        assert torch.equal(one.image, other.image) and one.attributes == other.attributes


def test_chinese_text() -> None:
    record = next(records([20_000], language="zh"))
    assert record.text == RECORDS[0].attributes["text_zh"]


def test_records_become_a_folder(tmp_path: Path) -> None:
    assert len(list(write_folder(tmp_path, records([5, 10_005], (48, 32))))) == 2
    lines = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["split"] for line in lines] == ["report", "watch"]
    assert all((tmp_path / line["lines_file_name"]).exists() for line in lines)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="en or zh"):
        next(records([1], language="fr"))
    with pytest.raises(ConfigError, match="at least 1"):
        next(records([1], batch=0))
    with pytest.raises(InputError, match="whole number"):
        next(records([-4]))
