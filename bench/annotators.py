"""Annotators beside controlnet_aux': pictures a second on one core at 512 px, and a folder with one and two workers.

    python -m bench.annotators                      every annotator that needs no weights
    python -m bench.annotators --peer FOLDER        beside the peer: the folder of an unpacked controlnet_aux wheel
    python -m bench.annotators --folder 1000        a folder of so many pictures, one worker against two (--kind lines)

The peer imports torchvision at its top, which does not stand beside every build of torch; its parts are therefore
imported by themselves, from files. Both sides see the same pictures as bytes of 512×512 and give bytes; rounds are
interleaved, figures are medians.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.step import interleaved
from underdraw import images
from underdraw.annotators import ANNOTATORS, build
from underdraw.errors import InputError

PHOTOGRAPHS = Path(__file__).parents[1] / "examples" / "pictures" / "photographs"
SIDE = 512
PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "canny": ("canny", "CannyDetector", {"low_threshold": 100, "high_threshold": 200, "image_resolution": SIDE}),
    "shuffle": ("shuffle", "ContentShuffleDetector", {"image_resolution": SIDE}),
    "lineart": ("lineart_standard", "LineartStandardDetector", {}),
}
"""Ours, and the module, class and options of theirs that does the same without weights."""


def pictures() -> list[np.ndarray]:
    """The example photographs at 512×512, as bytes."""
    shown = [images.read(path) for path in sorted(PHOTOGRAPHS.iterdir())]
    return [images.to_uint8(images.resize(images.crop(each, (SIDE, SIDE)), (SIDE, SIDE))[0]) for each in shown]


def ours(kind: str, seen: list[np.ndarray]) -> Callable[[], Any]:
    """All pictures through an annotator, from bytes to bytes."""
    look = build(kind, {"detail": "standard"} if kind == "lineart" else {})
    return lambda: [images.to_uint8(look.show(look.map(images.from_uint8(each)[None]))[0, :3]) for each in seen]


def theirs(kind: str, seen: list[np.ndarray], folder: Path) -> Callable[[], Any]:
    """The same through the peer's."""
    if "controlnet_aux" not in sys.modules:
        package = types.ModuleType("controlnet_aux")
        package.__path__ = [str(folder / "controlnet_aux")]
        sys.modules["controlnet_aux"] = package
    module, name, options = PEERS[kind]
    detector = getattr(__import__(f"controlnet_aux.{module}", fromlist=[name]), name)()
    told = {"detect_resolution": SIDE, "output_type": "np"} | options
    return lambda: [detector(each, **told) for each in seen]


def compare(peer: Path | None, rounds: int) -> Table:
    """A table: pictures a second, and how many times as fast as the peer."""
    table = Table("annotator", "pictures/s", "peer's", "ratio", title=f"one core, {SIDE}×{SIDE}")
    seen = pictures()
    for kind in ANNOTATORS:
        if ANNOTATORS[kind].needs.packages or ANNOTATORS[kind].needs.weights:
            continue
        sides = {"ours": ours(kind, seen)}
        try:
            sides["ours"]()
        except InputError:
            continue  # reads other things than photographs
        if peer and kind in PEERS:
            sides["theirs"] = theirs(kind, seen, peer)
        taken = {name: statistics.median(each) / len(seen) for name, each in interleaved(sides, rounds).items()}
        row = [kind, f"{1 / taken['ours']:.1f}"]
        row += (
            [f"{1 / taken['theirs']:.1f}", f"{taken['theirs'] / taken['ours']:.2f}"] if "theirs" in taken else ["", ""]
        )
        table.add_row(*row)
    return table


def folder(count: int, kind: str) -> str:
    """Seconds for a folder with one worker and with two, and their ratio."""
    seen = pictures()
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "pictures"
        source.mkdir()
        for number in range(count):
            shifted = np.roll(seen[number % len(seen)], number, axis=1)
            cv2.imwrite(str(source / f"{number:05d}.jpg"), shifted[..., ::-1])
        seconds = []
        for workers in (1, 2):
            told = ["extract", kind, str(source), "-o", f"{place}/maps-{workers}", "--workers", str(workers)]
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-m", "underdraw.apps.cli", *told], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - begun)
    one, two = seconds
    return f"{count} pictures, {kind}: one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} times as fast"


def main() -> None:
    """Print what was asked for."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--peer", type=Path, help="folder of an unpacked controlnet_aux wheel")
    told.add_argument("--rounds", type=int, default=5)
    told.add_argument("--folder", type=int, help="pictures in a folder, instead")
    told.add_argument("--kind", default="canny", help="of the folder's maps")
    wanted = told.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    Console().print(folder(wanted.folder, wanted.kind) if wanted.folder else compare(wanted.peer, wanted.rounds))


if __name__ == "__main__":
    main()
