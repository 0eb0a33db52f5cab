"""`underdraw train`, and `underdraw diffuse`, which shows what is learnt."""

import math
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from underdraw.apps.terminal import result, say
from underdraw.apps.values import parse_size, png_path
from underdraw.errors import ConfigError

__all__ = ["COMMANDS", "diffuse", "train"]


def train(
    recipe: Annotated[Path, Argument(metavar="RECIPE.toml", help="What to train, on what, for how long.")],
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Laid over the recipe: optimizer.lr=1e-4")
    ] = None,
    minutes: Annotated[float | None, Option(help="Train that long, keep a checkpoint, stop.")] = None,
    as_json: Annotated[bool, Option("--json", help="One JSON object at the end on stdout.")] = False,
) -> None:
    """Train a VAE, a CLIP, a base, a ControlNet, a LoRA or a word. Called again, it goes on where it stopped."""
    from rich.console import Console

    from underdraw.config import load
    from underdraw.evaluation.watching import watcher
    from underdraw.training.mapped import MapTask
    from underdraw.training.page import Page
    from underdraw.training.processes import divided, first
    from underdraw.training.recipe import Recipe
    from underdraw.training.tasks import build_task
    from underdraw.training.trackers import tracked
    from underdraw.training.trainer import Watcher, resumed
    from underdraw.training.trainer import train as run
    from underdraw.training.watchers import Checkpoints, Sheets, log, progress, swapped

    if minutes is not None and not 0 < minutes < math.inf:
        raise ConfigError(f"minutes = {minutes:g} makes no sense; give a number above 0")
    told = load(Recipe, recipe, overrides or ())
    say(f"reading the pictures of {', '.join(told.data.folders)}")
    task = build_task(told)
    with progress(Console(stderr=True), told.steps) as shown, tracked(told) as trackers:
        watchers: list[Watcher] = [log, shown, *trackers, Checkpoints()]
        if not divided():  # what is divided among processes can't be looked at by one of them
            watchers.append(Sheets())
            if isinstance(task, MapTask) and told.watch.steps:
                watchers.append(watcher(task, told.watch, say))
        watchers.append(Page())
        state = run(task, told, watchers, math.inf if minutes is None else minutes)
    if divided():
        state = resumed(build_task(told), told)
    export = state.folder / "export"
    if not first():
        return
    with swapped(state):
        state.task.export(export)
    facts = {"folder": str(export), "step": state.step, "steps": told.steps}
    result(f"{export}  step {state.step} of {told.steps}", facts, as_json)


def diffuse(
    picture: Annotated[Path, Argument(help="A photograph or drawing.")],
    output: Annotated[Path, Option("--output", "-o", help="The sheet, a PNG.")],
    prompt: Annotated[str, Option(help="What the way back is told.")] = "",
    seed: Annotated[int, Option(min=0, max=2**63 - 1, help="Of the noise.")] = 0,
    steps: Annotated[int, Option(help="Of the way back.")] = 28,
    size: Annotated[str | None, Option(metavar="WxH", help="Default: the picture's proportions.")] = None,
    base: Annotated[str | None, Option(help="A folder in diffusers layout; default: the embedded base.")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Draw how a picture becomes noise, and how the base finds a way back from that noise."""
    from underdraw import images
    from underdraw.generation import EMBEDDED, Studio, fitting_size, nearest_size, walk, walk_sheet

    target, seen = png_path(output), images.read(picture)
    wanted = parse_size(size) if size else None
    backbone = Studio.open(base or EMBEDDED, device).backbone
    pixels = nearest_size(backbone, wanted) if wanted else fitting_size(backbone, (seen.shape[-1], seen.shape[-2]))
    small = images.resize(images.crop(seen, pixels), pixels)
    way = walk(backbone, small, prompt, seed=seed, steps=steps)
    title = f"{picture.name}: into noise, and back" + (f" with “{prompt}”" if prompt else "")
    images.write(walk_sheet(way, title), target)
    result(f"{target}  {pixels[0]}×{pixels[1]}, {steps} steps back", {}, as_json=False)


COMMANDS = (train, diffuse)
