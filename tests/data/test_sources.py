import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from underdraw.data.sources import Entry, Source, Wishes, kind_of, open_source, reduction_of, tally
from underdraw.errors import InputError

from .conftest import blocks, labels, save


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(blocks(seed, 40, 32)).save(file, "PNG")
    return file.getvalue()


def by_name(source: Source) -> dict[str, Entry]:
    return {entry.name: entry for entry in source}


def whats(source: Source) -> dict[str, list[str]]:
    """The names by what is wrong with them."""
    return {what: [p.name for p in source.problems if p.what == what] for what in {p.what for p in source.problems}}


def test_a_folder_with_captions_beside(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.webp", ".hidden/c.png"):
        save(blocks(1), tmp_path / name)
    (tmp_path / "a.txt").write_bytes("\ufeffa red\n disc ".encode())
    (tmp_path / "deep" / "b.caption").write_bytes("ein blaues Haus, größer".encode("utf-16"))
    found = by_name(open_source(tmp_path))
    assert list(found) == ["a.png", "deep/b.webp"]
    assert found["a.png"].texts == ("a red disc",) and found["deep/b.webp"].texts == ("ein blaues Haus, größer",)


def test_captions_in_another_encoding_are_told_and_the_picture_stays(tmp_path: Path) -> None:
    save(blocks(1), tmp_path / "a.png").with_suffix(".txt").write_bytes("größer".encode("latin-1"))
    source = open_source(tmp_path)
    assert source.entries[0].texts == () and whats(source) == {"caption is not text in UTF-8": ["a.png"]}
    assert tally(source.problems) == ["1 × caption is not text in UTF-8, noted (first a.png: a.txt)"]


def test_folders_of_maps(tmp_path: Path) -> None:
    """Beside `images` a folder that is named after a kind holds maps; any other where one says so."""
    for name in ("images/a.jpg", "images/b.jpg", "depth/a.png", "parts/b.png"):
        save(blocks(1), tmp_path / name)
    assert {name: set(entry.maps) for name, entry in by_name(open_source(tmp_path)).items()} == {
        "images/a.jpg": {"depth"},
        "images/b.jpg": set(),
        "parts/b.png": set(),
    }
    found = by_name(open_source(tmp_path / "images", Wishes(maps={"segmentation": str(tmp_path / "parts")})))
    assert set(found["b.jpg"].maps) == {"segmentation"} and not found["a.jpg"].maps
    with pytest.raises(InputError, match="no folder nowhere of maps"):
        open_source(tmp_path, Wishes(maps={"depth": "nowhere"}))


def test_openpose_files_beside(tmp_path: Path) -> None:
    people = json.dumps({"people": [], "canvas_width": 96, "canvas_height": 96})
    for name in ("a", "b", "c"):
        save(blocks(1), tmp_path / f"{name}.png")
    (tmp_path / "a_keypoints.json").write_text(people)
    (tmp_path / "b.json").write_text(people)
    (tmp_path / "c.json").write_text('{"artist": "x"}')
    assert [set(entry.maps) for entry in open_source(tmp_path)] == [{"pose"}, {"pose"}, set()]


def test_an_image_folder(tmp_path: Path) -> None:
    save(blocks(1), tmp_path / "images" / "a.png")
    save(labels(1), tmp_path / "segmentation" / "a.png")
    save(blocks(2), tmp_path / "images" / "forgotten.png")
    rows: list[object] = [
        {
            "file_name": "images/a.png",
            "text": "blocks",
            "text_zh": "方块",
            "segmentation_file_name": "segmentation/a.png",
            "depth_file_name": "depth/a.png",
            "split": "watch",
        },
        {"file_name": "images/a.png", "text": "again"},
        {"file_name": "images/gone.png", "text": "x"},
        {"file_name": "../outside.png", "text": "x"},
        {"text": "no name"},
        [1],
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows] + ["{broken"]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    source = open_source(tmp_path)
    (entry,) = source
    assert (
        entry.texts == ("blocks", "方块") and entry.attributes["split"] == "watch" and source.kinds == ["segmentation"]
    )
    assert whats(source) == {
        "depth map is missing": ["images/a.png"],
        "name is listed twice": ["images/a.png"],
        "picture is missing": ["images/gone.png", "../outside.png"],
        "line has no file_name": ["metadata.jsonl, line 5"],
        "line is not a JSON object": ["metadata.jsonl, line 6"],
        "line is not JSON": ["metadata.jsonl, line 7"],
        "picture is not in the table": ["images/forgotten.png"],
    }


def test_metadata_as_csv_and_other_columns(tmp_path: Path) -> None:
    save(blocks(1), tmp_path / "a.png")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "title", "artist"], ["a.png", "an old house", "x"]])
    (entry,) = open_source(tmp_path, Wishes(caption="title"))
    assert entry.texts == ("an old house",) and entry.attributes == {"artist": "x"}


