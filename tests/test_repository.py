"""What the repository says of itself is so: trees, commands, recipes, pins, version."""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import underdraw
from underdraw import images
from underdraw.apps.cli import app
from underdraw.config import load
from underdraw.training.recipe import Recipe

HOUSE = Path(__file__).parents[1]
READMES = ("README.md", "README.zh.md")
RECIPES = sorted((HOUSE / "recipes").rglob("*.toml"))
COMMANDS = ("make demo", "make test")


def _read(name: str) -> str:
    return (HOUSE / name).read_text(encoding="utf-8")


def _tree(text: str) -> Iterator[str]:
    """The paths of a README's annotated tree.

    The tree is the fenced block that names src/underdraw/. A line is: two spaces a level, names parted by one space,
    then two spaces or more and what they are; a folder ends with a slash.
    """
    block = next(block for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) if "src/underdraw/" in block)
    above: list[str] = []
    for line in filter(str.strip, block.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"\s{2,}", line.strip())[0].split(" ")
        if depth > len(above):
            continue  # the continuation of an annotation
        above = above[:depth]
        yield from ("".join([*above, name]) for name in names)
        if names[0].endswith("/"):
            above.append(names[0])


@pytest.mark.parametrize("readme", READMES)
def test_the_tree_is_on_disk(readme: str) -> None:
    """Every path that the tree names exists, as a folder where it says so."""
    named = list(_tree(_read(readme)))
    assert len(named) > 20
    assert not [name for name in named if not (HOUSE / name).exists() or name.endswith("/") != (HOUSE / name).is_dir()]


@pytest.mark.parametrize("readme", READMES)
def test_the_tree_names_every_room(readme: str) -> None:
    """Nothing in the package's top folder is left out."""
    rooms = [path for path in (HOUSE / "src" / "underdraw").iterdir() if not path.name.startswith(("_", "."))]
    there = {f"src/underdraw/{path.name}{'/' * path.is_dir()}" for path in rooms if path.name != "py.typed"}
    assert there <= set(_tree(_read(readme)))


def _typed(readme: str) -> set[str]:
    """The lines of a README's fenced blocks, without what is said of them."""
    blocks = re.findall(r"```\w*\n(.*?)```", _read(readme), re.DOTALL)
    return {line.split("  ")[0] for block in blocks for line in block.splitlines()}


@pytest.mark.parametrize("readme", READMES)
def test_the_command_lines_exist(readme: str) -> None:
    """Every command line that a README shows has a command and options of that name."""
    commands: Any = get_command(app)
    lines = [shlex.split(line) for line in _typed(readme) if line.startswith("underdraw ")]
    assert len(lines) >= 9
    for _, command, *words in lines:
        known = {option for parameter in commands.commands[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, command


@pytest.mark.parametrize("readme", READMES)
def test_the_two_commands_are_told(readme: str) -> None:
    """Both stand in a README as commands to type, and the Makefile knows them."""
    assert set(COMMANDS) <= _typed(readme)
    for command in COMMANDS:
        assert re.search(rf"^{command.removeprefix('make ')}:", _read("Makefile"), re.MULTILINE)


def test_ci_runs_the_checks_and_then_the_tests() -> None:
    commands = [line for line in _read(".ci/run").splitlines() if line.startswith("make ")]
    assert commands == ["make check", "make test"]
    assert (HOUSE / ".ci" / "run").stat().st_mode & 0o100


@pytest.mark.parametrize("readme", [*READMES, "CONTRIBUTING.md", "docs/model.md", "docs/where-sources-disagree.md"])
def test_links_lead_somewhere(readme: str) -> None:
    """Relative links and pictures of the pages exist."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", _read(readme))
    missing = [link for link in links if "://" not in link and not (HOUSE / readme).parent.joinpath(link).exists()]
    assert not missing


@pytest.mark.parametrize("readme", READMES)
def test_the_python_of_the_readme_runs(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there, with the embedded base, in a folder that has the examples."""
    (tmp_path / "examples").symlink_to(HOUSE / "examples")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", _read(readme), re.DOTALL)
    exec(compile(code, f"the Python of {readme}", "exec"), {})
    assert images.read("cat.png").shape == (1, 3, 64, 64)


def test_the_tests_that_the_docs_name_exist() -> None:
    """A law's page names the tests that hold it; a renamed test must be renamed there."""
    tests = "".join(path.read_text(encoding="utf-8") for path in (HOUSE / "tests").rglob("test_*.py"))
    for page in (HOUSE / "docs").glob("*.md"):
        named = re.findall(r"`((?:tests/\S+|test_\w+))`", page.read_text(encoding="utf-8"))
        missing = [name for name in named if not ((HOUSE / name).exists() or f"def {name}(" in tests)]
        assert not missing, f"{page.name} names {missing}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_recipes_are_recipes(path: Path) -> None:
    """Each can be read, and its first line is the command that runs it."""
    load(Recipe, path)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# underdraw train {path.relative_to(HOUSE).as_posix()}"


def test_everything_needed_is_pinned() -> None:
    """Each package that pyproject.toml names has one exact version, and no pin is bound to a machine."""
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    needed = [
        *project["dependencies"],
        *(need for extra in project["optional-dependencies"].values() for need in extra),
    ]
    names = {_canonical(re.split(r"[\[<>=~! ]", need)[0]) for need in needed} - {"underdraw"}
    pins = [line for line in _read("constraints.txt").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert names <= {_canonical(pin.split("==")[0]) for pin in pins}
    assert "torch==2.13.0" in pins


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_version_is_in_the_changelog() -> None:
    assert re.search(rf"^## \[?{re.escape(underdraw.__version__)}\]?", _read("CHANGELOG.md"), re.MULTILINE)


def test_no_file_is_too_large() -> None:
    """Weights come in shards of at most 15 MB, and nothing else is larger."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        listed = "\0".join(str(path.relative_to(HOUSE)) for path in (HOUSE / "src").rglob("*"))
    files = [HOUSE / name for name in listed.split("\0") if name and (HOUSE / name).is_file()]
    assert not [file for file in files if file.stat().st_size > 15 * 2**20]


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_figures_of_obedience_are_those_of_the_report(page: str) -> None:
    report, text = json.loads((HOUSE / "docs" / "report.json").read_text()), (HOUSE / page).read_text()
    for kind, worlds in report["obedience"].items():
        for world, measures in worlds.items():
            for each in measures:
                if "scaled" not in each["measure"]:
                    scores = " | ".join(f"{each[part]['value']:.3f}" for part in ("floor", "ours", "ceiling"))
                    told = f"| {kind} | {each['items']} {world} | {each['measure']} | {scores} | **"
                    assert f"{told}{each['obedience']['value']:.1f}**" in text
    assert f"{100 * report['preference']['all']['drawn']['value']:.1f} %" in text
    assert f"{report['vae']['all']['psnr']['value']:.1f} dB" in text


def test_the_figures_are_those_of_the_weights_that_ship() -> None:
    from underdraw.generation import base_folder
    from underdraw.generation.provenance import fingerprint

    report = json.loads((HOUSE / "docs" / "report.json").read_text())
    assert report["base_hash"] == fingerprint(base_folder("embedded"))
