"""The memory that commands and workers keep."""

import subprocess
import sys

import pytest

from underdraw.allocator import keep_pages

PROGRAM = """
import resource, sys
import torch
from underdraw.allocator import keep_pages
from underdraw.annotators import build
if "keep" in sys.argv:
    assert keep_pages()
torch.set_num_threads(1)
picture, look = torch.rand(1, 3, 1920, 1920), build("canny")
for _ in range(3):
    look.map(picture)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    look.map(picture)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*told: str) -> int:
    """Pages that the kernel had to find for three maps of more than glibc ever keeps."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *told], capture_output=True, text=True, check=True)
    return int(ended.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_pages_are_kept_for_the_next_picture() -> None:
    kept, usual = faults("keep"), faults()
    assert 2 * kept < usual, f"{kept} pages, and {usual} as usual"


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_pages()
