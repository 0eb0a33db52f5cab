"""The store: where weights are looked for, who may fetch them, and that nobody changes them."""

import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.annotators.hub import COMMIT, Hub, serve
from underdraw.annotators.learned import fetching
from underdraw.annotators.learned.fetching import allow_downloads, fetch, provide
from underdraw.annotators.learned.weights import RECORD, Weights, digest, find, harmless, recorded, verify
from underdraw.errors import CheckpointError, InputError
from underdraw.files import models_folder

FILES = {"config.json": b"{}", "preprocessor_config.json": b"[]", "model.safetensors": b"numbers" * 1000}
SHA = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
ONE = Weights("some/one", "MIT", 12)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store and a hub's cache of one's own, and no consent."""
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNDERDRAW_DOWNLOAD", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve({"some/one": FILES | {"pytorch_model.bin": b"older", "README.md": b"words"}}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def fill(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


class TestPlaces:
    def test_the_environment_says_where_the_store_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert models_folder() == tmp_path / "store"
        monkeypatch.delenv("UNDERDRAW_MODELS")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert models_folder() == tmp_path / "underdraw" / "models"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert models_folder() == Path.home() / ".cache" / "underdraw" / "models"

    def test_an_ordinary_folder_is_found(self, tmp_path: Path) -> None:
        assert find(ONE) is None
        folder = fill(tmp_path / "store" / "some--one")
        assert provide(ONE, "kind") == folder

    @pytest.mark.parametrize("root", ["cache"])
    def test_the_layout_of_the_hubs_cache_is_found(self, tmp_path: Path, root: str) -> None:
        model = tmp_path / root / "models--some--one"
        place = fill(model / "snapshots" / COMMIT)
        assert find(ONE) is None, "no reference says which of the snapshots is meant"
        fill(model / "refs", {"main": COMMIT.encode()})
        assert find(ONE) == place

    def test_a_pinned_revision_is_taken_and_no_other(self, tmp_path: Path) -> None:
        model = tmp_path / "cache" / "models--some--one"
        fill(model / "refs", {"main": b"f" * 40})
        fill(model / "snapshots" / ("f" * 40))
        pinned = Weights("some/one", "MIT", 12, COMMIT)
        assert find(pinned) is None
        place = fill(model / "snapshots" / COMMIT)
        assert find(pinned) == place

    def test_a_reference_cannot_lead_elsewhere(self, tmp_path: Path) -> None:
        model = tmp_path / "cache" / "models--some--one"
        fill(model / "refs", {"main": b"../../../elsewhere"})
        fill(tmp_path / "elsewhere")
        assert find(ONE) is None

    def test_half_a_folder_is_none(self, tmp_path: Path) -> None:
        fill(tmp_path / "store" / "some--one", {"config.json": b"{}", "preprocessor_config.json": b"{}"})
        assert find(ONE) is None
        fill(tmp_path / "store" / "some--one", {"pytorch_model.bin": b""})
        assert find(ONE) == tmp_path / "store" / "some--one", "either file of weights will do"


class TestConsent:
    def test_nothing_is_fetched_unasked_and_one_line_says_what_to_do(self, hub: Hub) -> None:
        with pytest.raises(CheckpointError) as caught:
            provide(ONE, "depth_of_mine")
        line = str(caught.value)
        assert "\n" not in line
        for part in (
            "depth_of_mine needs some/one (MIT, 12 MB)",
            "UNDERDRAW_DOWNLOAD=1",
            "put config.json, preprocessor_config.json, model.safetensors or pytorch_model.bin into",
            str(models_folder() / "some--one"),
        ):
            assert part in line
        assert hub.asked == []
        assert not models_folder().exists()

    @pytest.mark.parametrize("word", ["0", "", "no", "false"])
    def test_these_are_no_consent(self, hub: Hub, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
        monkeypatch.setenv("UNDERDRAW_DOWNLOAD", word)
        with pytest.raises(CheckpointError, match="allow its download"):
            provide(ONE, "kind")
        assert hub.asked == []

    def test_the_environment_consents(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UNDERDRAW_DOWNLOAD", "1")
        folder = provide(ONE, "kind")
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD} == FILES

    def test_consent_lasts_as_long_as_its_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with allow_downloads():
            assert os.environ["UNDERDRAW_DOWNLOAD"] == "1"
        assert "UNDERDRAW_DOWNLOAD" not in os.environ
        monkeypatch.setenv("UNDERDRAW_DOWNLOAD", "0")
        with pytest.raises(KeyError), allow_downloads():
            raise KeyError
        assert os.environ["UNDERDRAW_DOWNLOAD"] == "0"

    def test_offline_means_offline(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with allow_downloads(), pytest.raises(CheckpointError, match="HF_HUB_OFFLINE"):
            provide(ONE, "kind")
        assert hub.asked == []


class TestFetching:
    def test_what_was_fetched_is_written_down(self, hub: Hub) -> None:
        folder = fetch(ONE)
        assert recorded(folder) == {name: {"revision": COMMIT, "sha256": SHA[name]} for name in FILES}
        assert json.loads((folder / RECORD).read_text())["repository"] == "some/one"
        verify(folder, ONE)
        assert [path.name for path in models_folder().iterdir() if not path.name.startswith(".")] == ["some--one"]
        assert not list(models_folder().glob("*.part"))

    def test_it_is_fetched_once(self, hub: Hub) -> None:
        fetch(ONE)
        count = len(hub.asked)
        fetch(ONE)
        assert len(hub.asked) == count

    def test_more_files_of_the_same_repository_join_it(self, hub: Hub) -> None:
        fetch(Weights("some/one", "MIT", 1, files=("config.json",)))
        folder = fetch(ONE)
        assert set(recorded(folder)) == set(FILES)

    @pytest.mark.parametrize("name", list(FILES))
    def test_a_changed_file_is_one_clear_error(self, hub: Hub, name: str) -> None:
        folder = fetch(ONE)
        (folder / name).write_bytes(b"something else")
        with pytest.raises(CheckpointError, match=rf"{name} is not the file that was published .*; delete it"):
            verify(folder, ONE)

    def test_files_that_somebody_put_there_pass(self, tmp_path: Path) -> None:
        verify(fill(tmp_path / "store" / "some--one"), ONE)

    def test_but_not_if_their_digest_is_known(self, tmp_path: Path) -> None:
        folder = fill(tmp_path / "store" / "some--one")
        verify(folder, Weights("some/one", "MIT", 1, sha256={"model.safetensors": SHA["model.safetensors"]}))
        with pytest.raises(CheckpointError, match=r"model.safetensors is not the file that was published"):
            verify(folder, Weights("some/one", "MIT", 1, sha256={"model.safetensors": "0" * 64}))

    def test_in_the_hubs_cache_a_large_file_is_named_by_its_digest(self, tmp_path: Path) -> None:
        model = tmp_path / "cache" / "models--some--one"
        place = fill(model / "snapshots" / COMMIT, {"config.json": b"{}", "preprocessor_config.json": b"[]"})
        fill(model / "blobs", {SHA["model.safetensors"]: FILES["model.safetensors"]})
        (place / "model.safetensors").symlink_to(model / "blobs" / SHA["model.safetensors"])
        verify(place, ONE)
        (model / "blobs" / SHA["model.safetensors"]).write_bytes(b"changed")
        with pytest.raises(CheckpointError, match="is not the file that was published"):
            verify(place, ONE)

    def test_a_broken_record_is_refused(self, hub: Hub) -> None:
        folder = fetch(ONE)
        (folder / RECORD).write_text('{"files": [1]}')
        with pytest.raises(CheckpointError, match=f"{RECORD} cannot be read"):
            verify(folder, ONE)

    @pytest.mark.parametrize(
        ("weights", "reason"),
        [
            (Weights("some/one", "MIT", 1, sha256={"config.json": "0" * 64}), "what came as config.json of some/one"),
            (Weights("some/one", "MIT", 1, revision="a" * 40), f"asked for at {'a' * 40}, and {COMMIT} came"),
            (Weights("some/one", "MIT", 1, files=("net.pth",)), "some/one has no net.pth at revision main"),
            (Weights("some/other", "MIT", 1), "cannot fetch some/other"),
        ],
    )
    def test_what_is_not_what_was_meant_leaves_nothing(self, hub: Hub, weights: Weights, reason: str) -> None:
        with pytest.raises(CheckpointError, match=reason) as caught:
            fetch(weights)
        assert "\n" not in str(caught.value)
        assert not list(models_folder().rglob("*.*[!k]"))

    def test_a_file_that_changed_on_its_way_is_refused(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        listed = hub.listing("some/one")
        monkeypatch.setattr(hub, "listing", lambda repository: listed)
        hub.files["some/one"]["model.safetensors"] = b"NUMBERS" * 1000
        with pytest.raises(CheckpointError, match=r"what came as model.safetensors of some/one"):
            fetch(ONE)

    def test_sizes_are_bounded(self, hub: Hub) -> None:
        hub.sizes["model.safetensors"] = fetching.LARGEST
        with pytest.raises(CheckpointError, match="at most 4,294,967,296 are fetched"):
            fetch(ONE)
        assert not any("resolve" in path for path in hub.asked)

    def test_a_hub_that_is_not_there_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serve({}) as server:
            monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(CheckpointError, match="cannot fetch some/one") as caught:
            fetch(ONE)
        assert "\n" not in str(caught.value)

    def test_a_store_that_cannot_be_written_is_one_line(
        self, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path / "file" / "store"))
        with pytest.raises(InputError, match="cannot write"):
            fetch(ONE)

    def test_no_token_leaves_this_machine_in_a_record(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        assert "hf_secret" not in (fetch(ONE) / RECORD).read_text()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


class TestHarmless:
    @pytest.mark.parametrize("zipped", [True, False])
    def test_tensors_pass(self, tmp_path: Path, zipped: bool) -> None:
        path = tmp_path / "net.pth"
        torch.save({"model": {"weight": torch.ones(3)}}, path, _use_new_zipfile_serialization=zipped)
        harmless(path)

    def test_code_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "net.pth"
        torch.save({"model": Evil()}, path)
        with pytest.raises(CheckpointError, match="holds more than tensors"):
            harmless(path)
        path.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(CheckpointError, match="it is not opened"):
            harmless(path)

    def test_a_broken_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "net.pth"
        torch.save({"weight": torch.ones(3000)}, path)
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(CheckpointError, match="or is broken"):
            harmless(path)


def test_a_digest_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert digest(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(CheckpointError, match="cannot read"):
        digest(tmp_path / "none")
