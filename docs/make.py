"""The pages of the conditions, from the registry of annotators: `make docs`.

python -m docs.make            pages and pictures
python -m docs.make --text     pages only; what a test compares
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from underdraw import images
from underdraw.annotators import ANNOTATORS, Annotator, Knob, build, knobs
from underdraw.data.scenes import render, sample
from underdraw.errors import InputError

HERE = Path(__file__).parent
FOLDER = HERE / "conditions"
PHOTOGRAPHS = HERE.parent / "examples" / "pictures" / "photographs"
SIDE = 256
ROOMS = (14, 26, 38)
"""Seeds of rooms in which a person is well seen."""


def pages() -> dict[str, str]:
    """Every page's text by file name."""
    kinds: dict[str, list[str]] = {}
    for kind in ANNOTATORS:
        kinds.setdefault(ANNOTATORS[kind].condition, []).append(kind)
    ordered = {
        condition: sorted(found, key=lambda kind: (kind != condition, kind)) for condition, found in kinds.items()
    }
    return {"README.md": _index(ordered)} | {f"{name}.md": _page(name, found) for name, found in ordered.items()}


def _index(kinds: dict[str, list[str]]) -> str:
    rows = [
        f"| [{condition}]({condition}.md) | {ANNOTATORS[found[0]].meaning.polarity} | {', '.join(found)} |"
        for condition, found in sorted(kinds.items())
    ]
    return "\n".join(
        [
            "# Conditions",
            "",
            "Written by `make docs` from the registry of annotators. A *condition* is what a map means, and what a "
            "ControlNet is trained for; the annotators of one condition make maps that mean the same.",
            "`underdraw extract KIND photo.jpg -o map.png` makes one, `underdraw extract all photo.jpg -o sheet.png`"
            " all that need no learned weights, `underdraw annotators KIND` tells the knobs.",
            "",
            "| condition | what bright means | annotators |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _page(condition: str, found: Sequence[str]) -> str:
    return "\n".join([f"# {condition}", "", *(line for kind in found for line in _section(kind))])


def _section(kind: str) -> Iterator[str]:
    part = ANNOTATORS[kind]
    yield f"## {kind}"
    yield ""
    if (FOLDER / f"{kind}.jpg").exists():
        yield f"![Pictures above their maps: {kind}]({kind}.jpg)"
        yield ""
    yield getdoc(part) or ""
    yield ""
    yield from _meaning(part)
    names = [name for name, of in ANNOTATORS.aliases().items() if of == kind]
    if names:
        yield f"- also known as: {', '.join(f'`{name}`' for name in names)}"
    yield ""
    yield "| knob | default | may be | what it does |"
    yield "| --- | --- | --- | --- |"
    for name, setting in knobs(part).items():
        yield f"| `{name}` | {_value(setting)} | {setting.range} | {setting.help} |"
    yield ""


def _meaning(part: type[Annotator]) -> Iterator[str]:
    meaning = part.meaning
    between = "only these two" if meaning.binary else "and all between"
    yield f"- map: {meaning.polarity}; {meaning.channels} channel{'s' * (meaning.channels > 1)}, " + (
        f"{meaning.low:g} and {meaning.high:g}, {between}"
    )
    how = {"max": "by maximum (thin lines survive)", "area": "by area", "nearest": "by the nearest pixel (never mixed)"}
    yield f"- made smaller {how[meaning.reduction]}"
    if part.side:
        yield f"- looked at with a shorter side of {part.side} pixels, unless `resolution` says otherwise"
    if part.needs.packages or part.needs.weights:
        what = [", ".join(part.needs.packages), part.needs.weights]
        yield f"- needs {'; '.join(each for each in what if each)}"
    notes = [
        word
        for word, is_so in (("deterministic", meaning.deterministic), ("differentiable", meaning.differentiable))
        if is_so
    ]
    if notes:
        yield f"- {', '.join(notes)}"


def _value(setting: Knob) -> str:
    return f"{setting.default:g}" if isinstance(setting.default, float) else str(setting.default).lower()


@dataclass(frozen=True)
class Source:
    """A file, and the picture that it belongs to."""

    path: Path
    picture: Tensor


def draw_pictures() -> None:
    """A strip of sources above their maps for every kind that needs no weights, as JPEG."""
    with tempfile.TemporaryDirectory() as place:
        families = [_photographs(), *_truths(Path(place))]
        for kind in ANNOTATORS:
            look = build(kind)
            if look.needs.packages or look.needs.weights:
                continue
            strips = (_strip(look, sources) for sources in families)
            strip = next((strip for strip in strips if strip is not None), None)
            if strip is None:
                print(f"{kind}: none of the example sources is one that it reads")
                continue
            Image.fromarray(images.to_uint8(strip)).save(FOLDER / f"{kind}.jpg", quality=88)


def _strip(look: Annotator, sources: Sequence[Source]) -> Tensor | None:
    """Pictures above maps, 3×H×W; None where the annotator refuses such files."""
    try:
        maps = [look.show(look.map(look.read(source.path), (SIDE, SIDE)))[0, :3] for source in sources]
    except InputError:
        return None
    if any(found.shape[0] not in (1, 3) for found in maps):
        return None
    rows = [[source.picture for source in sources], [found.clamp(0, 1).expand(3, -1, -1) for found in maps]]
    return torch.cat([torch.cat(row, 2) for row in rows], 1)


def _photographs() -> list[Source]:
    found = []
    for name in ("astronaut.jpg", "cat.jpg", "coffee.jpg"):
        picture = images.read(PHOTOGRAPHS / name)
        found.append(Source(PHOTOGRAPHS / name, images.resize(images.crop(picture, (SIDE, SIDE)), (SIDE, SIDE))[0]))
    return found


def _truths(place: Path) -> list[list[Source]]:
    """What is known of three rooms with people, in files as people have them: depth, labels, keypoints, a cut-out."""
    views = render([sample(seed) for seed in ROOMS], (SIDE, SIDE))
    families: dict[str, list[Source]] = {}
    for row, picture in enumerate(views.image):
        label, depth = views.semantic[row].numpy(), views.depth[row, 0].numpy()
        points = [float(value) for value in views.keypoints[row].flatten()]
        people = [{"pose_keypoints_2d": points[start : start + 54]} for start in range(0, len(points), 54)]
        told = {"people": people, "canvas_width": SIDE, "canvas_height": SIDE}
        largest = views.instance[row].flatten().bincount()[1:].argmax() + 1
        cut = torch.cat([picture, (views.instance[row] != largest).float()[None]])
        np.save(place / f"{row}-depth.npy", 1 / depth)
        Image.fromarray(label.astype(np.uint8)).save(place / f"{row}-labels.png")
        (place / f"{row}-people.json").write_text(json.dumps(told))
        images.write(cut, place / f"{row}-cut.png")
        for name in ("depth.npy", "labels.png", "people.json", "cut.png"):
            families.setdefault(name, []).append(Source(place / f"{row}-{name}", picture))
    return list(families.values())


def main() -> None:
    """Write what is asked for."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--text", action="store_true", help="pages only")
    FOLDER.mkdir(exist_ok=True)
    if not told.parse_args().text:
        draw_pictures()
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
