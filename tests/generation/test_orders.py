"""Drawings as files: the ten of examples/sd15, and what a file may say."""

from pathlib import Path

import pytest
import torch

from underdraw import images
from underdraw.annotators import ANNOTATORS
from underdraw.errors import CheckpointError, ConfigError, InputError
from underdraw.formats.conditions import PUBLISHED
from underdraw.generation import LoraRequest, make_map, read_order, read_source

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted((EXAMPLES / "sd15").glob("*.toml"))
KINDS = {
    *("canny", "lines", "scribble", "softedge", "pose", "segmentation", "depth", "normal", "lineart", "shuffle"),
}


def test_there_are_ten_and_each_has_its_own_condition() -> None:
    assert len(FILES) == 10
    assert {kind for path in FILES for kind in read_order(path).control} == KINDS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_example_is_ready(path: Path) -> None:
    """Its first line is its command, its net the published one of its condition, its picture there and of use."""
    text, order = path.read_text(), read_order(path)
    assert text.startswith(f"# underdraw run examples/sd15/{path.name}\n")
    wish = order.wish(path.parent)
    (request,) = wish.controls or ()
    assert order.base == "sd15" and wish.prompts is not None and len(wish.prompts[0]) > 20
    assert request.net == PUBLISHED[ANNOTATORS[request.kind].condition]
    condition = make_map(request, read_source(request), (64, 64))
    assert condition.shape[2:] == (64, 64) and condition.std() > 0.01


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "models"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_without_the_hub_each_says_which_file_to_put_where(path: Path, bare: Path) -> None:
    order = read_order(path)
    with pytest.raises(CheckpointError) as caught:
        order.locate()
    (control,) = order.control.values()
    told = str(caught.value)
    assert f"put v1-5-pruned-emaonly.safetensors into {bare}" in told and "\n" not in told
    assert f"{Path(control.net).name}.pth, into {bare}" in told


def test_what_is_said_lies_over_the_file(tmp_path: Path) -> None:
    images.write(torch.rand(3, 40, 40), tmp_path / "photo.png")
    path = tmp_path / "mine.toml"
    path.write_text(
        'prompt = "x"\nsteps = 3\nloras = ["style:0.5"]\n[control.canny]\npicture = "photo.png"\nweight = 2.0\n'
    )
    overrides = ["prompt=a red fish", "control.canny.weight=0.5", "seed=4", "settings.rescale=0.7", "size=[32, 32]"]
    wish = read_order(path, overrides).wish(tmp_path)
    assert wish.prompts == ("a red fish",) and wish.size == (32, 32) and wish.loras == (LoraRequest("style", 0.5),)
    assert wish.controls is not None and wish.controls[0].weight == 0.5
    assert wish.controls[0].picture == str(tmp_path / "photo.png"), "beside the file"
    assert wish.settings == {"seed": 4, "steps": 3, "negative": "", "rescale": 0.7}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("promt = 'x'", "unknown key 'promt'; did you mean 'prompt'"),
        ("[control.cany]\npicture = 'a.png'", "unknown annotator 'cany'; did you mean 'canny'"),
        ("[control.canny]\nwieght = 1", "control.canny"),
        ("[control.canny]\npicture = ''", "control.canny.picture is empty"),
        ("[settings]\nstpes = 3", "unknown key 'stpes'; did you mean 'steps'"),
        ("loras = ['a:loud']", "'loud' is not a number"),
        ("[control.canny]\npicture = 'a.png'\nweight = 1000.0", "weight=1000 makes no sense"),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises((ConfigError, InputError), match=message):
        read_order(tmp_path / "bad.toml").wish(tmp_path)
