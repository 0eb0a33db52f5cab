"""`underdraw plan`: what a training will take, before it starts."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from underdraw.apps.terminal import result
from underdraw.errors import ConfigError

if TYPE_CHECKING:
    from underdraw.training.plan import Plan
    from underdraw.training.recipe import Recipe

__all__ = ["COMMANDS", "plan"]

GIB = 2**30


def plan(
    recipe: Annotated[Path, Argument(metavar="RECIPE.toml", help="Of a ControlNet, base, LoRA or fine-tuning.")],
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Laid over the recipe: batch=4")
    ] = None,
    memory: Annotated[
        float | None, Option(metavar="GB", help="Of the card; default: of the device that the recipe names.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say how much memory a training will take and how long a step, and what would make it fit, before it starts."""
    from underdraw.config import load
    from underdraw.training.plan import foresee, remedies
    from underdraw.training.recipe import Recipe

    if memory is not None and not memory > 0:
        raise ConfigError(f"memory = {memory:g} makes no sense; give the card's gigabytes")
    told = load(Recipe, recipe, overrides or ())
    on_host = told.device == "cpu"
    start = _resident() if on_host else 0
    foreseen = foresee(told, start, timed=on_host)
    limit = int(memory * GIB) if memory else _limit(told.device)
    advice, after = ([], foreseen.peak) if foreseen.peak <= limit else remedies(told, start, limit)
    facts = _facts(told, foreseen, limit) | {"remedies": advice, "peak_with_remedies": after}
    result("\n".join(_lines(told, foreseen, limit, advice, after)), facts, as_json)


def _facts(recipe: "Recipe", foreseen: "Plan", limit: int) -> dict[str, Any]:
    return {
        "peak": foreseen.peak,
        "held": foreseen.held,
        "stages": foreseen.stages,
        "start": foreseen.start,
        "limit": limit,
        "fits": foreseen.peak <= limit,
        "seconds_a_step": foreseen.seconds,
        "operations_a_step": foreseen.operations,
        "steps": recipe.steps,
    }


def _lines(recipe: "Recipe", foreseen: "Plan", limit: int, advice: list[str], after: int) -> list[str]:
    stage = max(foreseen.stages, key=lambda name: foreseen.stages[name])
    lines = [f"peak {_told(foreseen.peak)} of {_told(limit)}, {stage}"]
    lines += [f"  {_told(size):>9}  {name}" for name, size in foreseen.held.items() if size]
    lines += [f"  {_told(foreseen.start):>9}  the program itself"] if foreseen.start else []
    if foreseen.seconds is not None:
        hours = recipe.steps * foreseen.seconds / 3600
        lines.append(f"a step {foreseen.seconds:.2f} s, {recipe.steps:,} steps {hours:.1f} h")
    if foreseen.peak > limit and after > limit:
        lines.append(
            f"it does not fit: {_told(after)} even with {' '.join(advice)}; use smaller pictures or a lite branch"
        )
    elif advice:
        lines.append(f"it does not fit; it would, in {_told(after)}, with: {' '.join(advice)}")
    return lines


def _told(size: int) -> str:
    return f"{size / GIB:.2f} GB"


def _limit(device: str) -> int:
    """The memory of the device."""
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ConfigError("there is no GPU here to ask for its memory; say it: --memory 24")
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _resident() -> int:
    """Bytes that a training's process holds once all that it needs is imported."""
    import psutil  # type: ignore[import-untyped]

    import underdraw.training.tasks
    import underdraw.training.watchers  # noqa: F401

    return int(psutil.Process().memory_info().rss)


COMMANDS = (plan,)
