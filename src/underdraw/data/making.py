"""From an entry of a source to a finished sample, all in bytes: what a worker does."""

import hashlib
import json
import math
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import ANNOTATORS, Annotator, draw_knobs, given
from underdraw.annotators.keypoint_files import from_openpose, to_openpose
from underdraw.annotators.keypoints import Poses
from underdraw.annotators.labels import LabelMap
from underdraw.data.batches import generators
from underdraw.data.buckets import Size, bucket_of, enlargement
from underdraw.data.captions import told
from underdraw.data.duplicates import Fingerprint, fingerprint
from underdraw.data.encoding import decode_near, encode, pixels_of, sniff, to_bytes
from underdraw.data.mirrors import draw_people
from underdraw.data.preparation import Made, Preparation
from underdraw.data.sources import POSE, Entry, Piece, Problem, channels_of, reduction_of
from underdraw.errors import InputError, UnderdrawError

__all__ = ["Outcome", "Sample", "alike", "make", "probe"]

ALIKE = 0.03
"""How much the proportions of a map may differ from its picture's, as a ratio."""
UNREADABLE = "picture cannot be read"


@dataclass(frozen=True)
class Sample:
    """What becomes an entry of a shard. files: bytes by ending. size: its bucket's. source_size: the picture's own,
    upright. content, given: digests of the pixels and of the maps that the source brought. made: the knobs of each map.
    """

    name: str
    files: Mapping[str, bytes]
    texts: tuple[str, ...]
    attributes: Mapping[str, Any]
    size: Size
    source_size: Size
    content: str
    given: str
    fingerprint: Fingerprint
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pixels(self) -> Tensor:
        """The picture, 3×H×W uint8."""
        ending = "jpg" if "jpg" in self.files else "png"
        return pixels_of(self.files[ending], self.name)


@dataclass(frozen=True)
class Outcome:
    """What became of an entry: a sample, or none, and what is wrong with it."""

    sample: Sample | None
    problems: tuple[Problem, ...] = ()


def make(entry: Entry, settings: Preparation) -> Outcome:
    """The sample of an entry; whatever is wrong with it is told, and never raised.

    Raises UnderdrawError for what is wrong with every entry: a package or weights that are missing.
    """
    try:
        return _make(entry, settings)
    except InputError as error:
        return Outcome(None, (Problem(entry.name, UNREADABLE, str(error)),))
    except (UnderdrawError, MemoryError):
        raise  # not this entry's fault: the next one would fail as well
    except Exception as error:  # a library's opinion of an odd picture
        return Outcome(None, (Problem(entry.name, UNREADABLE, f"{type(error).__name__}: {error}"),))


def probe(settings: Preparation, given_kinds: set[str]) -> None:
    """Try the annotators on a picture of noise, so that what fails for every picture is told before the work begins.

    Raises whatever they raise: an annotator that cannot see its map in a photograph, weights that are missing.
    """
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for made in settings.annotators:
        if made.kind not in given_kinds:
            made.look().map(noise, (64, 64))


