"""From packages to records: the join of drawings with names, whole concepts held out, the same records every time."""

import base64
import hashlib
import io
import json
import logging
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from underdraw import images
from underdraw.data.stickers import SPLITS, EmojiSet, Package, Sticker, concept_of, load, records, render, split_of
from underdraw.data.stickers.concepts import FAMILIES, union
from underdraw.data.stickers.outlines import PLAIN, overlaps, plainness, twins
from underdraw.data.stickers.twins import TWINS
from underdraw.errors import InputError

HEART = "<path fill='#f8312f' d='M16 28C2 18 3 6 10 6c4 0 6 4 6 4s2-4 6-4c7 0 8 12-6 22z'/>"
DISC = "<circle fill='#0074ba' cx='16' cy='16' r='14'/>"
HALF = "<rect fill='#00d26a' x='0' y='0' width='16' height='32'/>"
RING = "<circle fill='none' stroke='currentColor' stroke-width='4' cx='16' cy='16' r='12'/>"


def row(code: str, label: str, group: int, subgroup: int, *tags: str) -> dict[str, Any]:
    return {"hexcode": code, "label": label, "group": group, "subgroup": subgroup, "tags": list(tags)}


ENGLISH = [
    row("1F344", "mushroom", 3, 41, "fungus", "red", "af", "toadstool"),
    row("1F534", "red circle", 8, 96),
    row("1F9D1", "person", 1, 23, "adult"),
    row("1F468-200D-1F9B0", "man: red hair", 1, 23),
    row("1F62B", "tired face", 0, 9),
    row("1F448", "backhand index pointing left", 1, 18),
    row("1F1E6-1F1E8", "flag: Ascension Island", 9, 98),
    row("0023-FE0F-20E3", "keycap: #", 8, 94),
    {"hexcode": "1F1E6", "label": "regional indicator A"},
]
CHINESE = [one | {"label": f"字{index}", "tags": ["词"]} for index, one in enumerate(ENGLISH)]
ICONS = {
    "mushroom": {"body": HEART},
    "red-circle": {"body": DISC, "width": 40},
    "person": {"body": HALF},
    "man-red-hair": {"body": HALF},
    "person-dark": {"body": HALF},
    "tired-face": {"body": DISC},
    "pointing-left": {"body": HALF},
    "old-mushroom": {"body": DISC, "hidden": True},
    "flag-ascension-island": {"body": DISC},
    "keycap": {"body": DISC},
    "thingamajig": {"body": DISC},
}
CHARS = {
    "1f344": "mushroom", "1f534": "red-circle", "1f9d1": "person", "1f9d1-1f3ff": "person-dark",
    "1f448": "pointing-left", "23-20e3": "keycap", "1f1e6-1f1e8": "flag-ascension-island",
}  # fmt: skip
ALIASES = {
    "toadstool": {"parent": "mushroom"},
    "pointing-right": {"parent": "pointing-left", "hFlip": True},
}


