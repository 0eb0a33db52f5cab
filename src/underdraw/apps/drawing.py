"""What commands that draw have in common: a base is opened, batches become files, a bar moves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Exit

from underdraw.apps.terminal import Bar, bar, result, say
from underdraw.errors import ConfigError, InputError

if TYPE_CHECKING:
    from underdraw.generation import Axis, Batch, Drawing, Drawn, Frame, Studio, Wish

__all__ = ["draw", "draw_on_grid", "numbered", "opened"]

PREVIEW_STEPS = 4
"""Between two previews: each is written as a file, and small ones are decoded."""


def opened(
    old: "Drawing | None",
    source: Path | None,
    base: str | None,
    device: str | None,
    dtype: str | None,
    vae: str | None = None,
    offload: bool = False,
    embeddings: Sequence[Path] = (),
) -> "Studio":
    """The base, opened: the one that is said, or that of an old recipe, whose weights must be the same.

    embeddings: files of textual inversions, known from then on.
    """
    from underdraw.generation import EMBEDDED, Studio, stranger

    if old is None:
        studio = Studio.open(base or EMBEDDED, device or "auto", dtype or "float32", vae, offload)
    else:
        vae = vae or (old.vae.name if old.vae else None)
        studio = Studio.open(base or _base_of(old, source), device or _device_of(old), dtype or old.dtype, vae, offload)
    for path in embeddings:
        studio.embeddings.add(path)
    if old is None:
        return studio
    if (other := stranger(studio, old)) is not None:
        told = f"{source} was drawn with {other}"
        if base is None:
            raise InputError(f"{told}; give --base {studio.name} to draw it with the one here")
        say(f"{told}; the picture will differ")
    return studio


def _base_of(old: "Drawing", source: Path | None) -> str:
    from underdraw.formats.places import at_hand

    if at_hand(old.base, "base") is None:
        raise InputError(f"{source} was drawn with base {old.base!r}, hash {old.base_hash}; say where it is: --base")
    return old.base


def _device_of(old: "Drawing") -> str:
    """The device that a picture was drawn on, if it is here: another one rounds otherwise."""
    from underdraw.generation import pick_device

    try:
        pick_device(old.device)
    except ConfigError:
        say(f"the picture was drawn on {old.device}, which is not here; its last bits will differ")
        return "auto"
    return old.device


def draw(studio: "Studio", batches: "Sequence[Batch]", target: Path, preview: Path | None, as_json: bool) -> None:
    """Draw batches into files, with a bar, and previews where they are wanted. Raises Exit where it is interrupted."""
    total, number = sum(len(batch.kept) for batch in batches), 0
    with bar("drawing", sum(batch.steps for batch in batches)) as move:

        def begin(batch: "Batch") -> None:
            move(batch.drawings[0].prompt[:40], done=0)

        for drawn in studio.draw_all(batches, _watcher(studio, move, preview), say, begin):
            number += 1
            _keep(drawn, numbered(target, number, total), as_json)
    _tell_interruption(drawn, target)


def draw_on_grid(
    studio: "Studio", wish: "Wish", axes: "Sequence[Axis]", target: Path, preview: Path | None, as_json: bool
) -> None:
    """Draw a grid: its pictures, and the sheet. Raises Exit where it is interrupted."""
    from underdraw import images
    from underdraw.generation import draw_grid

    with bar("drawing", None) as move:
        sheet, pictures = draw_grid(studio, wish, axes, _watcher(studio, move, preview), say)
    for number, drawn in enumerate(pictures, 1):
        _keep(drawn, numbered(target, number, 0), as_json)
    images.write(sheet, target.with_suffix(".png"))
    facts = {"file": str(target.with_suffix(".png")), "pictures": len(pictures)}
    result(f"{facts['file']}  {len(pictures)} pictures: {' × '.join(axis.name for axis in axes)}", facts, as_json)
    _tell_interruption(pictures[-1], target)


def _watcher(studio: "Studio", move: Bar, preview: Path | None) -> "Callable[[Frame], None]":
    """Moves the bar, and now and then writes what can be seen so far."""
    import torch

    from underdraw import images
    from underdraw.generation.glance import glance

    def watch(frame: "Frame") -> None:
        move()
        if preview is not None and frame.step % PREVIEW_STEPS == 0:
            images.write(torch.cat(list(glance(studio.backbone, frame.clean)), dim=-1), preview)

    return watch


def _tell_interruption(last: "Drawn", target: Path) -> None:
    if last.interrupted:
        say(f"stopped after {last.drawing.stopped} steps; what there is of it is written")
        raise Exit(130)


def _keep(drawn: "Drawn", path: Path, as_json: bool) -> None:
    drawn.save(path)
    drawing, seconds = drawn.drawing, drawn.seconds
    facts = drawing.model_dump(exclude={"controls", "given"}) | {"file": str(path), "seconds": round(seconds, 3)}
    facts["controls"] = [guide.model_dump(exclude={"map", "mask"}) for guide in drawing.controls]
    if drawing.given is not None:
        facts["given"] = drawing.given.model_dump(exclude={"picture", "mask"})
    height, width = drawn.picture.shape[-2:]
    result(f"{path}  seed {drawing.seed}  {width}×{height}  {seconds:.1f} s", facts, as_json)


def numbered(path: Path, number: int, total: int) -> Path:
    """`out.png` for one picture, `out-0001.png` and so on for several."""
    return path if total == 1 else path.with_name(f"{path.stem}-{number:04d}{path.suffix}")
