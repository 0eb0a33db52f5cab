"""`underdraw generate --measure`: what an approximate drawing is apart from the same one without approximations."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underdraw.apps.drawing import numbered
from underdraw.apps.terminal import bar, result, say

if TYPE_CHECKING:
    from torch import Tensor

    from underdraw.generation import Batch, Drawing, Frame, Studio

__all__ = ["tell_error"]


def tell_error(
    studio: "Studio", batches: "Sequence[Batch]", target: Path, as_json: bool, previews: bool = False
) -> None:
    """Draw each picture that was written anew without what is approximate; say how far they are apart.

    previews: whether those were shown, so that their error is of interest too.
    """
    from underdraw.generation import read_drawing

    total = sum(len(batch.kept) for batch in batches)
    for number in range(1, total + 1):
        path = numbered(target, number, total)
        drawing = read_drawing(path)
        exact = _exactly(drawing)
        if exact == drawing and not previews:
            say(f"{path}: nothing in it is approximate; give --reuse, --interval or --backend openvino-int8")
            continue
        _tell(studio, path, drawing, exact, as_json, previews)


def _exactly(drawing: "Drawing") -> "Drawing":
    """The same recipe without what is approximate."""
    from underdraw.generation import Reuse
    from underdraw.generation.engines import EXACT

    backend = EXACT.get(drawing.backend, drawing.backend)
    return drawing.model_copy(update={"reuse": Reuse(), "interval": (0.0, 1.0), "backend": backend})


def _tell(studio: "Studio", path: Path, drawing: "Drawing", exact: "Drawing", as_json: bool, previews: bool) -> None:
    from underdraw import images
    from underdraw.generation import Batch
    from underdraw.generation.glance import glance

    frames: list[Frame] = []
    with bar("drawing without", exact.steps) as move:

        def watch(frame: "Frame") -> None:
            move()
            frames[:] = [frame]

        (twin,) = studio.draw_batch(Batch((exact.model_copy(update={"index": 0, "batch": 1}),), (0,)), watch)
    shown = images.read(path)[0]
    apart = (shown - twin.picture).abs()
    facts: dict[str, Any] = {
        "file": str(path),
        "largest": round(255 * float(apart.max())),
        "mean": round(255 * float(apart.mean()), 3),
        "obedience": _obedience(drawing, shown, twin.picture, path),
    }
    told = [f"largest difference {facts['largest']}/255, mean {facts['mean']}/255"]
    told += [f"{name} {ours:.3f} (without: {theirs:.3f})" for name, (ours, theirs) in facts["obedience"].items()]
    if previews:
        seen = 255 * (glance(studio.backbone, frames[0].latents)[0] - twin.picture).abs().mean()
        facts["preview"] = round(float(seen), 3)
        told.append(f"previews off by {facts['preview']}/255 in the mean")
    result(f"{path}  {', '.join(told)}", facts, as_json)


def _obedience(drawing: "Drawing", shown: "Tensor", exact: "Tensor", path: Path) -> dict[str, tuple[float, float]]:
    """How well both pictures say what each map says, where that can be read from a picture without a trained reader."""
    from underdraw.evaluation.judges import call_judge, sees_pictures
    from underdraw.generation.provenance import unpack_map

    scores: dict[str, tuple[float, float]] = {}
    for guide in drawing.controls:
        if sees_pictures(guide.kind):
            judge, wanted = call_judge(guide.kind, (), ""), unpack_map(guide, path)
            name, score = next(iter(judge.scores.items()))
            ours, theirs = (float(score(judge.read(picture[None]), wanted).mean()) for picture in (shown, exact))
            scores[f"{guide.kind} {name}"] = (round(ours, 4), round(theirs, 4))
    return scores
