import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from underdraw.annotators import as_hint
from underdraw.annotators.keypoints import BODY, Person, Poses
from underdraw.annotators.skeleton_reading import decode
from underdraw.data.batches import PictureSet
from underdraw.data.folder import Record, write_folder
from underdraw.data.mirrors import MIRRORED, draw_people, mirror_map, mirror_poses
from underdraw.data.preparation import Made, Preparation
from underdraw.data.prepare import prepare
from underdraw.data.shards import ShardSet, load_pictures
from underdraw.data.sources import open_source
from underdraw.errors import InputError

from .conftest import LABELS, Pixels, blocks, labels, save

SETTINGS = Preparation(size=(64, 64), step=16, watch=0, form="png", annotators=[Made(kind="canny")])
KINDS = ("segmentation", "normal", "canny")


def ramp(width: int, height: int) -> Pixels:
    """A normal map that looks left on the left and right on the right, with nothing in a corner."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[..., 0] = np.linspace(20, 230, width)[None]
    pixels[: height // 4, : width // 4] = 0
    return pixels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures in three buckets with labels, normals and canny; prepared."""
    folder = tmp_path_factory.mktemp("shards")
    lines = []
    for number in range(12):
        size = ((96, 96), (160, 96), (96, 150))[number % 3]
        name = f"{number:02}.png"
        for kind, pixels in (
            ("images", blocks(number, *size)),
            ("segmentation", labels(number, *size)),
            ("normal", ramp(*size)),
        ):
            save(pixels, folder / "src" / kind / name)
        row = {"file_name": f"images/{name}", "text": f"number {number}", "text_zh": f"{number} 号", "number": number}
        lines.append(row | {f"{kind}_file_name": f"{kind}/{name}" for kind in ("segmentation", "normal")})
    (folder / "src" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    list(prepare(open_source(folder / "src"), folder / "data", SETTINGS))
    return folder / "data"


@pytest.fixture
def shards(data: Path) -> ShardSet:
    return ShardSet.load([data], kinds=KINDS)


def test_what_trainings_ask_for(shards: ShardSet) -> None:
    assert len(shards) == 12 and len(shards.sizes) == 3 and sum(map(len, shards.buckets)) == 12
    assert shards.texts[5] == ["number 5", "5 号"] and shards.attributes[5]["number"] == 5
    assert all(shards.has[kind].all() for kind in KINDS) and set(shards.maps) == set(KINDS)
    for step in range(8):
        batch = shards.batch(0, step, 4)
        shown = shards.pictures(batch)
        for kind, channels in zip(KINDS, (3, 3, 1), strict=True):
            found = shards.map(kind, batch)
            assert found.shape == (4, channels, *shown.shape[-2:]) and as_hint(found).shape == shown.shape
        assert float(shown.min()) >= 0 and float(shown.max()) <= 1


def test_one_is_many_in_any_process(shards: ShardSet) -> None:
    batch = shards.batch(0, 3, 4)
    alone = torch.cat([shards.pictures(index[None]) for index in batch])
    assert torch.equal(alone, shards.pictures(batch))
    assert torch.equal(pickle.loads(pickle.dumps(shards)).pictures(batch), alone)


def test_pictures_of_two_buckets_are_no_batch(shards: ShardSet) -> None:
    with pytest.raises(InputError, match="of several buckets"):
        shards.pictures(torch.tensor([0, 1]))
    with pytest.raises(InputError, match="3 sizes"):
        shards.gathered()


def test_in_memory_it_is_a_picture_set(data: Path, shards: ShardSet, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"bucket": False})
    list(prepare(open_source(data.parent / "src"), tmp_path / "square", settings))
    found = ShardSet.load([tmp_path / "square"], kinds=KINDS)
    held, every = found.gathered(), torch.arange(12)
    assert isinstance(held, PictureSet) and held.texts == found.texts and held.attributes[3]["number"] == 3
    assert torch.equal(held.pictures(every), found.pictures(every))
    assert torch.equal(held.map("canny", every), found.map("canny", every))
    assert found.content_key != shards.content_key
    again = load_pictures([tmp_path / "square"], "train", KINDS)
    assert torch.equal(again.pixels, held.pixels) and again.has.keys() == held.has.keys()
    plain = load_pictures([folder_of(held, tmp_path / "plain")])
    assert torch.equal(plain.pixels, held.pixels)
    with pytest.raises(InputError, match="plain is not prepared, and other folders are"):
        load_pictures([tmp_path / "square", tmp_path / "plain"])


