"""`underdraw ablate` and `underdraw plan`."""

import json
from pathlib import Path

import pytest

from underdraw import images
from underdraw.config import load
from underdraw.training.recipe import Recipe

from .conftest import Underdraw
from .test_mistakes import refused

RECIPE = """
output = "runs/control"
steps = 2
batch = 2
threads = 1

[data]
folders = ["train", "watch"]

[watch]
steps = 1
items = 8

[learn]
task = "control"
base = "BASE"
condition = "canny"
"""


@pytest.fixture
def recipe(underdraw: Underdraw, tmp_path: Path, base: Path) -> Path:
    assert underdraw("scenes", 6, "-o", "train", "--size", "32x32", "--split", "train").code == 0
    assert underdraw("scenes", 8, "-o", "watch", "--size", "32x32", "--split", "watch").code == 0
    (tmp_path / "control.toml").write_text(RECIPE.replace("BASE", str(base)))
    return tmp_path / "control.toml"


def test_every_version_is_trained_once_and_stands_in_one_table(underdraw: Underdraw, recipe: Path) -> None:
    arguments = ("--over", "branch=full,mlp", "-o", "out", "--seeds", 1, "--json")
    done = underdraw("ablate", recipe, *arguments)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    rows = {row["version"]: row for row in told["cells"]}
    assert list(rows) == ["as it is", "branch=mlp"], "what is the recipe's own is not named"
    assert rows["as it is"]["parameters"] > 2 * rows["branch=mlp"]["parameters"] > 0
    assert rows["as it is"]["memory"] > rows["branch=mlp"]["memory"] > 4 * rows["as it is"]["parameters"]
    for row in rows.values():
        assert row["seeds"] == [0] and row["since"] == [None] and row["measure"] == "F1 at 1 px"
        assert set(row["prompts"]) == {"none", "insufficient", "conflicting", "perfect"}
        assert row["seconds"] > 0 and row["errors"]["none"]["value"] > 0
        assert len(row["runs"][0]["prompts"]["perfect"]) == 8
        assert [look["step"] for look in row["runs"][0]["looks"]] == [1, 2]
    floors = [row["runs"][0]["floor"] for row in rows.values()]
    assert floors[0] == floors[1], "the base without a net is the same for all"
    table = Path("out/ablation.md").read_text().splitlines()
    assert table[0].startswith("| version | seeds | obeys since step |") and len(table) == 4 and "never" in table[2]
    assert images.read("out/drawings.png").shape[-1] > 8 * 32 and images.read("out/ablation.png").shape[-1] > 300
    assert json.loads(Path("out/ablation.json").read_text())["cells"] == told["cells"]

    before = {path: path.stat().st_mtime_ns for path in Path("out/runs").rglob("*")}
    again = underdraw("ablate", recipe, *arguments)
    assert json.loads(again.out) == told
    assert {path: path.stat().st_mtime_ns for path in Path("out/runs").rglob("*")} == before, (
        "nothing was trained again"
    )
    more = underdraw("ablate", recipe, "-o", "out", "--seeds", 2, "--json")
    rows = {row["version"]: row["seeds"] for row in json.loads(more.out)["cells"]}
    assert rows == {"as it is": [0, 1], "branch=mlp": [0]}, "another call adds to the table"


def test_a_folder_of_another_recipe_is_refused(underdraw: Underdraw, recipe: Path) -> None:
    folder = Path("out/runs/plain+0")
    folder.mkdir(parents=True)
    told = load(Recipe, recipe, ["steps=1"]).model_dump(mode="json")
    (folder / "cell.json").write_text(json.dumps({"recipe": told}))
    refused(underdraw("ablate", recipe, "-o", "out"), "plain+0 is a run of another recipe than this one")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("branch",), "'branch' is not NAME=A,B"),
        (("branch=",), "'branch=' is not NAME=A,B"),
        (("branch=full", "branch=mlp"), "branch is told twice"),
        (("policy=unlocked",), "policy=unlocked is not known; there is locked, decoder, all, only-middle"),
        (("learn.condtion=canny,depth",), "did you mean 'condition'"),
        (("watch.steps=0",), "watch.steps = 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(
    underdraw: Underdraw, tmp_path: Path, base: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "control.toml").write_text(RECIPE.replace("BASE", str(base)))
    refused(underdraw("ablate", "control.toml", *arguments, "-o", "out"), words)
    assert not (tmp_path / "out" / "runs").exists()


def test_only_controlnets(underdraw: Underdraw, tmp_path: Path) -> None:
    (tmp_path / "vae.toml").write_text('output="o"\nsteps=1\n[data]\nfolders=["f"]\n[learn]\ntask="vae"\n')
    refused(underdraw("ablate", "vae.toml", "steps=1,2"), "is a recipe of vae; ablations are of ControlNets")
    refused(underdraw("plan", "vae.toml"), "plan knows of runs of control, denoiser, finetune and lora, not of vae")


def test_a_plan_says_what_a_run_takes(underdraw: Underdraw, recipe: Path) -> None:
    done = underdraw("plan", recipe, "--json")
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    assert plan["fits"] and plan["remedies"] == [] and plan["seconds_a_step"] > 0 and plan["operations_a_step"] > 1e6
    assert plan["held"]["weights"] > 0 and plan["peak"] > plan["start"] > 2**27
    assert not Path("runs").exists(), "nothing was trained"
    refused(underdraw("plan", recipe, "--memory", 0), "memory = 0 makes no sense")
    refused(underdraw("plan", recipe, "device=cuda"), "say it: --memory 24")


@pytest.mark.slow
def test_a_plan_says_what_would_make_a_run_fit(underdraw: Underdraw, recipe: Path) -> None:
    told = json.loads(underdraw("plan", recipe, "batch=16", "--memory", 0.01, "--json").out)
    assert not told["fits"] and told["remedies"] == [
        "accumulate=16",
        "checkpointing=true",
        "precision=bf16",
        "precision=bf16-weights",
    ]
    assert told["peak_with_remedies"] < told["peak"]
    words = underdraw("plan", recipe, "--memory", 0.01).out
    assert "it does not fit" in words and "use smaller pictures" in words