def pack(folder: Path, name: str, files: dict[str, bytes]) -> Package:
    """A tarball as npm makes them, and its pin."""
    path = folder / f"{name}-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for file, data in files.items():
            member = tarfile.TarInfo(f"package/{file}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return Package(name, "1.0.0", f"sha512-{digest}")


def world(folder: Path) -> tuple[list[EmojiSet], Package]:
    """Three tiny sets and their names."""

    def text(value: object) -> bytes:
        return json.dumps(value).encode()

    names = pack(folder, "names", {"en/data.json": text(ENGLISH), "zh/data.json": text(CHINESE), "fr/data.json": b"?"})
    icons = {"width": 32, "height": 32, "icons": ICONS, "aliases": ALIASES}
    vector = pack(folder, "vector", {"icons.json": text(icons), "chars.json": text(CHARS)})
    named = {"width": 32, "height": 32, "icons": {"toadstool": {"body": HALF}, "man-red-hair": {"body": DISC}}}
    picture = torch.zeros(4, 40, 40)
    picture[:, 10:30, 10:30] = torch.tensor([0.9, 0.1, 0.1, 1.0]).view(4, 1, 1)
    raster = {f"assets/{code}.webp": images.encode_png(picture) for code in ("1f344", "1f344-fe0f", "1f9d1-1f3fb")}
    return [
        EmojiSet("vector", vector, "flat sticker", "扁平贴纸"),
        EmojiSet("nameless", pack(folder, "nameless", {"icons.json": text(named)}), "blob sticker", "圆润贴纸"),
        EmojiSet("raster", pack(folder, "raster", raster), "3d sticker", "3D贴纸", raster=True),
    ], names


@pytest.fixture(scope="module")
def stickers(tmp_path_factory: pytest.TempPathFactory) -> list[Sticker]:
    folder = tmp_path_factory.mktemp("packages")
    return load(folder, *world(folder))


def test_drawings_are_joined_with_their_names(stickers: list[Sticker]) -> None:
    assert [one.name for one in stickers] == [
        "vector-1f344",
        "vector-1f448",
        "vector-1f468-200d-1f9b0",  # by its name in the general table
        "vector-1f534",
        "vector-1f62b",
        "vector-1f9d1",
        "nameless-1f344",  # by a synonym of another set
        "nameless-1f468-200d-1f9b0",
        "raster-1f344",  # once, without presentation selector and skin tone
    ]


def test_names_and_keywords_are_fit_for_captions(stickers: list[Sticker]) -> None:
    emoji = {one.emoji.code: one.emoji for one in stickers}
    assert emoji["1f344"].keywords == ("fungus", "toadstool")  # no colour, no slang
    assert emoji["1f468-200d-1f9b0"].name == "man with red hair"
    assert emoji["1f62b"].name_zh == "字4表情"
    assert emoji["1f344"].mirrors and not emoji["1f448"].mirrors and not emoji["1f534"].mirrors
    assert emoji["1f344"].coloured and not emoji["1f9d1"].coloured


def test_what_no_table_knows_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load(tmp_path, *world(tmp_path))
    assert [message for message in caplog.messages if "no table knows" in message] == [
        "stickers: vector: no table knows the names of 1 drawings: ['thingamajig']"
    ]


def test_a_missing_package_or_table_is_one_clear_error(tmp_path: Path) -> None:
    sets, names = world(tmp_path)
    with pytest.raises(InputError, match=r"holds no readable icons.json; delete it"):
        load(tmp_path, [EmojiSet("odd", names, "", "")], names)
    (tmp_path / "vector-1.0.0.tgz").unlink()
    with pytest.raises(InputError, match=r"vector-1.0.0.tgz is missing; fetch it with: npm pack vector@1.0.0"):
        load(tmp_path, sets, names)


def test_variants_of_a_person_and_of_a_shape_are_one_concept() -> None:
    running = {concept_of(code) for code in ("1f3c3", "1f3c3-200d-2642-fe0f", "1f3c3-1f3fd-200d-2640-200d-27a1")}
    assert len(running) == 1
    assert concept_of("1f468-200d-1f373") == concept_of("1f9d1-200d-1f373")  # a man who cooks, somebody who cooks
    assert concept_of("1f46a") == concept_of("1f468-200d-1f469-200d-1f466")  # families
    assert concept_of("2764-fe0f") == concept_of("1f499")  # hearts
    assert concept_of("1f344") != concept_of("1f34e") != concept_of("1f422")


@pytest.mark.parametrize("group", [*FAMILIES, *TWINS])
def test_every_listed_group_is_one_concept(group: str) -> None:
    assert len({concept_of(code) for code in group.split()}) == 1


def test_union_joins_what_shares_a_member() -> None:
    assert union([["b", "c"], ["d"], ["c", "a"]]) == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_splits_have_their_shares_and_never_change() -> None:
    counts = Counter(split_of(f"{code:x}") for code in range(20000))
    assert {name: counts[name] / 20000 for name in SPLITS} == pytest.approx(SPLITS, abs=0.005)
    known = {"1f344": "train", "1f353": "report", "2744": "watch"}  # mushroom, strawberry, snowflake
    assert {code: split_of(concept_of(code)) for code in known} == known


def test_the_splits_share_no_concept_and_miss_none(stickers: list[Sticker]) -> None:
    everything = {record.name for record in records(stickers, (16, 16))}
    parts = {split: list(records(stickers, (16, 16), split=split)) for split in SPLITS}
    assert sum(len(part) for part in parts.values()) == len(everything) == len(stickers)
    for split, part in parts.items():
        assert {record.attributes["split"] for record in part} <= {split}
        assert {split_of(record.attributes["concept"]) for record in part} <= {split}


def test_records_follow_from_seed_sticker_and_variant_alone(stickers: list[Sticker]) -> None:
    first = {record.name: record for record in records(stickers, (24, 16), seed=3, variants=3)}
    again = list(records(stickers[::-2], (24, 16), seed=3, variants=2))
    for record in again:
        known = first[record.name]
        assert torch.equal(record.image, known.image) and torch.equal(record.maps["mask"], known.maps["mask"])
        assert (record.text, record.attributes) == (known.text, known.attributes)
    others = list(records(stickers, (24, 16), seed=4))
    assert sum(torch.equal(record.image, first[record.name].image) for record in others) == 0


def test_variants_differ(stickers: list[Sticker]) -> None:
    drawn = list(records(stickers[:1], (32, 32), variants=6))
    assert len({record.name for record in drawn}) == 6
    assert len({record.maps["mask"].sum().item() for record in drawn}) == 6
    assert len({(record.text, record.attributes["background"]) for record in drawn}) > 3


@pytest.mark.parametrize("size", [(64, 64), (96, 48), (40, 56), (33, 17), (160, 120)])
def test_any_size_is_filled(stickers: list[Sticker], size: tuple[int, int]) -> None:
    width, height = size
    for record in records(stickers[:3], size, seed=1):
        mask = record.maps["mask"]
        assert record.image.shape == (3, height, width) and mask.shape == (1, height, width)
        assert record.image.dtype == torch.float32 and 0 <= record.image.min() <= record.image.max() <= 1
        assert mask.min() >= 0 and mask.max() == pytest.approx(1)
        centre = (mask[0].sum(0) * torch.arange(width)).sum() / mask.sum()
        assert abs(centre - width / 2) < min(size) / 2  # near the middle of the longer side too


def test_the_mask_says_where_the_sticker_is(stickers: list[Sticker]) -> None:
    record = next(records(stickers[-1:], (64, 64), background="light blue"))
    inside, outside = record.maps["mask"][0] > 0.999, record.maps["mask"][0] == 0
    assert 200 < inside.sum() < 64 * 64 / 4
    red, blue = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.72, 0.87, 0.97])
    torch.testing.assert_close(record.image[:, inside], red[:, None].expand(3, int(inside.sum())), atol=0.01, rtol=0)
    torch.testing.assert_close(record.image[:, outside], blue[:, None].expand(3, int(outside.sum())), atol=1e-6, rtol=0)


