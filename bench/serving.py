"""The server under load, beside the bare sampler: 32 clients, 500 requests, good, malformed and cancelled ones mixed.

    python -m bench.serving                     the embedded base, 500 requests of 8 steps
    python -m bench.serving --requests 120 --threads 1

The server is another process, as `underdraw serve` starts it, with as many threads as the bare sampler has. Good
requests differ in prompt and seed, every second hears a map; they are drawn in one way, so they can be merged. The bare
sampler draws the same recipes in full batches, before and after, and the mean of both is the rate. What is counted
besides: requests that got no answer or two, wrong statuses, and the server's memory after a fifth of the requests and
at the end. The ratio by processor time is the one to believe where the machine has other work.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import torch

from underdraw import images
from underdraw.annotators import extract
from underdraw.generation import ControlRequest, Studio, Wish, assemble, native_size, plan_each

PHOTOGRAPHS = Path(__file__).parents[1] / "examples" / "pictures" / "photographs"
CLIENTS = 32
PROMPTS = ("a red sofa in a room", "a blue chair", "a green table by a window", "a lamp and a bed", "一张绿色的桌子")
KINDS = {"good": 0.8, "malformed": 0.1, "cancelled": 0.1}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Tally:
    """What came back."""

    answers: Counter[str] = field(default_factory=Counter)
    pictures: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def the_map() -> torch.Tensor:
    """A map of edges 3×h×w at the embedded base's size."""
    picture = images.read(sorted(PHOTOGRAPHS.iterdir())[0])
    return extract("canny", picture, (64, 64))[0].expand(3, -1, -1)


def asked(number: int, kind: str, steps: int, packed: str) -> dict[str, Any]:
    """Request number so and so."""
    if kind == "malformed":
        wrong: list[dict[str, Any]] = [
            {"prompt": "x", "steps": 0},
            {"prompt": "word " * 10_000},
            {"prompt": "x", "controls": [{"kind": "canny", "picture": "/etc/passwd"}]},
            {"promt": "x"},
        ]
        return wrong[number % len(wrong)]
    controls = [{"kind": "canny", "picture": packed, "is_map": True}] if number % 2 else []
    prompt = PROMPTS[number % len(PROMPTS)]
    return {"prompt": prompt, "seed": number, "steps": steps, "controls": controls, "stream": kind == "cancelled"}


async def one(client: httpx2.AsyncClient, number: int, kind: str, body: dict[str, Any], tally: Tally) -> None:
    begun = time.monotonic()
    if kind == "cancelled":
        async with client.stream("POST", "/v1/generate", json=body) as stream:
            await asyncio.sleep(random.Random(number).random() / 2)
        tally.answers[f"cancelled {stream.status_code}"] += 1
        return
    answer = await client.post("/v1/generate", json=body)
    while answer.status_code == 429:
        tally.answers["429, asked again"] += 1
        await asyncio.sleep(float(answer.headers["Retry-After"]))
        answer = await client.post("/v1/generate", json=body)
    tally.answers[f"{kind} {answer.status_code}"] += 1
    if answer.status_code != (200 if kind == "good" else 422):
        tally.wrong.append(f"{kind} {number}: {answer.status_code} {answer.text[:100]}")
    if kind == "good" and answer.status_code == 200:
        tally.seconds.append(time.monotonic() - begun)
        for part in answer.json()["pictures"]:
            tally.pictures[part["recipe"]["seed"]] += 1


async def load(address: str, kinds: list[str], steps: int, packed: str, server: int) -> Tally:
    """All requests, by 32 clients who each ask for the next when they have the last."""
    tally, numbers = Tally(), iter(enumerate(kinds))

    async def client() -> None:
        async with httpx2.AsyncClient(base_url=address, timeout=600) as session:
            for number, kind in numbers:
                await one(session, number, kind, asked(number, kind, steps, packed), tally)
                if number in (len(kinds) // 5, len(kinds) - 1):
                    tally.memory.append(memory(server))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    tally.memory.append(memory(server))
    return tally


def memory(server: int) -> float:
    """Resident memory of a process, in MB."""
    return int(Path(f"/proc/{server}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor(process: int) -> float:
    """Seconds of processor time that a process has had."""
    parts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / TICKS


def bare(studio: Studio, count: int, steps: int) -> tuple[float, float]:
    """Seconds and processor seconds a picture of the sampler alone, in full batches."""
    control = ControlRequest("canny", the_map(), is_map=True)
    recipes = [
        plan_each(studio, Wish((PROMPTS[n % 5],), (control,) * (n % 2), settings={"steps": steps}), [n])[0]
        for n in range(count)
    ]
    begun, used = time.monotonic(), time.process_time()
    for _ in studio.draw_all(assemble(recipes)):
        pass
    return (time.monotonic() - begun) / count, (time.process_time() - used) / count


def figures(address: str) -> dict[str, float]:
    """The server's counters."""
    found = re.findall(r"^underdraw_(\w+) (\S+)$", httpx2.get(f"{address}metrics").text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def start(threads: int, base: str, device: str) -> tuple[subprocess.Popen[str], str]:
    """The server's process and its address."""
    command = [sys.executable, "-m", "underdraw.apps.cli", "serve", "--port", "0", "--base", base, "--device", device]
    told = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=told)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://\S+", line):
            return process, found[0]
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bare", type=int, default=64, help="pictures that the bare sampler draws, twice")
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--good", action="store_true", help="good requests only")
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    studio = Studio.open(told.base, told.device)
    assert native_size(studio.backbone) == (64, 64), "the map is made for 64 px"
    dice = random.Random(0)
    kinds = (
        dice.choices(list(KINDS), list(KINDS.values()), k=told.requests) if not told.good else ["good"] * told.requests
    )
    packed = base64.b64encode(images.encode_png(the_map())).decode()
    bare(studio, 16, told.steps)  # warms up
    process, address = start(told.threads, told.base, told.device)
    try:
        asyncio.run(load(address, ["good"] * CLIENTS, told.steps, packed, process.pid))  # warms up
        rates = [bare(studio, told.bare, told.steps)]
        before = figures(address)
        begun, used = time.monotonic(), processor(process.pid)
        tally = asyncio.run(load(address, kinds, told.steps, packed, process.pid))
        wall, worked = time.monotonic() - begun, processor(process.pid) - used
        rates.append(bare(studio, told.bare, told.steps))
        after = figures(address)
    finally:
        process.terminate()
        process.wait(20)
    good = kinds.count("good")
    done, batches = (after[name] - before[name] for name in ("drawn_total", "batches_total"))
    alone, alone_worked = (statistics.mean(each) for each in zip(*rates, strict=True))
    report = {
        "requests": dict(tally.answers),
        "lost": good - len(tally.pictures),
        "answered twice": sum(count > 1 for count in tally.pictures.values()),
        "wrong": tally.wrong[:5],
        "pictures drawn": done,
        "for nobody any more": done - sum(tally.pictures.values()),
        "pictures a batch": round(done / batches, 1),
        "pictures/s": round(done / wall, 2),
        "bare pictures/s": [round(1 / each[0], 2) for each in rates],
        "ratio": round(alone * done / wall, 3),
        "ratio by processor time": round(alone_worked * done / worked, 3),
        "ratio while drawing": round(
            alone * done / (after["drawing_seconds_total"] - before["drawing_seconds_total"]), 3
        ),
        "seconds to answer, median and worst": [
            round(statistics.median(tally.seconds), 1),
            round(max(tally.seconds), 1),
        ],
        "memory MB": [round(each) for each in tally.memory],
    }
    print(json.dumps(report, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
