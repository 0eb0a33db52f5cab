import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from underdraw import images
from underdraw.errors import ConfigError
from underdraw.evaluation import Estimate, Protocol, evaluate, tables, write_report

FEW = Protocol(items=6, steps=2, batch=4)


def test_a_report_from_end_to_end(base: Path, worlds: list[Path], clip: Path, reader: Path, tmp_path: Path) -> None:
    heard: set[str] = set()
    report = evaluate(
        str(base),
        worlds,
        tmp_path / "out",
        protocol=FEW,
        readers=[reader],
        clip=clip,
        device="cpu",
        tell=lambda what, done, count: heard.add(what),
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.json",
        "report.md",
        "sheet-canny.png",
        "sheet-depth.png",
    ]
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["protocol"] == {
        "items": 6, "split": "report", "seed": 0, "steps": 2, "scheduler": "dpm++ 2m", "guidance": 4.0, "batch": 4,
    }  # fmt: skip
    assert told["base"] == "tiny" and told["folders"] == {"rooms": 3, "stickers": 3}
    assert told["judges"]["canny"]["low"] == 100 and told["judges"]["depth"]["learned_from"] == "train"
    assert set(told["obedience"]) == {"canny", "depth"}
    canny = told["obedience"]["canny"]["all"][0]
    assert canny["measure"] == "F1 at 1 px" and canny["items"] == 6
    assert canny["floor"]["value"] == round(report.obedience["canny"]["all"][0].floor.value, 5)
    assert {"all", "colour"} <= set(told["preference"])
    assert told["known"]["wall colour"]["items"] == 3
    assert str(tmp_path) not in json.dumps(told), "no path of this machine"
    assert heard == {
        "without control",
        *(f"{kind}: {how}" for kind in ("canny", "depth") for how in ("under the map", "under another's map")),
    }
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| canny | all | F1 at 1 px | 6 |" in text and "| depth | all | RMSE | 6 |" in text
    assert "| VAE | items | PSNR dB |" in text and "| colour |" in text and "| wall colour |" in text
    assert images.read(tmp_path / "out" / "sheet-canny.png").shape[-1] > 1000

    again = evaluate(str(base), worlds, tmp_path / "again", protocol=FEW, kinds=["canny"], device="cpu")
    assert repr(again.obedience["canny"]) == repr(report.obedience["canny"]), "pinned: the same again"
    assert not again.preference and "CLIP" not in tables(again)


def test_a_base_without_controls_to_measure_is_still_measured(
    base: Path, worlds: list[Path], clip: Path, tmp_path: Path
) -> None:
    heard: set[str] = set()
    report = evaluate(
        str(base),
        worlds,
        tmp_path,
        protocol=FEW,
        kinds=[],
        clip=clip,
        device="cpu",
        tell=lambda *told: heard.add(told[0]),
    )
    assert heard == {"without control"}
    assert report.vae["all"].items == 6 and report.preference["all"].items > 0
    assert "control |" not in tables(report)


def test_what_is_not_a_number_is_null(base: Path, worlds: list[Path], tmp_path: Path) -> None:
    report = evaluate(str(base), worlds, tmp_path, protocol=FEW, kinds=["canny"], device="cpu")
    nothing = replace(report.obedience["canny"]["all"][0], obedience=Estimate(math.nan, math.nan, math.inf))
    write_report(replace(report, obedience={"canny": {"all": [nothing]}}), "", tmp_path)
    told = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert told["obedience"]["canny"]["all"][0]["obedience"] == {"value": None, "low": None, "high": None}


def test_mistakes_are_told_before_anything_is_drawn(base: Path, worlds: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="depth is judged by a reader, and there is none"):
        evaluate(str(base), worlds, tmp_path / "out", protocol=FEW, device="cpu")
    with pytest.raises(ConfigError, match="no ControlNet for 'lines' beside base"):
        evaluate(str(base), worlds, tmp_path / "out", protocol=FEW, kinds=["lines"], device="cpu")
    assert not (tmp_path / "out").exists()