def test_attributes_say_what_the_picture_is_as_json(stickers: list[Sticker]) -> None:
    record = next(records(stickers[-1:], background="light blue"))
    attributes = json.loads(json.dumps(record.attributes))
    assert attributes["text_en"].count("3d sticker") == attributes["text_zh"].count("3D贴纸") == 1
    del attributes["text_en"], attributes["text_zh"]
    assert attributes == {
        "concept": "1f344",
        "set": "raster",
        "style": "3d sticker",
        "colour": "red",
        "background": "light blue",
        "split": "train",
        "keywords": ["fungus", "toadstool"],
        "name_en": "mushroom",
        "name_zh": "字0",
    }


def test_the_share_of_chinese_is_a_knob(stickers: list[Sticker]) -> None:
    def languages(chinese: float) -> Counter[bool]:
        drawn = records(stickers[:1], (8, 8), variants=60, chinese=chinese)
        return Counter(record.text == record.attributes["text_zh"] for record in drawn)

    assert languages(0) == {False: 60} and languages(1) == {True: 60}
    assert 5 < languages(0.25)[True] < 30


def test_a_background_in_which_the_sticker_drowns_is_not_chosen(stickers: list[Sticker]) -> None:
    drawn = records(stickers[-1:], (8, 8), variants=200)
    words = {word for record in drawn for word in record.attributes["background"].split()}
    assert not words & {"red", "pink"} and {"white", "green", "gradient"} <= words


