"""`underdraw serve`: what it refuses, and that it serves."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from .conftest import Underdraw


def test_it_does_not_listen_to_everybody_unasked(underdraw: Underdraw, base: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7"):
        done = underdraw("serve", "--host", host, "--base", base)
        assert done.code == 2 and "--token" in done.err
    done = underdraw("serve", "--token", "short", "--base", base)
    assert done.code == 2 and "8 characters" in done.err


def test_mistakes(underdraw: Underdraw, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = underdraw("serve", "--rank", tmp_path / "empty")
    assert done.code == 2 and "nothing to rank" in done.err


def test_a_missing_extra(underdraw: Underdraw, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that installs it."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = underdraw("serve")
    assert done.code == 2 and "pip install 'underdraw[serve]'" in done.err


def test_it_serves(base: Path) -> None:
    """As a person starts it, at a free port; Ctrl+C ends it well."""
    command = [
        sys.executable,
        "-m",
        "underdraw.apps.cli",
        "serve",
        "--port",
        "0",
        "--base",
        str(base),
        "--device",
        "cpu",
    ]
    told = {**os.environ, "UNDERDRAW_TOKEN": "a-token-of-ours", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=told)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"(http://127\.0\.0\.1:\d+/)#token=a-token-of-ours", line)
        assert found, line
        assert httpx2.get(f"{found[1]}v1/models").status_code == 401
        headers = {"Authorization": "Bearer a-token-of-ours"}
        asked = {"prompt": "x", "steps": 1, "stream": False}
        answer = httpx2.post(f"{found[1]}v1/generate", json=asked, headers=headers, timeout=120)
        assert answer.status_code == 200 and len(answer.json()["pictures"]) == 1
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        process.stderr.close()
