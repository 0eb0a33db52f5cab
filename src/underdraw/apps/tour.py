"""`underdraw demo`: drawings, photographs and rooms, drawn without and with control, on one sheet with figures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from underdraw.apps.terminal import Bar, bar, result, say
from underdraw.apps.values import folder_path
from underdraw.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from underdraw.generation import Row, Studio

__all__ = ["COMMANDS", "demo"]

SEEDS = (1, 2, 3, 4)
SUBJECTS = (
    ("drawings/mushroom.png", "map", "a red mushroom, 3d sticker, on a light blue background"),
    ("drawings/apple.png", "map", "绿色的苹果，3D贴纸，浅黄色背景"),
    ("drawings/cat.png", "map", "an orange cat face, flat sticker, on a light green background"),
    ("drawings/fish.png", "map", "蓝色的鱼，光泽贴纸"),
    ("drawings/heart.jpg", "", "a pink heart, glossy sticker, on a black background"),
    ("drawings/umbrella.png", "map", "紫色的雨伞，3D贴纸，白色背景"),
    ("drawings/house.png", "map", "a house with a red roof, flat sticker, on a light blue background"),
    ("photographs/flower.jpg", "", "an orange flower, 3d sticker, on a dark green background"),
    ("photographs/coffee.jpg", "", "一杯咖啡，3D贴纸，棕色背景"),
    ("photographs/horse.png", "", "a brown horse, flat sticker, on a light yellow background"),
)
"""Pictures of examples/pictures, whether they are maps already, and what to make of them."""
ROOMS = ((3, "text_en"), (7, "text_zh"))
"""Seeds of rendered rooms that no training has seen, and the language of their captions."""


@dataclass(frozen=True, eq=False)
class Task:
    """One row: what is shown, the map 1×C×H×W, the edges 1×1×H×W to be found again, and the prompt."""

    label: str
    shown: "Tensor"
    kind: str
    map: "Tensor"
    edges: "Tensor"
    prompt: str


def demo(
    output: Annotated[Path, Option("--output", "-o", help="Where the sheet goes.")] = Path("out"),
    steps: Annotated[int, Option(min=1, max=1000, help="Of each picture.")] = 20,
    base: Annotated[str | None, Option(help="A folder in diffusers layout; default: the embedded base.")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, Option("--json", help="The figures as one JSON object on stdout.")] = False,
) -> None:
    """Draw the examples without and with control, in English and Chinese, and write one contact sheet."""
    from underdraw import images
    from underdraw.generation import EMBEDDED, Studio, native_size, sheet

    begun, target, examples = time.monotonic(), folder_path(output) / "demo.png", _examples()
    say("opening the base and its ControlNets")
    studio = Studio.open(base or EMBEDDED, device)
    size = native_size(studio.backbone)
    lines, rooms = _from_examples(examples, size), _from_rooms(size)
    tasks = lines + rooms
    count = len(tasks) * (1 + len(SEEDS))
    say(
        f"drawing {count} pictures of {size[0]}×{size[1]} in {steps} steps: {len(tasks)} maps, without and with control"
    )
    with bar("drawing", steps * 3) as move:
        free = _draw(studio, tasks, SEEDS[:1], steps, move, False)
        bound = [*_draw(studio, lines, SEEDS, steps, move, True), *_draw(studio, rooms, SEEDS, steps, move, True)]
    rows, figures = _judge(tasks, free, bound)
    heads = ["given", "condition", "without control", *(f"with control, seed {seed}" for seed in SEEDS)]
    summary = (
        f"mean F1 of edges at 1 px: {figures['without']:.2f} without control, {figures['with']:.2f} with control; "
        f"{figures['worse']} of {count - len(tasks)} controlled pictures are worse"
    )
    images.write(sheet(rows, heads, "underdraw demo", summary), target)
    seconds = round(time.monotonic() - begun, 1)
    result(f"{target}  {summary}  ({seconds:.0f} s)", figures | {"file": str(target), "seconds": seconds}, as_json)


def _examples() -> Path:
    """The pictures of the repository, from its checkout or from the working folder."""
    places = [Path(__file__).resolve().parents[3] / "examples" / "pictures", Path("examples") / "pictures"]
    for place in places:
        if place.is_dir():
            return place
    raise InputError("the demo draws the repository's examples/pictures, which are not here; run it in a checkout")


def _from_examples(examples: Path, size: tuple[int, int]) -> list[Task]:
    from underdraw.generation import ControlRequest, make_map, read_source
    from underdraw.images import crop

    tasks = []
    for name, given, prompt in SUBJECTS:
        request = ControlRequest("canny", str(examples / name), is_map=bool(given))
        source = read_source(request)
        edges = make_map(request, source, size)
        tasks.append(Task(prompt, crop(source, size)[0], "canny", edges, edges, prompt))
    return tasks


def _from_rooms(size: tuple[int, int]) -> list[Task]:
    from underdraw.annotators import extract
    from underdraw.data.scenes import records

    rooms = records([seed for seed, _ in ROOMS], size)
    return [
        Task(
            record.attributes[language],
            record.image,
            "depth",
            record.maps["depth"][None],
            extract("canny", record.image[None], size),
            record.attributes[language],
        )
        for record, (_, language) in zip(rooms, ROOMS, strict=True)
    ]


def _draw(
    studio: "Studio", tasks: Sequence[Task], seeds: Sequence[int], steps: int, move: Bar, controlled: bool
) -> "list[Tensor]":
    """S×3×H×W for each task: one picture a seed."""
    import torch

    from underdraw.annotators import as_hint
    from underdraw.generation import draw, finish
    from underdraw.model import Control

    prompts = [task.prompt for task in tasks for _ in seeds]
    size = (tasks[0].map.shape[-1], tasks[0].map.shape[-2])
    controls = []
    if controlled:
        maps = as_hint(torch.cat([task.map for task in tasks for _ in seeds]))
        net = studio.net(tasks[0].kind)
        controls = [Control(net, maps.to(studio.backbone.device, studio.backbone.dtype))]
    frames = draw(studio.backbone, prompts, [*seeds] * len(tasks), size, controls=controls, steps=steps)
    pictures = finish(studio.backbone, frames, lambda frame: move())
    return list(pictures.view(len(tasks), len(seeds), *pictures.shape[1:]))


def _judge(tasks: Sequence[Task], free: "list[Tensor]", bound: "list[Tensor]") -> "tuple[list[Row], dict[str, float]]":
    """The rows of the sheet, an F1 under each picture, and the figures of the whole."""
    import torch

    from underdraw.annotators import build
    from underdraw.annotators.measures import edge_scores
    from underdraw.generation import Cell, Row

    canny, rows, scores = build("canny"), [], []
    for task, without, controlled in zip(tasks, free, bound, strict=True):
        drawn = torch.cat([without, controlled])
        f1 = edge_scores(canny(drawn), task.edges.expand(len(drawn), -1, -1, -1), tolerance=1).f1
        scores.append(f1)
        cells = [Cell(picture, f"F1 {score:.2f}") for picture, score in zip(drawn, f1.tolist(), strict=True)]
        rows.append(Row(task.label, [Cell(task.shown), Cell(task.map[0], task.kind, crisp=True), *cells]))
    table = torch.stack(scores)
    return rows, {
        "without": round(float(table[:, 0].mean()), 4),
        "with": round(float(table[:, 1:].mean()), 4),
        "worse": int((table[:, 1:] < table[:, :1]).sum()),
    }


COMMANDS = (demo,)