def _make(entry: Entry, settings: Preparation) -> Outcome:
    data = entry.picture.read()
    picture, own = decode_near(data, entry.name, settings.needed)
    size = settings.sizes[bucket_of(own, settings.sizes)]
    if enlargement(own, size) > settings.enlarge:
        told_size = f"{own[0]}×{own[1]} for {size[0]}×{size[1]}"
        return Outcome(None, (Problem(entry.name, "picture is too small (see --size, --enlarge)", told_size),))
    shown = images.resize(images.crop(picture, size), size)
    pixels = to_bytes(shown)[0]
    form = sniff(data) if settings.form == "auto" else settings.form
    files, problems = _given_maps(entry, own, size)
    if any(problem.loses for problem in problems):
        return Outcome(None, tuple(problems))
    digest = hashlib.sha256(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()
    made: dict[str, Any] = dict.fromkeys((ending.split(".")[0] for ending in files), "given")
    for each in settings.annotators:
        if each.kind not in made:
            drawn, knobs = _made_maps(each, picture, shown, settings, entry.name)
            files, made = files | drawn, made | {each.kind: knobs}
    texts, more = told(entry, settings.caption)
    sample = Sample(
        name=entry.name,
        files={form: encode(pixels, form, settings.quality)} | files,
        texts=texts,
        attributes=entry.attributes,
        size=size,
        source_size=own,
        content=hashlib.sha256(pixels.numpy().tobytes()).hexdigest(),
        given=digest,
        fingerprint=fingerprint(shown),
        made=made,
    )
    return Outcome(sample, (*problems, *more))


def _given_maps(entry: Entry, own: Size, size: Size) -> tuple[dict[str, bytes], list[Problem]]:
    """The maps that the source brings, cut and made smaller with the picture: files by ending."""
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    for kind, piece in entry.maps.items():
        try:
            files |= (
                _given_people(piece, entry.name, own, size)
                if _is_people(kind, piece)
                else {f"{kind}.png": encode(to_bytes(_given_map(kind, piece, entry.name, own, size))[0], "png", 100)}
            )
        except _Apart as error:
            problems.append(Problem(entry.name, f"{kind} map has other proportions", str(error)))
        except InputError as error:
            problems.append(Problem(entry.name, f"{kind} map cannot be used", str(error)))
    return files, problems


class _Apart(InputError):
    """A map that is not a map of this picture, by its proportions."""


def alike(first: Size, second: Size) -> bool:
    """Whether two sizes have the same proportions, as a picture and its map."""
    slack = ALIKE + 1 / min(*first, *second)  # a map at an eighth of the size is rounded to whole pixels
    return abs(math.log(first[0] / first[1] * second[1] / second[0])) <= slack


def _check(found: Size, own: Size) -> None:
    if not alike(found, own):
        raise _Apart(f"{found[0]}×{found[1]} for {own[0]}×{own[1]}")


def _given_map(kind: str, piece: Piece, name: str, own: Size, size: Size) -> Tensor:
    """A map 1×C×h×w in [0, 1]; C is 3 where nobody knows how many channels a kind has."""
    look = ANNOTATORS[kind]() if kind in ANNOTATORS else None
    if look and _reads(look, piece):
        return _read_map(look, piece.read(), piece.suffix, own, size)
    picture = images.decode(piece.read(), f"{kind} map of {name}", background=(0.0, 0.0, 0.0))
    _check((picture.shape[-1], picture.shape[-2]), own)
    if look and channels_of(kind) in (1, 3):
        return look.show(given(kind, picture, size))
    return images.resize(images.crop(picture, size), size, reduction_of(kind))


def _reads(look: Annotator, piece: Piece) -> bool:
    """Whether a file is for the annotator to understand: numbers (`.npy`), label maps, whose pixels may be ids, and
    pictures whose transparent parts are masked.
    """
    means_more = isinstance(look, LabelMap) or look.condition == "inpaint"
    return means_more or piece.suffix not in ("", *images.SUFFIXES)


def _read_map(look: Annotator, data: bytes, suffix: str, own: Size, size: Size) -> Tensor:
    """What an annotator makes of a file that only it understands. It takes a path, and the bytes may lie in a tar."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"map{suffix or '.png'}"
        path.write_bytes(data)
        source = look.read(path)
    _check(look.extent(source), own)
    return look.show(look.map(source, size))


def _is_people(kind: str, piece: Piece) -> bool:
    return kind == POSE and piece.suffix == ".json"


def _given_people(piece: Piece, name: str, own: Size, size: Size) -> dict[str, bytes]:
    """Body points, moved as the picture is cut and made smaller, and drawn."""
    (poses,) = from_openpose(_parsed(piece.read(), name), f"{POSE} map of {name}")
    if poses.canvas and not poses.relative:
        _check(poses.extent, own)
    moved = (poses if poses.canvas else Poses(poses.people, own)).on(size)
    drawn = encode(draw_people(moved), "png", 100)
    return {f"{POSE}.json": json.dumps(to_openpose(moved)).encode(), f"{POSE}.png": drawn}


def _parsed(data: bytes, name: str) -> Any:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise InputError(f"{POSE} map of {name} is not JSON") from error
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _made_maps(
    made: Made, picture: Tensor, shown: Tensor, settings: Preparation, name: str
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """`draws` maps of a kind, and the knobs of each: first those that were asked for, then random usual ones.

    shown: the picture at its bucket's size; what an annotator would make of it first, unless it looks at another size.
    """
    size = shown.shape[-1], shown.shape[-2]
    key = zlib.crc32(f"{made.kind} {name}".encode())
    draws = generators(settings.seed, key, range(1, settings.draws))
    looks = [made.look(), *(_drawn(made.kind, settings, draw) for draw in draws)]
    endings = [f"{made.kind}.png", *(f"{made.kind}.{draw}.png" for draw in range(1, len(looks)))]
    files = {}
    for ending, look in zip(endings, looks, strict=True):
        found = look.map(shown if look.native(size) == size else picture, size)
        files[ending] = encode(to_bytes(look.show(found))[0], "png", 100)
    return files, [look.settings for look in looks]


def _drawn(kind: str, settings: Preparation, draw: torch.Generator) -> Annotator:
    """An annotator with random usual knobs, and with a random resolution where its maps have one of the drawing's."""
    look = draw_knobs(kind, draw)
    if settings.resolutions is None or look.side:
        return look
    low, high = settings.resolutions
    return replace(look, resolution=int(torch.randint(low, high + 1, (), generator=draw)))
