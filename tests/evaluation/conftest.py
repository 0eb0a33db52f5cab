"""A tiny base with two ControlNets, a tiny CLIP, two tiny worlds and a tiny reader: all random, nothing trained."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from underdraw.annotators.readers import Reader, Shape, save_reader
from underdraw.data.folder import Record, write_folder
from underdraw.generation import Studio
from underdraw.training.clip import build_clip, learn_vocabulary
from underdraw.training.recipe import Clip

from ..generation.conftest import tiny_base

COLOURS = {"red": (0.8, 0.1, 0.1), "blue": (0.1, 0.2, 0.9), "green": (0.1, 0.7, 0.2), "yellow": (0.9, 0.8, 0.1)}
SIDE = 32


def disc(place: int) -> Tensor:
    """1×H×W, white where a disc is."""
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    x, y, radius = 8 + 5 * place % 17, 9 + 3 * place % 13, 5 + place % 4
    return (((down - y) ** 2 + (across - x) ** 2) < radius**2)[None].float()


def records(kind: str, split: str, count: int) -> Iterator[Record]:
    """Coloured balls in a room with a depth map, or coloured stickers without."""
    for place in range(count):
        name = list(COLOURS)[place % 4]
        inside = disc(place)
        image = inside * torch.tensor(COLOURS[name]).view(3, 1, 1) + (1 - inside) * (0.2 + 0.03 * place)
        known: dict[str, object] = {"split": split}
        if kind == "rooms":
            known |= {"wall_colour": "grey", "objects": [{"kind": "ball", "colour": name}]}
            yield Record(f"room-{split}-{place}", image, f"a {name} ball in a room", {"depth": 0.8 * inside}, known)
        else:
            thing = ("mushroom", "fish", "house")[place % 3]
            known |= {"concept": thing, "name_en": thing, "colour": name}
            yield Record(f"sticker-{split}-{place}", image, f"a {name} {thing}, sticker", {}, known)


@pytest.fixture(autouse=True)
def no_shipped_readers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whether the package brings readers or not, the tests bring their own."""
    monkeypatch.setattr("underdraw.annotators.readers.SHIPPED", tmp_path / "none")


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders `rooms` and `stickers`, 12 pictures of the report split and 4 of train in each."""
    root = tmp_path_factory.mktemp("worlds")
    for kind in ("rooms", "stickers"):
        for _ in write_folder(root / kind, [*records(kind, "train", 4), *records(kind, "report", 12)]):
            pass
    return [root / "rooms", root / "stickers"]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained CLIP in its folder."""
    folder, config = tmp_path_factory.mktemp("models") / "clip", Clip(vocabulary=512, width=16, layers=1, heads=2)
    torch.manual_seed(0)
    tokenizer = learn_vocabulary(["a red ball in a room", "a blue fish, sticker"], config)
    build_clip(config, tokenizer, SIDE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base for 32×32 pictures with controlnet-canny and controlnet-depth."""
    return tiny_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def studio(base: Path) -> Studio:
    return Studio.open(str(base), device="cpu")


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader of everything that was never trained."""
    path = tmp_path_factory.mktemp("models") / "reader.safetensors"
    torch.manual_seed(2)
    colours = ((0, 0, 0), (255, 255, 255))
    save_reader(Reader(Shape(("depth", "normal", "segmentation", "pose"), channels=(8, 16), colours=colours)), path)
    return path
