"""Textual inversions in every form that people have."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from underdraw.errors import CheckpointError
from underdraw.formats import detect
from underdraw.formats.embeddings import open_embedding, write_embedding
from underdraw.model import Backbone, Embedding

ONE, TWO, PAIR = torch.randn(768), torch.randn(2, 768), {"clip_l": torch.randn(2, 768), "clip_g": torch.randn(3, 1280)}


def base(*widths: int) -> Any:
    """Of a base only what the widths of its text encoders are matters here."""
    encoders = tuple(SimpleNamespace(config=SimpleNamespace(hidden_size=width)) for width in widths)
    return SimpleNamespace(text_encoders=encoders)


SD1, SD2, XL = base(768), base(1024), base(768, 1280)


def pickled(path: Path, told: object) -> Path:
    torch.save(told, path)
    return path


def same(found: tuple[Tensor, ...], *expected: Tensor) -> bool:
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


@pytest.mark.parametrize("token", [265, torch.tensor(265)])
def test_a1111s_pickle(tmp_path: Path, token: object) -> None:
    told = {"string_to_token": {"*": token}, "string_to_param": {"*": nn.Parameter(TWO)}, "name": "other", "step": 3}
    path = pickled(tmp_path / "easynegative.pt", told)
    word = open_embedding(path, SD1)
    assert word.name == "easynegative" and same(word.vectors, TWO) and not word.vectors[0].requires_grad
    assert detect(path).details == {"tokens": 2}


def test_the_first_authors_pickle(tmp_path: Path) -> None:
    """Its table of parameters is a torch module; an inert stand-in takes its place."""
    told = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": nn.ParameterDict({"*": nn.Parameter(TWO)})}
    path = pickled(tmp_path / "embeddings_gs-6099.pt", told)
    assert same(open_embedding(path, SD1).vectors, TWO) and detect(path).kind == "textual-inversion"


def test_safetensors(tmp_path: Path) -> None:
    save_file({"emb_params": TWO}, tmp_path / "word.safetensors")
    assert same(open_embedding(tmp_path / "word.safetensors", SD1).vectors, TWO)
    save_file(PAIR, tmp_path / "pair.safetensors")
    assert same(open_embedding(tmp_path / "pair.safetensors", XL).vectors, PAIR["clip_l"], PAIR["clip_g"])


@pytest.mark.parametrize("vectors", [ONE, TWO])
def test_diffusers(tmp_path: Path, vectors: Tensor) -> None:
    """One tensor, named by its word."""
    save_file({"<cat-toy>": vectors}, tmp_path / "learned_embeds.safetensors")
    for path in (tmp_path / "learned_embeds.safetensors", pickled(tmp_path / "a.bin", {"<cat-toy>": vectors})):
        word = open_embedding(path, SD1)
        assert word.name == "<cat-toy>" and same(word.vectors, vectors.reshape(-1, 768))


@pytest.mark.parametrize(
    ("vectors", "layout"), [((TWO,), "a1111"), ((TWO,), "diffusers"), (tuple(PAIR.values()), "a1111")]
)
def test_what_is_written_is_read(tmp_path: Path, vectors: tuple[Tensor, ...], layout: Any) -> None:
    path = tmp_path / "word.safetensors"
    write_embedding(Embedding("<cat-toy>", vectors), path, layout)
    word = open_embedding(path, XL if len(vectors) == 2 else SD1)
    assert same(word.vectors, *vectors) and word.name == ("<cat-toy>" if layout == "diffusers" else "word")


def test_diffusers_has_one_tensor(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no place for two text encoders; write a1111"):
        write_embedding(Embedding("<cat-toy>", tuple(PAIR.values())), tmp_path / "word.safetensors", "diffusers")
    assert not list(tmp_path.iterdir())


def test_another_family_is_named(tmp_path: Path) -> None:
    save_file({"emb_params": TWO}, tmp_path / "one.safetensors")
    save_file(PAIR, tmp_path / "pair.safetensors")
    one, two, xl = (rf"Stable Diffusion {name}" for name in (r"1\.x", r"2\.x", "XL"))
    told: list[tuple[str, Any, str]] = [
        ("one", SD2, rf"for {one} \(768 wide\), and this base is {two} \(1024 wide\); take one of its family"),
        ("pair", SD1, rf"for {xl} \(768 and 1280 wide\), and this base is {one}"),
        ("one", XL, rf"for {one} \(768 wide\), and this base is {xl}"),
        ("one", base(192), rf"for {one} \(768 wide\), and this base is another model \(192 wide\)"),
        ("one", base(), rf"for {one} \(768 wide\), and this base is a model without text"),
    ]
    for name, backbone, sentence in told:
        with pytest.raises(CheckpointError, match=rf"{name}\.safetensors is a textual inversion {sentence}"):
            open_embedding(tmp_path / f"{name}.safetensors", backbone)


def test_other_files_are_refused(tmp_path: Path) -> None:
    for tensors, why in (
        ({"lora_unet_x.lora_up.weight": TWO, "lora_unet_x.lora_down.weight": TWO + 1}, "no textual inversion but lora"),
        ({"emb_params": torch.full((2, 768), torch.nan)}, "holds NaN or infinity"),
        ({"emb_params": torch.zeros(2, 768, dtype=torch.int8)}, "quantised weights are not supported"),
        ({"emb_params": torch.zeros(2, 2, 768)}, r"holds a tensor of shape \(2, 2, 768\), which is no list of vectors"),
    ):
        save_file(tensors, tmp_path / "x.safetensors")
        with pytest.raises(CheckpointError, match=why):
            open_embedding(tmp_path / "x.safetensors", SD1)
    (tmp_path / "x.pt").write_bytes(pickled(tmp_path / "y.pt", {"string_to_param": {"*": TWO}}).read_bytes()[:-900])
    with pytest.raises(CheckpointError, match="truncated or broken"):
        open_embedding(tmp_path / "x.pt", SD1)


class Attack:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_of_a_pickle_runs(tmp_path: Path) -> None:
    path = pickled(tmp_path / "x.pt", {"string_to_param": {"*": TWO}, "name": Attack(tmp_path / "ran")})
    with pytest.raises(CheckpointError, match="which could run code"):
        open_embedding(path, SD1)
    assert not (tmp_path / "ran").exists()


def test_the_embedded_base_takes_its_own_width(tmp_path: Path) -> None:
    save_file({"emb_params": torch.randn(2, 192)}, tmp_path / "x.safetensors")
    backbone = Backbone.load(Path(__file__).parents[2] / "src" / "underdraw" / "embedded")
    assert open_embedding(tmp_path / "x.safetensors", backbone).vectors[0].shape == (2, 192)
