"""Where models lie: shelves of three layouts, the hub's cache, the hub, and what to do where neither has it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from underdraw.errors import CheckpointError, ConfigError
from underdraw.files import models_folder
from underdraw.formats.base_writing import write_base_file, write_base_folder
from underdraw.formats.hub import cached, fetch_file, fetch_folder
from underdraw.formats.opening import open_base
from underdraw.formats.places import (
    listed,
    locate_base,
    locate_control,
    locate_lora,
    locate_vae,
    shelves,
    shipped_loras,
)

from .tiny import base, parts, same

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine: an empty folder of models, an empty cache, and a hub that nobody answers for."""
    monkeypatch.setenv("UNDERDRAW_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


LAYOUTS = {
    "plain": {"base": "here", "vae": "here", "control": "there", "lora": ".", "embedding": "."},
    "a1111": {
        "base": "models/Stable-diffusion/sub",
        "vae": "models/VAE",
        "control": "extensions/sd-webui-controlnet/models",
        "lora": "models/Lora",
        "embedding": "embeddings",
    },
    "comfyui": {
        "base": "models/checkpoints",
        "vae": "models/vae",
        "control": "models/controlnet/sd15",
        "lora": "models/loras",
        "embedding": "models/embeddings",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_setting_for_three_layouts(layout: str) -> None:
    placed = {kind: put(models_folder() / shelf / f"My {kind}.safetensors") for kind, shelf in LAYOUTS[layout].items()}
    for kind, path in placed.items():
        assert path in list(listed(kind))
        assert list(listed(kind)) == [path] or layout == "plain"
    assert locate_base("my BASE") == locate_base("My base.safetensors") == placed["base"]
    assert locate_vae("my vae") == placed["vae"]
    assert locate_control("my control") == placed["control"]


def test_folders_in_diffusers_layout_are_one_model() -> None:
    folder = models_folder() / "dreamshaper"
    put(folder / "model_index.json", "{}")
    put(folder / "unet" / "config.json", "{}")
    put(folder / "unet" / "diffusion_pytorch_model.safetensors")
    put(models_folder() / "notes.txt")
    assert list(listed("base")) == [folder]
    assert locate_base("dreamshaper") == folder


def test_loras_ship_with_the_embedded_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name; one of that name on the shelf comes first, and a misspelt one is told."""
    shipped = put(tmp_path / "package" / "loras" / "ink.safetensors")
    monkeypatch.setattr("underdraw.formats.places.locate_base", lambda name: tmp_path / "package")
    assert shipped_loras() == {"ink": shipped} and locate_lora("ink") == shipped
    with pytest.raises(ConfigError, match=r"no lora is called 'inc'.*did you mean 'ink'"):
        locate_lora("inc")
    own = put(models_folder() / "ink.safetensors")
    assert locate_lora("ink") == own and shipped_loras() == {"ink": shipped}


def test_where_there_is_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNDERDRAW_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert shelves("base") == [tmp_path / "underdraw" / "models"]


def test_paths_come_first(tmp_path: Path) -> None:
    path = put(tmp_path / "x.safetensors")
    assert locate_base(path) == path
    assert locate_base("embedded").name == "embedded"


def test_short_names_are_found_under_the_names_of_their_files() -> None:
    path = put(models_folder() / "v1-5-pruned-emaonly.safetensors")
    assert locate_base("sd15") == path


def test_a_net_under_its_published_name() -> None:
    """`lllyasviel/control_v11p_sd15_canny` is the file of that name, wherever it came from."""
    path = put(models_folder() / "control_v11p_sd15_canny.pth")
    assert locate_control("lllyasviel/control_v11p_sd15_canny") == path
    assert locate_control("lllyasviel/ControlNet-v1-1/control_v11p_sd15_canny.pth") == path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sd15", "v1-5-pruned-emaonly.safetensors"),
        ("sd21", "v2-1_768-ema-pruned.safetensors"),
        ("sdxl", "sd_xl_base_1.0.safetensors"),
    ],
)
def test_without_the_hub_the_file_and_its_place_are_named(name: str, file: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        locate_base(name)
    line = str(caught.value)
    assert f"put {file} into {shelves('base')[0]}" in line and "http://127.0.0.1:9 cannot be reached" in line
    assert "\n" not in line


def test_without_the_hub_a_net_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"put its folder, or control_v11p_sd15_seg.pth, into .*models"):
        locate_control("lllyasviel/control_v11p_sd15_seg")
    with pytest.raises(CheckpointError, match=r"put diff.safetensors into"):
        locate_control("owner/name/sub/diff.safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE forbids to fetch it; put its folder"):
        locate_control("lllyasviel/control_v11p_sd15_seg")


def test_names_that_can_not_be() -> None:
    put(models_folder() / "dreamshaper.safetensors")
    with pytest.raises(ConfigError, match=r"no base is called 'dreamshapr'.*did you mean 'dreamshaper'"):
        locate_base("dreamshapr")
    with pytest.raises(ConfigError, match=r"did you mean 'sd15'"):
        locate_base("sd1.5")


class Hub:
    """A hub on this machine: repositories as tables of files; counts what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if path.startswith("/api/models/"):
            name = path.removeprefix("/api/models/").partition("/revision")[0].partition("?")[0]
            if name not in self.files:
                return 404, b"{}"
            siblings = [{"rfilename": file} for file in self.files[name]]
            return 200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
        owner, _, rest = path.removeprefix("/").partition("/resolve/")
        content = self.files.get(owner, {}).get(rest.partition("/")[2])
        return (404, b"") if content is None else (200, content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    kept = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = kept.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{abs(hash(body)):x}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SPARE = {
    "unet/diffusion_pytorch_model.bin": b"x",
    "unet/diffusion_pytorch_model.fp16.safetensors": b"x",
    "unet/diffusion_pytorch_model.non_ema.safetensors": b"x",
    "safety_checker/model.safetensors": b"x",
    "v1-5-pruned.ckpt": b"x",
    "vae/openvino_model.xml": b"x",
    "README.md": b"x",
}


def test_a_base_comes_from_the_hub_once(hub: Hub, tmp_path: Path) -> None:
    """HF_ENDPOINT is asked, only what is needed is fetched, and the second time nobody is asked."""
    write_base_folder(parts("sd1"), tmp_path / "stock")
    whole = contents(tmp_path / "stock")
    hub.files["somebody/base"] = whole | SPARE
    backbone = open_base("somebody/base")
    assert same(backbone.unet, base("sd1").unet)
    fetched = contents(locate_base("somebody/base"))
    assert fetched.keys() == whole.keys() - {"safety_checker/model.safetensors"}
    assert dict(cached())["somebody/base"] == locate_base("somebody/base")
    hub.asked.clear()
    open_base("somebody/base")
    assert hub.asked == []


def test_half_precision_is_fetched_where_there_is_no_other(hub: Hub, tmp_path: Path) -> None:
    write_base_folder(parts("sd1"), tmp_path / "stock")
    renamed = {
        name.replace(".safetensors", ".fp16.safetensors"): each for name, each in contents(tmp_path / "stock").items()
    }
    hub.files["somebody/base"] = renamed
    assert same(open_base("somebody/base").unet, base("sd1").unet)


def test_a_file_of_a_repository(hub: Hub, tmp_path: Path) -> None:
    write_base_file(parts("sd1"), tmp_path / "x.safetensors")
    hub.files["somebody/files"] = {"sub/x.safetensors": (tmp_path / "x.safetensors").read_bytes()}
    assert same(open_base("somebody/files/sub/x.safetensors").unet, base("sd1").unet)
    hub.asked.clear()
    assert fetch_file("somebody/files", "sub/x.safetensors", "").name == "x.safetensors"
    assert hub.asked == []


def test_what_the_hub_does_not_have(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"has no somebody/else, or wants a login for it \(HF_TOKEN\); put"):
        locate_base("somebody/else")
    hub.files["somebody/pickles"] = {"model_index.json": b"{}", "unet/diffusion_pytorch_model.bin": b"x"}
    with pytest.raises(CheckpointError, match="holds no base as safetensors in diffusers layout; do that"):
        fetch_folder("somebody/pickles", "base", "do that")
