"""A model hub of one's own on this machine, which speaks what huggingface_hub asks for."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories of files by name; what was asked for. large: files whose digests it knows."""

    files: dict[str, dict[str, bytes]]
    large: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    sizes: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def listing(self, repository: str) -> dict[str, object]:
        """What the API says of a repository."""
        siblings = []
        for name, data in self.files[repository].items():
            entry: dict[str, object] = {"rfilename": name, "size": self.sizes.get(name, len(data)), "blobId": "0" * 40}
            if name in self.large:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 100}
            siblings.append(entry)
        return {
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "siblings": siblings,
            "private": False,
            "tags": [],
        }


@contextmanager
def serve(files: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    """A hub on a free port while the block lasts."""
    hub = Hub({repository: dict(there) for repository, there in files.items()})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, *words: object) -> None:
            """Says nothing."""

        def _answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            hub.asked.append(path)
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"] and f"{parts[2]}/{parts[3]}" in hub.files:
                self._send(json.dumps(hub.listing(f"{parts[2]}/{parts[3]}")).encode(), body, "application/json")
            elif len(parts) > 4 and parts[2] == "resolve":
                data = hub.files.get(f"{parts[0]}/{parts[1]}", {}).get("/".join(parts[4:]))
                self._missing() if data is None else self._send(data, body, "application/octet-stream")
            else:
                self._missing()

        def _send(self, data: bytes, body: bool, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def _missing(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
