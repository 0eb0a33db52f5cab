"""The pictures of one thing, picked from a world."""

from pathlib import Path

import pytest
import torch

from recipes.thing import main
from underdraw.data.folder import Record, read_folder, write_folder


def record(index: int) -> Record:
    name, split = ("yarn", "cow")[index % 2], ("train", "watch", "report")[index % 3]
    return Record(f"{index}", torch.full((3, 8, 8), index / 9), f"a {name}", {}, {"split": split, "name_en": name})


def test_a_folder_of_one_thing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(write_folder(tmp_path / "world", map(record, range(6))))
    assert main([str(tmp_path / "world"), "yarn", str(tmp_path / "yarn")]) == 0
    assert "3 pictures of yarn" in capsys.readouterr().out
    found = list(read_folder(tmp_path / "yarn", "train"))
    assert [each.name for each in found] == ["00", "01", "02"] and {each.text for each in found} == {"a yarn"}
    assert [round(float(each.image.mean() * 9)) for each in found] == [0, 2, 4]


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(write_folder(tmp_path / "world", [record(0)]))
    assert main([str(tmp_path / "world"), "cow", str(tmp_path / "cow")]) == 2
    assert "has no pictures of 'cow'" in capsys.readouterr().err
    assert main([]) == 2 and "usage:" in capsys.readouterr().err