def broken(stickers: list[Sticker], source: bytes) -> Sticker:
    one = stickers[0]
    return Sticker("set", one.style, one.style_zh, one.emoji, one.concept, source)


@pytest.mark.parametrize("source", [b"<svg nonsense", b'<svg xmlns="http://www.w3.org/2000/svg"/>', b"RIFF", b""])
def test_what_cannot_be_drawn_is_reported_and_the_rest_goes_on(
    stickers: list[Sticker], source: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = list(records([broken(stickers, source), *stickers[:2]], (16, 16)))
    assert [record.name for record in drawn] == ["vector-1f344-00", "vector-1f448-00"]
    assert len(caplog.messages) == 1 and "left out: set-1f344" in caplog.messages[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": (64, 7)}, "64×7 pixels: both sides must be at least 8"),
        ({"split": "test"}, "'test'; there are: train, watch, report"),
        ({"background": "mauve"}, "'mauve'; there are: white"),
    ],
)
def test_a_wrong_knob_is_one_clear_error(stickers: list[Sticker], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        next(records(stickers, **wrong))


def test_render_gives_straight_alpha_at_any_size(stickers: list[Sticker]) -> None:
    disc = render(stickers[3], 50)  # drawn in a view box of 40×32: centred, not stretched
    rows, columns = (disc[3] > 0.5).any(1).nonzero(), (disc[3] > 0.5).any(0).nonzero()
    assert disc.shape == (4, 50, 50)
    assert [len(rows), len(columns)] == pytest.approx([28 / 40 * 50] * 2, abs=1)
    blue = torch.tensor([0, 0x74, 0xBA]) / 255
    for opaque in (0.3, 0.999):  # half-covered pixels have the full colour
        there = disc[:3, disc[3] > opaque]
        torch.testing.assert_close(there, blue[:, None].expand_as(there), atol=0.03, rtol=0)
    assert render(stickers[-1], 20).shape == (4, 20, 20)


def test_ink_encloses_white_paper(stickers: list[Sticker]) -> None:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" color="#000">{RING}</svg>'.encode()
    one = stickers[0]
    ink = Sticker("fluent-emoji-high-contrast", "black and white sticker", "黑白贴纸", one.emoji, one.concept, svg)
    ring = render(ink, 64)
    torch.testing.assert_close(ring[:, 32, 32], torch.ones(4))  # paper inside
    torch.testing.assert_close(ring[:, 32, 8], torch.tensor([0.0, 0.0, 0.0, 1.0]))  # ink
    assert ring[3, 0, 0] == 0  # nothing outside
    record = next(records([ink]))
    assert record.attributes["colour"] is None and "black and white sticker" in record.attributes["text_en"]


def test_outlines_are_compared_over_turns_and_mirrorings() -> None:
    shape = torch.zeros(8, 8)
    shape[1:7, 1:3] = shape[5:7, 1:6] = 1  # an L
    blob = torch.zeros(8, 8)
    blob[3:6, 2:7] = 1
    alike = overlaps(torch.stack([shape, shape.T.flip(0), shape.flip(1), blob]))
    torch.testing.assert_close(alike[:3, :3], torch.ones(3, 3))
    assert alike[:3, 3].max() < 0.6


def test_discs_and_boxes_are_plain_and_hearts_are_not(stickers: list[Sticker]) -> None:
    heart, disc, half = (render(stickers[index], 64)[3].round() for index in (0, 3, 5))
    assert min(plainness(disc), plainness(half)) > PLAIN > plainness(heart) + 0.05


def test_twins_share_an_outline_that_says_something(stickers: list[Sticker]) -> None:
    def named(code: str, name: str, source: bytes) -> Sticker:
        emoji = stickers[0].emoji.__class__(code, "", name, "", (), (), mirrors=True, coloured=True)
        return Sticker("set", "", "", emoji, code, source)

    heart, disc = stickers[0].source, stickers[4].source
    drawn = [
        named("1", "shield", heart),
        named("2", "leaf", heart),
        named("3", "red apple", disc),
        named("4", "green apple", disc),
        named("5", "coin", disc),
        named("6", "happy face", disc),
        named("7", "sad face", disc),
    ]
    assert twins(drawn) == [["1", "2"], ["3", "4"]]
