"""Nobody who should not gets in, nothing that is too much is read, and the server lives on."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from underdraw import images
from underdraw.apps.server.app import build_app
from underdraw.apps.server.guard import is_loopback
from underdraw.apps.server.service import Service
from underdraw.generation import Studio

from .conftest import LIMITS, LOCAL, as_base64

TOKEN = "a-token-of-ours"


@pytest.fixture(scope="module")
def locked(studio: Studio) -> Iterator[TestClient]:
    """Asks a server that wants a token."""
    with TestClient(build_app(Service(studio, LIMITS), TOKEN), base_url=LOCAL) as client:
        yield client


def refused(answer: Any, status: int | tuple[int, ...]) -> str:
    """One line that tells nothing of the inside."""
    assert answer.status_code in ((status,) if isinstance(status, int) else status), answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, str) and detail and "\n" not in detail and len(detail) < 300
    assert not any(word in detail for word in ("Traceback", ".py", "/src/", "/tmp/", "site-packages"))
    return detail


def alive(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"ok": True}


def _png(width: int, height: int, rows: int = 1) -> str:
    """A PNG whose head says that it is so large, and which holds a few rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(rows * (1 + 3 * min(width, 1000))))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


def _eps() -> str:
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "EPS")
    return base64.b64encode(file.getvalue()).decode()


PICTURES = {
    "a bomb": _png(60_000, 60_000),
    "too large": _png(600, 600),
    "cut": as_base64(torch.rand(3, 64, 64))[:4000],
    "too small": _png(2, 2),
    "no base64": "%%%% not base64 %%%%",
    "half base64": "iVBORw0KGgo",
    "text": base64.b64encode(b"a red mushroom").decode(),
    "a path": "/etc/passwd",
    "a file address": "file:///etc/passwd",
    "an address": "http://127.0.0.1:9/picture.png",
    "a data address of text": "data:text/html,<script>alert(1)</script>",
    "a program": _eps(),
    "nothing": "",
}


@pytest.mark.parametrize("name", PICTURES)
def test_bad_pictures(client: TestClient, name: str) -> None:
    """Everywhere that pictures are taken; files and addresses are never opened."""
    picture = PICTURES[name]
    unit = {"image": picture, "module": "canny", "model": "controlnet-canny"}
    mask = {"init_images": [_png(32, 32, 32)], "mask": picture}
    asked: dict[str, Any] = {
        "/v1/extract": {"kind": "canny", "picture": picture},
        "/v1/generate": {"prompt": "x", "controls": [{"kind": "canny", "picture": picture}], "stream": False},
        "/v1/restore": {"picture": picture},
        "/v1/obedience": {"picture": picture},
        "/v1/pose/read": {"picture": picture},
        "/sdapi/v1/img2img": {"prompt": "x", "init_images": [picture]},
        "/sdapi/v1/png-info": {"image": picture},
        "/controlnet/detect": {"controlnet_module": "canny", "controlnet_input_images": [picture]},
    }
    for path, body in asked.items():
        detail = refused(client.post(path, json=body), 422)
        assert "root:" not in detail
    refused(client.post("/sdapi/v1/img2img", json=mask), 422)
    if picture:
        txt2img = {"prompt": "x", "alwayson_scripts": {"controlnet": {"args": [unit]}}}
        refused(client.post("/sdapi/v1/txt2img", json=txt2img), 422)
    alive(client)


def test_traversal(client: TestClient, base: Path) -> None:
    """No path leads out of the page's folder, and no name to a file."""
    for path in (
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/",
    ):
        assert client.get(path).status_code == 404
    for kind in ("../../canny", "/etc/passwd", "controlnet-canny", "..", "canny\0"):
        refused(client.post("/v1/extract", json={"kind": kind, "picture": _png(32, 32, 32)}), 422)
        unit = {"image": _png(32, 32, 32), "module": "none", "model": kind}
        answer = client.post(
            "/sdapi/v1/txt2img", json={"prompt": "x", "alwayson_scripts": {"controlnet": {"args": [unit]}}}
        )
        assert answer.status_code == (200 if kind == "controlnet-canny" else 422)
    grid = {"prompt": "x", "axes": [{"name": "control", "values": ["canny=/etc/passwd"]}]}
    refused(client.post("/v1/grid", json=grid), 422)
    refused(client.post("/v1/cancel/..%2f..%2fetc", json={}), 404)
    alive(client)


@pytest.mark.parametrize("name", ["/etc/passwd", "owner/name/file.safetensors", "~/secret", "style", "style:x", ""])
def test_prompts_name_no_files(client: TestClient, name: str) -> None:
    """A LoRA in a prompt is one of those that the server knows, or none: no path is tried, nothing is fetched."""
    prompt = f"x <LoRA:{name}:1>"
    details = [
        refused(client.post("/v1/generate", json={"prompt": prompt}), 422),
        refused(client.post("/sdapi/v1/txt2img", json={"prompt": prompt}), 422),
        refused(
            client.post(
                "/v1/grid", json={"prompt": "x", "stream": False, "axes": [{"name": "prompt", "values": [prompt]}]}
            ),
            422,
        ),
    ]
    assert all("no LoRA is called" in detail for detail in details)


def test_recipes_name_no_files(client: TestClient, disc: torch.Tensor) -> None:
    """What somebody's picture says of nets and LoRAs is not looked for."""
    told = {"prompt": "x", "width": 32, "height": 32, "base": "tiny", "base_hash": "0"}
    net = {"controls": [{"kind": "canny", "map": "", "net": "/etc/passwd"}]}
    lora = {"loras": [{"name": "/etc/passwd", "hash": "0", "weight": 1.0, "text_weight": 1.0}]}
    for more in (net, lora):
        data = images.encode_png(disc, {"underdraw": json.dumps(told | more)})
        answer = client.post("/v1/restore", json={"picture": base64.b64encode(data).decode()}).json()
        assert not answer["same_weights"] and "not here by name" in answer["other"]


