"""The house keeps its shape: imports go down the floors, functions and files stay small, importing costs nothing."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
SOURCE = HOUSE / "src" / "underdraw"
FLOORS: tuple[set[str], ...] = (
    {"allocator", "config", "errors", "files", "images", "registry", "types", "workers"},
    {"annotators", "model"},
    {"data", "formats"},
    {"generation", "training"},
    {"evaluation"},
    {"apps"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

LONGEST_FUNCTION, LONGEST_FILE = 80, 300
MEDIAN_FUNCTION, NEARLY_ALL_FUNCTIONS = 12, 45

FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in FILES}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


def _module(path: Path) -> list[str]:
    """The dotted name in parts: ["underdraw", "model", "taps"]; a package's own file is the package."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return [part for part in parts if part != "__init__"]


def _imported(path: Path, tree: ast.AST) -> Iterator[str]:
    """Every dotted name that a file imports, wherever in the file, relative ones resolved."""
    package = _module(path) if path.name == "__init__.py" else _module(path)[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _rooms(path: Path, tree: ast.AST) -> set[str]:
    """The rooms of the house that a file imports from."""
    parts = [name.split(".") for name in _imported(path, tree)]
    return {each[1] for each in parts if each[0] == "underdraw" and len(each) > 1 and not each[1].startswith("__")}


def _functions(tree: ast.AST) -> Iterator[tuple[Function, int]]:
    """Every function with its length in lines, from `def` to its last line."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            assert node.end_lineno is not None
            yield node, node.end_lineno - node.lineno + 1


def test_every_room_has_a_floor() -> None:
    """A new file or folder beside the others must be given its place in FLOORS."""
    rooms = {_module(path)[1] for path in FILES if len(_module(path)) > 1} - {"__main__"}
    assert rooms <= FLOOR.keys()


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_go_down(path: Path) -> None:
    """A room imports from itself and from floors below; the ground floor is one room, the package's face has none."""
    home = _module(path)[1:2]
    floor = FLOOR.get(home[0], len(FLOORS)) if home else 0
    wrong = {
        room
        for room in _rooms(path, TREES[path])
        if [room] != home and not (FLOOR[room] < floor or FLOOR[room] == floor == 0)
    }
    assert not wrong, f"{_name(path)} imports {sorted(wrong)}, which is not below it"


def test_the_import_rule_sees_what_it_forbids() -> None:
    """The rule itself: relative imports, imports inside functions and names imported from the package are seen."""
    text = "from ..training import trainer\nfrom underdraw import data\ndef f():\n    import underdraw.apps.cli\n"
    assert _rooms(SOURCE / "model" / "taps.py", ast.parse(text)) == {"training", "data", "apps"}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_pipeline(path: Path) -> None:
    """Diffusers' blocks and schedulers, not its pipelines."""
    names = [name for name in _imported(path, TREES[path]) if name.startswith("diffusers")]
    assert not [name for name in names if "pipeline" in name.lower()]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_functions_are_short(path: Path) -> None:
    long = {f"{node.name} (line {node.lineno})": lines for node, lines in _functions(TREES[path])}
    assert not {name: lines for name, lines in long.items() if lines > LONGEST_FUNCTION}


def test_most_functions_are_very_short() -> None:
    """About ten lines is the rule, and a long one the exception."""
    lengths = sorted(lines for tree in TREES.values() for _, lines in _functions(tree))
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert lengths[int(0.95 * len(lengths))] <= NEARLY_ALL_FUNCTIONS


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_public_names_are_sorted_and_exist(path: Path) -> None:
    """`__all__`, where there is one: CONSTANTS, Classes, functions; nothing twice, nothing that is not there."""
    public: list[str] = next(
        (ast.literal_eval(value) for name, value in _assigned(TREES[path]) if name == "__all__"), []
    )
    assert public == sorted(set(public), key=lambda name: (not name.isupper(), name.islower(), name))
    assert set(public) <= _defined(TREES[path])


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names = (each for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name))
            yield from ((name.id, node.value) for name in names)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def _defined(tree: ast.Module) -> set[str]:
    """The names that a module's top level binds."""
    names = {name for name, _ in _assigned(tree)}
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return names


HOLLOW = """
import socket, sys, threading
def refuse(*_, **__): raise AssertionError("importing underdraw went to the network")
socket.socket.connect = socket.getaddrinfo = refuse
import underdraw
heavy = {"cv2", "diffusers", "matplotlib", "numpy", "torch", "transformers"} & set(sys.modules)
assert not heavy, heavy
assert threading.active_count() == 1
"""


def test_importing_costs_nothing(tmp_path: Path) -> None:
    """`import underdraw` loads nothing heavy, goes nowhere, prints nothing and leaves nothing behind."""
    done = subprocess.run([sys.executable, "-c", HOLLOW], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
