"""Files that are hostile or broken: one clear line each, and nothing of them ever runs."""

import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from underdraw.errors import CheckpointError
from underdraw.formats.reading import open_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(4, dtype=torch.float16)}


def saved(path: Path, told: Any, **settings: Any) -> Path:
    torch.save(told, path, **settings)
    return path


def refused(path: Path, *words: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_tensors(path)
    line = str(caught.value)
    assert "\n" not in line and path.name in line and all(word in line for word in words), line
    return line


def same(path: Path) -> bool:
    found = open_tensors(path).tensors
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in found)


def test_every_kind_of_file_gives_its_tensors(tmp_path: Path) -> None:
    """By what is in a file, not by how it is called."""
    save_file(TENSORS, tmp_path / "model.ckpt", metadata={"by": "us"})
    assert same(tmp_path / "model.ckpt")
    assert open_tensors(tmp_path / "model.ckpt").metadata == {"by": "us"}
    assert same(saved(tmp_path / "model.bin", TENSORS))
    assert same(saved(tmp_path / "old.pth", TENSORS, _use_new_zipfile_serialization=False))


def test_tables_in_tables(tmp_path: Path) -> None:
    """`state_dict` is taken out, however deep; other tables become dotted names; what is no tensor is only named."""
    nested = {"state_dict": {"state_dict": TENSORS, "optimizer": "…"}, "epoch": 7}
    assert same(saved(tmp_path / "nested.ckpt", nested))
    file = open_tensors(saved(tmp_path / "adapter.bin", {"image_proj": {"a": torch.ones(2)}, "step": 3}))
    assert set(file.tensors) == {"image_proj.a"}
    assert file.others == ("step",)


def test_files_are_mapped_and_not_read(tmp_path: Path) -> None:
    """A tensor of half a gigabyte opens in no time and takes no memory of its own."""
    path = tmp_path / "large.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[134217728],"data_offsets":[0,536870912]}}'
    with path.open("wb") as file:  # a hole: nothing is on the disk, either
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 536870912)
    before = _anonymous()
    assert open_tensors(path).tensors["w"].shape == (134217728,)
    assert _anonymous() - before < 50


def _anonymous() -> float:
    """Megabytes of memory that are this process's own."""
    rollup = Path("/proc/self/smaps_rollup")
    if not rollup.exists():
        pytest.skip("this system does not tell how much memory is a process's own (Linux does)")
    return next(int(line.split()[1]) for line in rollup.read_text().splitlines() if "Anonymous" in line) / 1024


class Bomb:
    """Unpickled, it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["alone", "beside", "state_dict"])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, zipped: bool, place: str) -> None:
    mark, bomb = tmp_path / "it-ran", Bomb(tmp_path / "it-ran")
    told: Any = {"alone": bomb, "beside": {**TENSORS, "x": bomb}, "state_dict": {"state_dict": {"x": bomb}}}[place]
    path = saved(tmp_path / "evil.pth", told, _use_new_zipfile_serialization=zipped)
    refused(path, "could run code", "mkdir", "safetensors")
    assert not mark.exists()
    pickle.loads(pickle.dumps(bomb))  # the trap is a trap
    assert mark.exists()


def test_code_behind_a_harmless_name_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's callbacks stand in published files; a stand-in takes their place, whoever hides behind the name."""
    ran: list[str] = []

    class ModelCheckpoint:
        def __init__(self, *_: Any) -> None:
            self.best = 1.0

        def __setstate__(self, state: Any) -> None:
            ran.append("setstate")

        def __reduce__(self) -> Any:
            return ModelCheckpoint, ("x",), {"best": 2.0}

    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    ModelCheckpoint.__module__, ModelCheckpoint.__qualname__ = name, "ModelCheckpoint"
    module.ModelCheckpoint = ModelCheckpoint  # type: ignore[attr-defined]
    for known in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        monkeypatch.setitem(sys.modules, known, module)
    told = {"state_dict": TENSORS, "callbacks": {ModelCheckpoint: {"best": np.float64(0.5)}, "also": ModelCheckpoint()}}
    path = saved(tmp_path / "lightning.ckpt", told)
    assert same(path)
    assert ran == []


