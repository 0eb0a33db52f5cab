"""What a careful person sees in one sample: its picture, its captions, its maps. `audit` looks at them all together."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import ANNOTATORS
from underdraw.annotators.faults import Brought, checks
from underdraw.data.alignment import SIDE, Fit, Outline, fit, outline
from underdraw.data.duplicates import Fingerprint, fingerprint
from underdraw.data.encoding import decode_near
from underdraw.data.making import alike
from underdraw.data.sources import POSE, Entry, Piece, is_kind, reduction_of
from underdraw.errors import InputError

__all__ = ["Finding", "Look", "MapLook", "look_at"]

NEAR_GREY = 0.06
"""Difference of the channels that one in a hundred pixels must exceed, else a picture counts as grey."""
COLOURED = 0.08
"""Mean difference of the channels from which a map of one channel counts as coloured."""
FLAT = 0.01
"""Standard deviation under which a picture or map is one flat colour."""
BRIGHT = 0.5
"""A map of lines that is brighter on average is ink on paper."""
BROKEN_WORDS = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf]|â€|[åæç][\u0080-\u00bf]{2}|{\\w*}|<\\w+>")
"""What UTF-8 looks like when it was read as Latin-1, and templates that nobody filled."""
LONGEST = 60
"""Words of a caption; CLIP reads 75 tokens, and the rest is not seen."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. name: the sample's. check: in the words by which the like of it are counted. kind: of
    the map, "" for pictures and captions. serious: a training suffers from it.
    """

    name: str
    check: str
    detail: str = ""
    kind: str = ""
    serious: bool = True


@dataclass(frozen=True, eq=False)
class MapLook:
    """A map. thumb: 16×16 of its brightness. like: how that goes with its picture's, as a correlation. colours: shares
    of its area, the largest ones. fit: over its picture.
    """

    thumb: Tensor
    like: float
    colours: Mapping[int, float]
    fit: Fit | None


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen of an entry. size: its picture's (width, height); None where it cannot be read."""

    name: str
    texts: tuple[str, ...]
    split: str
    size: tuple[int, int] | None = None
    content: str = ""
    fingerprint: Fingerprint = b""
    maps: Mapping[str, MapLook] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass
class _Seen:
    """A sample in hand, while its neighbours are looked at."""

    entry: Entry
    picture: Tensor
    size: tuple[int, int]
    outline: Outline
    maps: dict[str, Tensor]
    findings: list[Finding]


def look_at(entries: Sequence[Entry], side: int = SIDE) -> list[Look]:
    """Look at a few entries: each map is also laid over the pictures of the others, to know what chance is."""
    seen = [_see(entry, side) for entry in entries]
    outlines = {each.entry.name: each.outline for each in seen if isinstance(each, _Seen)}
    return [_look(each, outlines, side) if isinstance(each, _Seen) else each for each in seen]


def _see(entry: Entry, side: int) -> "_Seen | Look":
    split = str(entry.attributes.get("split", ""))
    try:
        picture, size = decode_near(entry.picture.read(), entry.name, 2 * side)
    except InputError as error:
        finding = Finding(entry.name, "picture cannot be read", str(error))
        return Look(entry.name, entry.texts, split, findings=(finding,))
    findings = [*_of_picture(entry.name, picture), *_of_words(entry.name, entry.texts)]
    maps = {}
    for kind, piece in entry.maps.items():
        if kind == POSE and piece.suffix == ".json":
            continue
        found = _map(entry.name, kind, piece, size)
        if isinstance(found, Finding):
            findings.append(found)
        else:
            maps[kind] = found[0]
            findings += found[1]
    return _Seen(entry, picture, size, outline(picture, is_map=False, side=side), maps, findings)


def _of_picture(name: str, picture: Tensor) -> list[Finding]:
    if float(picture.std()) < FLAT:
        return [Finding(name, "picture is one flat colour")]
    chroma = float((picture.amax(1) - picture.amin(1)).flatten()[::7].quantile(0.99))
    return [Finding(name, "picture is nearly grey", f"colour {chroma:.3f}")] if chroma < NEAR_GREY else []


