"""`underdraw evaluate` as a person calls it."""

import json
from pathlib import Path

import torch

from underdraw.data.folder import Record, write_folder

from .conftest import Underdraw


def _folder(root: Path) -> Path:
    draw = torch.Generator().manual_seed(0)
    records = [
        Record(f"{i}", torch.rand(3, 32, 32, generator=draw), f"noise {i}", {}, {"split": "report"}) for i in range(4)
    ]
    assert len(list(write_folder(root, records))) == 4
    return root


def test_it_reports(underdraw: Underdraw, base: Path, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "noise")
    common = ("--base", base, "--condition", "canny", "--items", 4, "--steps", 2, "--device", "cpu")
    done = underdraw("evaluate", folder, "-o", "out", *common)
    assert done.code == 0, done.err
    assert "| canny | all | F1 at 1 px | 4 |" in done.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["protocol"]["items"] == report["folders"]["noise"] == 4
    assert (tmp_path / "out" / "sheet-canny.png").exists()


def test_mistakes(underdraw: Underdraw, base: Path, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "noise")
    for arguments, word in (
        ((folder, "--condition", "depth", "--reader", "none"), "cannot read reader none"),
        ((folder, "--condition", "cany"), "canny"),
        ((folder, "--condition", "canny", "--split", "train"), "no picture of split 'train'"),
        (("quality", folder, "--condition", "canny"), "--clip FOLDER"),
        ((tmp_path / "nowhere", "--condition", "canny"), "metadata.jsonl"),
    ):
        done = underdraw("evaluate", *arguments, "-o", "out", "--base", base, "--device", "cpu")
        assert done.code == 2
        assert word in done.err and len(done.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