def test_a_pickle_that_only_looks_harmless(tmp_path: Path) -> None:
    """The names of modules are looked at whole: `numpy.core.multiarray` is let pass only by its scalars."""
    path = tmp_path / "near.pth"
    stream = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(tR."
    path.write_bytes(stream)
    refused(path, "_reconstruct")


def test_truncated_files(tmp_path: Path) -> None:
    whole = save(TENSORS)
    torch.save(TENSORS, buffer := io.BytesIO())
    old = io.BytesIO()
    torch.save(TENSORS, old, _use_new_zipfile_serialization=False)
    for name, data in (("a.safetensors", whole), ("b.pth", buffer.getvalue()), ("c.pth", old.getvalue())):
        for share in (0.1, 0.5, 0.99):
            path = tmp_path / name
            path.write_bytes(data[: int(len(data) * share)])
            refused(path, "copy it again")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>Not found</html>", "web page"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"\xff" * 200, "not a file of weights"),
        (b"\x00" * 200, "not a file of weights"),
        (b"PK\x03\x04" + b"\x00" * 100, "broken"),
        (b"\x80\x02}q\x00.", "broken"),
        (save({}), "no tensors"),
    ],
)
def test_what_is_no_file_of_weights(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / ("x.pth" if data.startswith((b"PK", b"\x80")) else "x.safetensors")
    path.write_bytes(data)
    refused(path, word)


@pytest.mark.parametrize("length", [0x80, 0x4B50])
def test_a_header_whose_length_looks_like_another_kind_of_file(tmp_path: Path, length: int) -> None:
    """A length of 128 begins as a pickle does, one of 19280 as an archive."""
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (tmp_path / "x.safetensors").write_bytes(length.to_bytes(8, "little") + header + b"\x00\x00\x80\x3f")
    assert open_tensors(tmp_path / "x.safetensors").tensors["a"] == 1


def test_a_pickle_under_a_better_name(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "x.pth")
    refused((tmp_path / "x.pth").rename(tmp_path / "x.safetensors"), "is a pickle that calls itself safetensors")


def test_a_table_without_tensors(tmp_path: Path) -> None:
    refused(saved(tmp_path / "x.pth", {"epoch": 1}), "holds no tensors")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.safetensors", "No such file")
    refused(tmp_path, "Is a directory")


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    """torch stores its archives plainly; a compressed one could be a bomb."""
    torch.save(TENSORS, buffer := io.BytesIO())
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    refused(tmp_path / "x.pth", "no archive that torch has written")


def test_a_tensor_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    """One number, stretched to a terabyte by a stride of zero."""
    path = saved(tmp_path / "x.pth", {"w": torch.zeros(1).expand(2**38)})
    refused(path, "claims more weights than it holds")


def test_tables_without_end(tmp_path: Path) -> None:
    """A pickle can hold a table that holds itself."""
    for key in ("state_dict", "x"):
        told: dict[str, Any] = dict(TENSORS)
        told[key] = told
        refused(saved(tmp_path / "x.pth", told), "without end")
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(400):
        inner["x"] = {}
        inner = inner["x"]
    refused(saved(tmp_path / "x.pth", deep), "without end")


def test_metadata_that_is_not_ours(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"underdraw": "{"})
    with pytest.raises(CheckpointError, match=r"its metadata can't be read"):
        open_tensors(tmp_path / "x.safetensors").said()
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"underdraw": "[" * 100_000})
    with pytest.raises(CheckpointError, match=r"its metadata can't be read"):
        open_tensors(tmp_path / "x.safetensors").said()
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"underdraw": "[1]"})
    assert open_tensors(tmp_path / "x.safetensors").said() == {}