def _of_words(name: str, texts: Sequence[str]) -> list[Finding]:
    if not any(texts):
        return [Finding(name, "caption is empty")]
    findings = [Finding(name, "caption is garbled", text[:60]) for text in texts if BROKEN_WORDS.search(text)]
    words = max(len(text.split()) for text in texts)
    if words > LONGEST:
        findings.append(Finding(name, "caption is longer than is read", f"{words} words", serious=False))
    return findings


def _map(name: str, kind: str, piece: Piece, size: tuple[int, int]) -> "Finding | tuple[Tensor, list[Finding]]":
    """A map 1×3×H×W with what is wrong with it alone; or why there is none."""
    try:
        picture = images.decode(piece.read(), f"{kind} map of {name}", background=(0.0, 0.0, 0.0))
    except InputError as error:
        return Finding(name, "map cannot be read", str(error), kind)
    found = picture.shape[-1], picture.shape[-2]
    if not alike(found, size):
        return Finding(name, "map has other proportions", f"{found[0]}×{found[1]} for {size[0]}×{size[1]}", kind)
    return picture, _faults(name, kind, picture)


def _faults(name: str, kind: str, picture: Tensor) -> list[Finding]:
    """What hygiene says of a map of a kind that it knows; of others, what can be said of any."""
    if float(picture.std()) < FLAT:
        return [Finding(name, "map is empty", "one flat colour", kind, serious=kind != POSE)]
    chroma = float((picture.amax(1) - picture.amin(1)).mean())
    if kind not in ANNOTATORS:
        inverted = is_kind(kind) and reduction_of(kind) == "max" and float(picture.mean()) > BRIGHT
        told = "dark lines on a light ground, where white on black is meant"
        return [Finding(name, "map is inverted", told, kind)] if inverted else []
    if ANNOTATORS[kind].meaning.channels == 1 and chroma > COLOURED:
        return [Finding(name, "map is coloured", "one channel is meant; a colour-mapped field misleads", kind)]
    brought = Brought(picture[0], "RGB", ANNOTATORS[kind])
    faults = [fault for check in checks(ANNOTATORS[kind]) if (fault := check(brought))]
    return [Finding(name, f"map is {fault.name}", fault.told, kind) for fault in faults]


def _look(seen: _Seen, outlines: Mapping[str, Outline], side: int) -> Look:
    others = {name: each for name, each in outlines.items() if name != seen.entry.name}
    maps = {}
    for kind, picture in seen.maps.items():
        plain = min(float(picture.std()), float(seen.picture.std())) < FLAT or kind == POSE
        found = None if plain else fit(seen.outline, outline(picture, is_map=True, side=side), others)
        thumb, own = _thumb(picture), _thumb(seen.picture)
        like = float(torch.corrcoef(torch.stack([thumb.flatten(), own.flatten()]))[0, 1].nan_to_num())
        maps[kind] = MapLook(thumb, like, _colours(picture), found)
    pixels = (seen.picture * 255).round().to(torch.uint8).numpy()
    return Look(
        seen.entry.name,
        seen.entry.texts,
        str(seen.entry.attributes.get("split", "")),
        seen.size,
        hashlib.sha256(pixels.tobytes()).hexdigest(),
        fingerprint(seen.picture),
        maps,
        tuple(seen.findings),
    )


def _thumb(picture: Tensor) -> Tensor:
    return images.resize(picture.mean(1, keepdim=True), (16, 16))[0, 0]


def _colours(picture: Tensor) -> dict[int, float]:
    """The colours that fill at least half a hundredth of a map, as numbers, with their shares."""
    pixels = (picture[0] * 255).round().long()
    found, counts = np.unique((pixels[0] * 65536 + pixels[1] * 256 + pixels[2]).numpy(), return_counts=True)
    shares = counts / counts.sum()
    return {int(colour): float(share) for colour, share in zip(found, shares, strict=True) if share >= 0.005}