def test_prompt_json(tmp_path: Path) -> None:
    """fill50k's layout."""
    for number in range(2):
        save(blocks(number), tmp_path / "target" / f"{number}.png")
        save(labels(number), tmp_path / "source" / f"{number}.png")
    rows = [{"source": f"source/{n}.png", "target": f"target/{n}.png", "prompt": f"prompt {n}"} for n in range(2)]
    (tmp_path / "prompt.json").write_text("\n".join(map(json.dumps, rows)))
    found = list(open_source(tmp_path))
    assert [entry.texts for entry in found] == [("prompt 0",), ("prompt 1",)]
    assert [set(entry.maps) for entry in found] == [{"condition"}] * 2
    (first, _) = open_source(tmp_path / "prompt.json", Wishes(maps={"canny": "source"}))
    assert set(first.maps) == {"canny"} and first.picture.read() == (tmp_path / "target" / "0.png").read_bytes()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_tars(tmp_path: Path) -> None:
    files = {"s/1.png": png(1), "s/1.txt": b"one", "s/1.depth.png": png(2), "s/1.json": b'{"artist": "x"}'}
    files |= {
        "s/2.png": png(3),
        "s/2.json": b'{"caption": "two"}',
        "s/3.txt": b"alone",
        "s/4.PNG": png(4),
        "s/4.json": b"[",
    }
    write_tar(tmp_path / "00.tar", files)
    whole = write_tar(tmp_path / "01.tar", {"a.png": png(5), "b.png": png(6)}).read_bytes()
    (tmp_path / "01.tar").write_bytes(whole[:1000])
    source = open_source(tmp_path)
    found = by_name(source)
    assert list(found) == ["00.tar/s/1", "00.tar/s/2", "00.tar/s/4"] + (["01.tar/a"] if "01.tar/a" in found else [])
    assert found["00.tar/s/1"].picture.read() == png(1) and found["00.tar/s/1"].maps["depth"].read() == png(2)
    assert [found[name].texts for name in list(found)[:3]] == [("one",), ("two",), ()]
    assert found["00.tar/s/1"].attributes == {"artist": "x"}
    told = whats(source)
    assert told["sample has no picture"] == ["00.tar/s/3"] and told["JSON is not an object"] == ["00.tar/s/4"]
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz"):
        pass
    with pytest.raises(InputError, match="unpack it"):
        open_source(tmp_path / "x.tar.gz")


def test_parquet_and_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows from a parquet file, from a data set on disk and from one with splits."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    rows = {
        "image": [{"bytes": png(n), "path": None} for n in range(5)],
        "conditioning_image": [{"bytes": png(10 + n), "path": None} for n in range(5)],
        "text": [f"row {n}" for n in range(5)],
        "style": ["a", "b", "a", "b", "a"],
    }
    pictures = datasets.Image()
    features = datasets.Features(
        image=pictures, conditioning_image=pictures, text=datasets.Value("string"), style=datasets.Value("string")
    )
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(tmp_path / "rows.parquet", batch_size=2)
    made.save_to_disk(tmp_path / "disk")
    datasets.DatasetDict(train=made, test=made.select([0])).save_to_disk(tmp_path / "splits")
    for place in ("rows.parquet", "disk", "splits"):
        found = list(open_source(tmp_path / place))
        assert len(found) == 5 and found[3].texts == ("row 3",) and found[3].attributes["style"] == "b", place
        assert found[3].picture.read() == png(3) and found[4].maps["condition"].read() == png(14), place
    assert len(open_source(tmp_path / "splits", Wishes(split="test"))) == 1
    with pytest.raises(InputError, match="did you mean 'test'"):
        open_source(tmp_path / "splits", Wishes(split="tset"))
    with pytest.raises(InputError, match="no column 'imag' of pictures; did you mean 'image'"):
        open_source(tmp_path / "rows.parquet", Wishes(picture="imag"))


def test_coco_keypoints(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(blocks(1), tmp_path / name)
    points = [value for place in range(17) for value in (10 + place, 20 + place, 2)]
    coco = {"images": [{"id": 7, "file_name": "a.png", "width": 96, "height": 96}]}
    coco |= {"annotations": [{"image_id": 7, "keypoints": points}]}
    (tmp_path / "points.json").write_text(json.dumps(coco))
    source = open_source(tmp_path, Wishes(keypoints=tmp_path / "points.json"))
    assert [set(entry.maps) for entry in source] == [{"pose"}, set()] and whats(source) == {
        "not in points.json": ["b.png"]
    }
    coco["images"][0]["file_name"] = "other.png"
    (tmp_path / "points.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match="speaks of none of the pictures"):
        open_source(tmp_path, Wishes(keypoints=tmp_path / "points.json"))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("missing", "there is no"),
        ("empty", "holds no pictures"),
        ("notes.md", "not a source of pictures"),
        ("only-gone", "holds no picture that can be used: 1 × picture is missing"),
        ("latin", "not text in UTF-8"),
    ],
)
def test_what_is_no_source(tmp_path: Path, place: str, words: str) -> None:
    for name in ("empty", "only-gone", "latin"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.md").touch()
    (tmp_path / "only-gone" / "metadata.jsonl").write_text('{"file_name": "x.png", "text": ""}')
    (tmp_path / "latin" / "metadata.jsonl").write_bytes("größer".encode("latin-1"))
    with pytest.raises(InputError, match=words):
        open_source(tmp_path / place)


def test_the_hub_is_asked_only_with_consent() -> None:
    with pytest.raises(InputError, match="--download"):
        open_source("someone/pictures")


def test_kinds_and_how_they_shrink() -> None:
    assert [kind_of(name) for name in ("depth_file_name", "depth_image", "canny", "conditioning_image", "source")] == [
        "depth",
        "depth",
        "canny",
        "condition",
        "condition",
    ]
    assert [reduction_of(kind) for kind in ("canny", "lines", "depth", "segmentation", "never heard of")] == [
        "max",
        "max",
        "area",
        "nearest",
        "nearest",
    ]


def test_a_missing_file_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = save(np.zeros((9, 9, 3), np.uint8), tmp_path / "a.png")
    (entry,) = open_source(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot read .*a\.png"):
        entry.picture.read()