def folder_of(pictures: PictureSet, folder: Path) -> Path:
    shown = pictures.pictures(torch.arange(len(pictures)))
    list(write_folder(folder, (Record(f"{number:02}", each, "", {}, {}) for number, each in enumerate(shown))))
    return folder


def test_memory_is_bounded(data: Path) -> None:
    found = ShardSet.load([data], memory=0)
    first = found.pictures(torch.tensor([0]))
    for index in range(12):
        found.pictures(torch.tensor([index]))
    assert len(found._recent.kept) == 1 and torch.equal(first, found.pictures(torch.tensor([0])))
    roomy = ShardSet.load([data])
    for index in range(12):
        roomy.pictures(torch.tensor([index]))
    assert len(roomy._recent.kept) == 12 and roomy._recent.bytes == sum(
        kept.nbytes for kept in roomy._recent.kept.values()
    )


def test_it_is_webdataset(data: Path, shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another reader of such tars, which knows nothing of the index, finds the same."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    tars = [str(path) for path in sorted((data / "shards").glob("*.tar"))]
    rows = datasets.load_dataset("webdataset", data_files=tars, split="train", streaming=True)
    for index, row in enumerate(rows):
        assert row["__key__"] == shards.samples[index].key and row["json"]["number"] == index
        picture = torch.from_numpy(np.array(row["png"])).permute(2, 0, 1)[None].float() / 255
        assert torch.equal(picture, shards.pictures(torch.tensor([index])))
        assert row["txt"] == f"number {index}" and row["canny.png"].size == row["png"].size
    assert index == 11


def test_mirrored(shards: ShardSet) -> None:
    """Labels stay labels, normals look the other way, what is not mirrored stays."""
    batch = shards.buckets[0][:2]
    mirror = torch.tensor([True, False])
    shown, plain = shards.pictures(batch, mirror), shards.pictures(batch)
    assert torch.equal(shown[0], plain[0].flip(-1)) and torch.equal(shown[1], plain[1])
    ids = shards.map("segmentation", batch, mirror)
    assert torch.equal(ids[0], shards.map("segmentation", batch)[0].flip(-1))
    assert {tuple(colour) for colour in (ids[0] * 255).round().long().flatten(1).t().tolist()} <= set(LABELS)
    turned, normal = shards.map("normal", batch, mirror)[0], shards.map("normal", batch)[0]
    there = normal.flip(-1).sum(0) > 0
    assert torch.allclose(turned[0][there], 1 - normal.flip(-1)[0][there], atol=1e-6)
    assert torch.equal(turned[1:], normal[1:].flip(-1)) and not turned[:, ~there].any() and (~there).any()


def test_everything_mirrored_as_well(data: Path, shards: ShardSet) -> None:
    """Twice as many pictures; the second half shows what a mirror shows of the first."""
    both, batch = ShardSet.load([data], kinds=KINDS, mirror=True), shards.buckets[1][:3]
    every = torch.tensor([True] * 3)
    assert len(both) == 24 and both.content_key != shards.content_key and both.sizes == shards.sizes
    assert torch.equal(both.pictures(batch), shards.pictures(batch))
    assert torch.equal(both.pictures(batch + 12), shards.pictures(batch, every))
    for kind in KINDS:
        assert torch.equal(both.map(kind, batch + 12), shards.map(kind, batch, every))
        assert torch.equal(both.map(kind, batch + 12, every), shards.map(kind, batch)), "and back"


def test_a_mirrored_picture_is_not_said_to_be_left_or_right(shards: ShardSet) -> None:
    told = ("a ball left of a box", "a lamp on the right", "球在左边", "a bright room")
    assert replace(shards.samples[0], texts=told).mirror_image.texts == ("a bright room",)
    alone = ShardSet([replace(shards.samples[0], texts=told[:1]).mirror_image])
    assert alone.texts == [[""]]


def standing(width: int) -> Poses:
    """Somebody in the left half, who lifts the right hand."""
    spots = [
        (30, 20),
        (30, 32),
        (24, 32),
        (16, 26),
        (12, 16),
        (36, 32),
        (40, 44),
        (42, 56),
        (26, 56),
        (26, 72),
        (26, 88),
    ]
    spots += [(34, 56), (34, 72), (34, 88), (28, 17), (32, 17), (26, 18), (34, 18)]
    return Poses((Person(tuple((x * width / 96, y * width / 96, 1.0) for x, y in spots)),), (width, width))


def test_a_mirrored_body_swaps_left_and_right() -> None:
    poses = standing(96)
    turned = mirror_poses(poses)
    body, mirrored = poses.people[0].body, turned.people[0].body
    assert mirrored[BODY.index("left wrist")] == (96 - 12, 16, 1) == (96 - body[BODY.index("right wrist")][0], 16, 1)
    assert mirror_poses(turned) == poses
    for place, name in enumerate(BODY):
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert BODY[MIRRORED[18][place]] == swapped


def test_every_mirror_undoes_itself() -> None:
    for count, order in MIRRORED.items():
        assert sorted(order) == list(range(count)) and [order[place] for place in order] == list(range(count))


def test_hands_change_sides_and_what_is_not_there_stays_away() -> None:
    hand = tuple((float(place), 5.0, 1.0) for place in range(21))
    (person,) = mirror_poses(Poses((Person(left_hand=hand, face=((0.0, 0.0, 0.0),) * 70),), (64, 64))).people
    assert person.right_hand[3] == (61, 5, 1) and not person.left_hand and set(person.face) == {(0.0, 0.0, 0.0)}


def test_a_drawn_body_is_mirrored_by_its_points() -> None:
    """Flipping the pixels would paint the right arm in the colours of the left one."""
    drawn = draw_people(standing(384))
    (found,) = decode(mirror_map("pose", drawn).permute(1, 2, 0).numpy()).people
    (expected,) = mirror_poses(standing(384)).people
    assert all(
        abs(a[0] - b[0]) < 2.5 and abs(a[1] - b[1]) < 2.5 for a, b in zip(found.body, expected.body, strict=True)
    )


def test_bodies_in_shards_are_mirrored_from_their_points(tmp_path: Path) -> None:
    save(blocks(1), tmp_path / "src" / "a.png")
    body = [value for point in standing(96).people[0].body for value in point]
    people = {"people": [{"pose_keypoints_2d": body}], "canvas_width": 96, "canvas_height": 96}
    (tmp_path / "src" / "a.json").write_text(json.dumps(people))
    list(prepare(open_source(tmp_path / "src"), tmp_path / "data", Preparation(size=(96, 96), step=32)))
    found = ShardSet.load([tmp_path / "data"], kinds=["pose"])
    one = torch.tensor([0])
    assert torch.equal(found.map("pose", one)[0], draw_people(standing(96)).float() / 255)
    mirrored = found.map("pose", one, torch.tensor([True]))
    assert torch.equal(mirrored[0], draw_people(mirror_poses(standing(96))).float() / 255)


def copied(data: Path, target: Path) -> Path:
    for path in data.rglob("*"):
        if path.is_file():
            (target / path.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(data)).write_bytes(path.read_bytes())
    return target


def test_a_flipped_bit_is_found(data: Path, shards: ShardSet, tmp_path: Path) -> None:
    assert list(shards.verify()) == []
    broken = copied(data, tmp_path / "copy")
    offset, size, _ = shards.samples[4].files["normal.png"]
    content = bytearray((broken / "shards" / "00000.tar").read_bytes())
    content[offset + size // 2] ^= 1
    (broken / "shards" / "00000.tar").write_bytes(content)
    (told,) = ShardSet.load([broken]).verify()
    assert "images_04.normal.png is not what was written" in told


def test_data_that_is_not_whole_is_refused(data: Path, tmp_path: Path) -> None:
    broken = copied(data, tmp_path / "copy")
    whole = (broken / "shards" / "00000.tar").read_bytes()
    (broken / "shards" / "00000.tar").write_bytes(whole[:-512])
    with pytest.raises(InputError, match=r"00000\.tar is missing or not the one"):
        ShardSet.load([broken])
    (broken / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json cannot be read"):
        ShardSet.load([broken])
    with pytest.raises(InputError, match="is not prepared data"):
        ShardSet.load([tmp_path])
    with pytest.raises(InputError, match=r"no picture of .* has a depth map; prepare it with --annotator depth"):
        ShardSet.load([data], kinds=["depth"])
    with pytest.raises(InputError, match="no pictures of split 'watch'"):
        ShardSet.load([data], split="watch")