def test_huge_and_broken_json(client: TestClient) -> None:
    whole = b'{"prompt": "' + b"x" * (LIMITS.body + 1) + b'"}'
    refused(client.post("/v1/generate", content=whole), 413)

    def drops() -> Iterator[bytes]:  # without a length beforehand
        yield b'{"prompt": "'
        for _ in range(40):
            yield b"x" * 2**16

    refused(client.post("/v1/generate", content=drops()), 413)
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b"\xff\xfe", b"[" * 100_000, b'{"prompt": "x"', b"NaN"):
        refused(client.post("/v1/generate", content=body, headers=headers), (400, 422))
    values: list[Any] = [[], "x", 3, None]
    for value in values:
        refused(client.post("/v1/generate", json=value), 422)
    alive(client)


ASKED: dict[str, dict[str, Any]] = {
    "a long prompt": {"prompt": "word " * 10_000},
    "a long negative prompt": {"prompt": "x", "negative": "word " * 10_000},
    "an unknown field": {"prompt": "x", "promt": "y"},
    "too many steps": {"prompt": "x", "steps": 401},
    "no steps": {"prompt": "x", "steps": 0},
    "too many pictures": {"prompt": "x", "count": 9},
    "too large": {"prompt": "x", "width": 128, "height": 128},
    "much too large": {"prompt": "x", "width": 10**9, "height": 64},
    "too large a second pass": {"prompt": "x", "width": 64, "height": 64, "hires": {"scale": 4}},
    "one side": {"prompt": "x", "width": 64},
    "a seed that is none": {"prompt": "x", "seed": -1},
    "a last seed": {"prompt": "x", "seed": 2**63 - 1, "count": 2},
    "no number": {"prompt": "x", "guidance": "nan"},
    "an unknown scheduler": {"prompt": "x", "scheduler": "magic"},
    "an unknown kind": {"controls": [{"kind": "magic", "picture": "x"}]},
    "a kind without a net": {"controls": [{"kind": "softedge", "picture": _png(32, 32, 32)}]},
    "an unknown knob": {"controls": [{"kind": "canny", "picture": _png(32, 32, 32), "knobs": {"lo": 3}}]},
    "nothing": {},
}


@pytest.mark.parametrize("name", ASKED)
def test_what_makes_no_sense(client: TestClient, name: str) -> None:
    refused(client.post("/v1/generate", json=ASKED[name]), 422)
    alive(client)


def test_what_was_sent_is_not_said_again(client: TestClient) -> None:
    secret = "s3cret" * 20
    for body in ({"prompt": {"x": secret}}, {"prompt": "x", "steps": secret}, {"prompt": "x", "controls": secret}):
        assert secret not in client.post("/v1/generate", json=body).text


@pytest.mark.parametrize(
    "said", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Token {TOKEN}", f"Bearer {TOKEN}x"]
)
def test_a_missing_or_wrong_token(locked: TestClient, said: str | None) -> None:
    headers = {} if said is None else {"Authorization": said}
    for path in ("/v1/models", "/v1/queue", "/sdapi/v1/options", "/controlnet/version", "/metrics", "/openapi.json"):
        refused(locked.get(path, headers=headers), 401)
    refused(locked.post("/v1/generate", json={"prompt": "x"}, headers=headers), 401)


def test_the_right_token(locked: TestClient) -> None:
    """As a bearer's, or as the password of whatever user; the page itself needs none."""
    assert locked.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert locked.get("/v1/models", auth=("anybody", TOKEN)).status_code == 200
    assert locked.get("/healthz").status_code == 200
    assert (
        locked.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}", "Host": "pictures.example"}).status_code
        == 200
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_origins(client: TestClient, headers: dict[str, str]) -> None:
    """A page elsewhere can neither draw here nor read what we say."""
    for path in ("/v1/generate", "/v1/cancel", "/sdapi/v1/interrupt", "/sdapi/v1/options"):
        refused(client.post(path, json={"prompt": "x"}, headers=headers), 403)
    refused(
        client.post(
            "/v1/generate", content=json.dumps({"prompt": "x"}), headers=headers | {"Content-Type": "text/plain"}
        ),
        403,
    )
    assert not [name for name in client.get("/v1/models", headers=headers).headers if name.startswith("access-control")]
    refused(client.options("/v1/generate", headers=headers | {"Access-Control-Request-Method": "POST"}), (403, 405))


def test_our_own_origin(client: TestClient) -> None:
    headers = {"Origin": LOCAL, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/cancel", headers=headers).json() == {"cancelled": 0}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "localhost.evil.example", "x@localhost", ""])
def test_other_names(client: TestClient, host: str) -> None:
    """Another name for our address (DNS rebinding) is not answered, where there is no token."""
    refused(client.get("/v1/models", headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1:7860", "[::1]:7860", "192.168.0.7"])
def test_our_names(client: TestClient, host: str) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


def test_headers_of_every_answer(client: TestClient) -> None:
    for answer in (
        client.get("/"),
        client.get("/v1/models"),
        client.get("/nowhere"),
        client.get("/", headers={"Host": "x"}),
    ):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "server" not in answer.headers


def test_our_own_mistakes_tell_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from underdraw.apps.server import maps

    def broken(*_: object) -> None:
        raise ZeroDivisionError("/home/somebody/secret")

    monkeypatch.setattr(maps, "annotated", broken)
    answer = client.post("/v1/extract", json={"kind": "canny", "picture": _png(32, 32, 32)})
    assert "secret" not in refused(answer, 500)
    alive(client)


def test_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.8.9.1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.7", "pictures.example"))
